// What the page shows, as the address bar says it: every selection and every trace has an address.

import { KINDS, type Kind } from "./kube.js";
import type { Target } from "./map/hit.js";

/** How much of a trace is shown: what decided, every step, or every step with its evidence. */
export const LEVELS = ["summary", "steps", "evidence"] as const;
export type Level = (typeof LEVELS)[number];

/** What of a packet is shown: what should be, what was seen, or both side by side. */
export const MODES = ["predict", "observe", "both"] as const;
export type Mode = (typeof MODES)[number];

export interface TraceView {
  mode: Mode;
  /** The observation that is laid beside the trace. */
  observation: string | null;
  branch: number;
  direction: "forward" | "reply";
  step: number | null;
  level: Level;
}

/** Which of a namespace's tables is open, and what is looked for in it. */
export interface TablesView {
  tab: string;
  find: string;
}

/** Which problems are listed. */
export const LISTS = ["now", "resolved", "checks"] as const;
export type ProblemList = (typeof LISTS)[number];

export type Route =
  | { page: "home" }
  | { page: "select"; target: Target; tables?: TablesView }
  | { page: "problems"; id: string | null; list: ProblemList }
  | { page: "kube"; kind: Kind; id: string | null }
  | { page: "faults" }
  | { page: "compose"; from: string; to: string }
  | { page: "trace"; id: string; view: TraceView };

export const FIRST_VIEW: TraceView = {
  mode: "predict",
  observation: null,
  branch: 0,
  direction: "forward",
  step: null,
  level: "steps",
};

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const slash = path.indexOf("/");
  const head = slash < 0 ? path : path.slice(0, slash);
  const rest = slash < 0 ? "" : decode(path.slice(slash + 1));
  const params = new URLSearchParams(query);
  if (head === "problems" || head === "alerts") {
    const list = LISTS.find((name) => name === params.get("list")) ?? "now";
    return { page: "problems", id: rest || null, list };
  }
  if (head === "faults") return { page: "faults" };
  const kind = KINDS.find((name) => name === head);
  if (kind) return { page: "kube", kind, id: rest || null };
  if (head === "trace" && rest) return { page: "trace", id: rest, view: parseView(params) };
  if (head === "trace") {
    return { page: "compose", from: params.get("from") ?? "", to: params.get("to") ?? "" };
  }
  const target = rest ? parseTarget(head, rest) : null;
  if (!target) return { page: "home" };
  const tab = params.get("tab");
  return {
    page: "select",
    target,
    ...(tab === null ? {} : { tables: { tab, find: params.get("find") ?? "" } }),
  };
}

function parseTarget(head: string, rest: string): Target | null {
  if (head === "node") return { type: "node", name: rest };
  if (head === "ns") return { type: "pod", key: rest };
  return head === "link" ? { type: "link", key: rest } : null;
}

function parseView(params: URLSearchParams): TraceView {
  const step = params.get("step");
  const observation = params.get("observation");
  return {
    mode: (observation && MODES.find((mode) => mode === params.get("show"))) || "predict",
    observation,
    branch: Math.max(0, Math.trunc(Number(params.get("branch") ?? 0)) || 0),
    direction: params.get("dir") === "reply" ? "reply" : "forward",
    step: step === null || !Number.isFinite(Number(step)) ? null : Number(step),
    level: LEVELS.find((level) => level === params.get("detail")) ?? "steps",
  };
}

export function formatRoute(route: Route): string {
  switch (route.page) {
    case "home":
      return "#/";
    case "faults":
      return "#/faults";
    case "problems": {
      const id = route.id ? `/${encodeURIComponent(route.id)}` : "";
      return `#/problems${id}${route.list === "now" ? "" : `?list=${route.list}`}`;
    }
    case "kube": {
      const id = route.id ? `/${route.id.split("/").map(encodeURIComponent).join("/")}` : "";
      return `#/${route.kind}${id}`;
    }
    case "select":
      return formatTarget(route.target) + formatTables(route.tables);
    case "compose": {
      const params = new URLSearchParams();
      if (route.from) params.set("from", route.from);
      if (route.to) params.set("to", route.to);
      const query = params.toString();
      return query ? `#/trace?${query}` : "#/trace";
    }
    case "trace": {
      const params = new URLSearchParams();
      if (route.view.observation !== null) params.set("observation", route.view.observation);
      if (route.view.mode !== "predict") params.set("show", route.view.mode);
      if (route.view.branch > 0) params.set("branch", String(route.view.branch));
      if (route.view.direction === "reply") params.set("dir", "reply");
      if (route.view.level !== "steps") params.set("detail", route.view.level);
      if (route.view.step !== null) params.set("step", String(route.view.step));
      const query = params.toString();
      return `#/trace/${encodeURIComponent(route.id)}${query ? `?${query}` : ""}`;
    }
  }
}

function formatTarget(target: Target): string {
  if (target.type === "node") return `#/node/${encodeURIComponent(target.name)}`;
  return `#/${target.type === "pod" ? "ns" : "link"}/${encodeURIComponent(target.key)}`;
}

function formatTables(tables: TablesView | undefined): string {
  if (!tables) return "";
  const params = new URLSearchParams({ tab: tables.tab });
  if (tables.find) params.set("find", tables.find);
  return `?${params.toString()}`;
}

export function targetHref(target: Target, tables?: TablesView): string {
  return formatRoute({ page: "select", target, ...(tables ? { tables } : {}) });
}

/** Where an observation is shown by itself: its prediction is the trace. */
export function observationHref(id: string): string {
  const view: TraceView = { ...FIRST_VIEW, mode: "both", observation: id };
  return formatRoute({ page: "trace", id: `observation-${id}`, view });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

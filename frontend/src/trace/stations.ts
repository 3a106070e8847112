// A branch of a trace as stations: what a packet comes by in each namespace, forward and return side by side. Pure.

import { hopTitle, podText } from "./format.js";
import { type Mark, markOf } from "./observed.js";
import type { Branch, Hop, Step } from "./types.js";

export type Direction = "forward" | "reply";

export interface Station {
  key: string;
  /** What kind of place it is, for its icon. */
  kind: "socket" | "link" | "bridge" | "route" | "shield" | "conntrack" | "tunnel" | "unknown";
  title: string;
  /** It is the tunnel's packet that comes by, not the one that it carries. */
  isOuter: boolean;
  forward: Step[];
  reply: Step[];
}

/** A namespace that the packet is in. */
export interface Place {
  key: string;
  node: string;
  title: string;
  isPod: boolean;
  stations: Station[];
}

/** The namespaces of one node, in the order in which the packet comes by on its way forward. */
export interface Column {
  node: string;
  places: Place[];
}

export function columnsOf(branch: Branch): Column[] {
  const columns: Column[] = [];
  for (const place of placesOf(branch)) {
    const last = columns.find((column) => column.node === place.node);
    if (last) last.places.push(place);
    else columns.push({ node: place.node, places: [place] });
  }
  return columns;
}

/** The namespaces in the order of the way forward; those that only the return comes by are put where it does. */
function placesOf(branch: Branch): Place[] {
  const forward = numbered(branch.forward.hops);
  const reply = numbered([...(branch.reply?.hops ?? [])].reverse());
  const places: Place[] = [];
  for (const [key, there, back] of merged(forward, reply)) {
    const hop = (there ?? back) as Hop;
    places.push({
      key,
      node: hop.node,
      title: podText(hop.pod)?.split("/").at(-1) ?? hopTitle(hop),
      isPod: podText(hop.pod) !== null,
      stations: stationsOf(there, back),
    });
  }
  return places;
}

/** Hops by a key that tells apart visits of one namespace. */
function numbered(hops: Hop[]): [string, Hop][] {
  const seen = new Map<string, number>();
  return hops.map((hop) => {
    const base = `${hop.node} ${hop.netns}`;
    const count = (seen.get(base) ?? 0) + 1;
    seen.set(base, count);
    return [`${base} ${count}`, hop];
  });
}

function stationsOf(there: Hop | undefined, back: Hop | undefined): Station[] {
  const forward = groupSteps(there);
  const reply = groupSteps(back).reverse();
  return merged(forward, reply).map(([key, a, b]) => {
    const steps = [...(a ?? []), ...(b ?? [])];
    const isOuter = steps.some(isOfOuter) && !DEVICES.has(placeKind(key));
    return { key, ...nameOf(key, steps), isOuter, forward: a ?? [], reply: b ?? [] };
  });
}

/** Steps that follow each other at one place, by a key for it. */
function groupSteps(hop: Hop | undefined): [string, Step[]][] {
  if (!hop) return [];
  const isPod = podText(hop.pod) !== null;
  const bridges = bridgesOf(hop);
  const groups: [string, Step[]][] = [];
  const seen = new Map<string, number>();
  for (const step of hop.steps) {
    const place = placeOf(step, isPod, bridges);
    const base = isOfOuter(step) ? `${place}${OUTER}` : place;
    const last = groups.at(-1);
    if (last && last[0].replace(/#\d+$/, "") === base) last[1].push(step);
    else {
      const count = (seen.get(base) ?? 0) + 1;
      seen.set(base, count);
      groups.push([count > 1 ? `${base}#${count}` : base, [step]]);
    }
  }
  return groups;
}

/** A hop's bridges, and their ports as far as its steps name them: device -> bridge. */
function bridgesOf(hop: Hop): Map<string, string> {
  const bridges = new Map<string, string>();
  for (const step of hop.steps) {
    const bridge = text(step, "bridge");
    if (step.kind === "bridge" && step.dev) {
      bridges.set(step.dev, step.dev);
      const port = text(step, "port");
      if (port) bridges.set(port, step.dev);
    }
    if (bridge && step.dev) {
      bridges.set(bridge, bridge);
      bridges.set(step.dev, bridge);
    }
  }
  return bridges;
}

function text(step: Step, name: string): string {
  const value = step.evidence?.[name];
  return typeof value === "string" ? value : "";
}

/** What ends the key of a place that a tunnel's own packet comes by. */
const OUTER = " (outer)";
/** Places whose name tells by itself which packet it is. */
const DEVICES = new Set(["link", "pod", "tunnel"]);

/** Whether it is the tunnel's own packet that a step is about. */
function isOfOuter(step: Step): boolean {
  return !IN_TUNNEL.has(step.kind) && (step.packet.encap?.length ?? 0) > 0;
}

const AT_SOCKET = new Set(["origin", "socket", "local_in"]);
const AT_ROUTE = new Set(["rule", "route", "forward", "ttl", "rp_filter"]);
const IN_TUNNEL = new Set(["encap", "decap"]);

function placeOf(step: Step, isPod: boolean, bridges: Map<string, string>): string {
  const dev = step.dev ?? "";
  if (AT_SOCKET.has(step.kind)) return "socket";
  if (step.kind === "route" && step.decision === "local") return isOfOuter(step) ? "route" : "socket";
  if (step.kind === "conntrack") return "conntrack";
  if (step.kind === "netfilter" || step.kind === "nat") return `rules ${text(step, "hook") || step.kind}`;
  if (IN_TUNNEL.has(step.kind)) return `tunnel ${dev}`;
  if (step.kind === "opaque") return `unknown ${dev}`;
  if (isPod && dev) return `pod ${dev}`;
  if (AT_ROUTE.has(step.kind)) return "route";
  const bridge = bridges.get(dev);
  if (bridge) return `bridge ${bridge}`;
  // What is at no device is with whoever sent or waits for the packet.
  return dev ? `link ${dev}` : "socket";
}

function placeKind(key: string): string {
  return key.split(" ")[0] ?? "";
}

function placeName(key: string): string {
  return key.replace(/#\d+$/, "").replace(OUTER, "").split(" ")[1] ?? "";
}

function nameOf(key: string, steps: Step[]): Pick<Station, "kind" | "title"> {
  const kind = placeKind(key);
  const what = placeName(key);
  switch (kind) {
    case "socket":
      return { kind: "socket", title: "socket" };
    case "conntrack":
      return { kind: "conntrack", title: "conntrack" };
    case "rules":
      return { kind: "shield", title: what === "nat" ? "NAT" : what };
    case "route":
      return { kind: "route", title: "route" };
    case "pod":
      return { kind: "link", title: what };
    case "bridge": {
      const ports = new Set(
        steps.flatMap((step) => [step.dev ?? "", text(step, "port")]).filter((dev) => dev && dev !== what),
      );
      return { kind: "bridge", title: [what, ...ports].join(", ") };
    }
    case "tunnel":
      return { kind: "tunnel", title: what };
    case "unknown":
      return { kind: "unknown", title: what || "unknown" };
    default:
      return { kind: "link", title: what || "link" };
  }
}

/** Two lists of keyed items in one, items of one key together: the longest common order leads. */
function merged<T>(a: [string, T][], b: [string, T][]): [string, T | undefined, T | undefined][] {
  const lengths = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  const at = (i: number, j: number) => lengths[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const row = lengths[i] as number[];
      row[j] = a[i]?.[0] === b[j]?.[0] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  const all: [string, T | undefined, T | undefined][] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]];
    if (left && right && left[0] === right[0]) {
      all.push([left[0], left[1], right[1]]);
      i += 1;
      j += 1;
    } else if (left && (!right || at(i + 1, j) >= at(i, j + 1))) {
      all.push([left[0], left[1], undefined]);
      i += 1;
    } else if (right) {
      all.push([right[0], undefined, right[1]]);
      j += 1;
    }
  }
  return all;
}

const TELLING = [
  "encap",
  "decap",
  "nat",
  "netfilter",
  "socket",
  "route",
  "bridge",
  "origin",
  "conntrack",
  "neigh",
];

/** The step of a station that says most: the one that ended the way, else what decided or changed. */
export function tellingStep(steps: Step[], failed: Step | null): Step | undefined {
  if (failed && steps.includes(failed)) return failed;
  const unknown = steps.find((step) => step.certainty !== "certain");
  if (unknown) return unknown;
  for (const kind of TELLING) {
    const found = steps.find((step) => step.kind === kind);
    if (found) return found;
  }
  return steps[0];
}

/**
 * A step in a few words, first of them what tells it from others: an address, a device, a verdict. The whole sentence
 * is its `why`.
 */
export function shortWords(step: Step): string {
  const said = WORDS[step.kind]?.(step, (name) => text(step, name));
  // That it is the packet that something happens to is said by where this stands.
  return said || step.why.replace(/^The (packet|frame) (?=[a-z])/, "");
}

/** By a step's kind; "" where the sentence says it better. */
const WORDS: Record<string, (step: Step, given: (name: string) => string) => string> = {
  origin({ packet }) {
    return `${packet.dst ?? "?"}${packet.dport ? `:${packet.dport}` : ""} ${packet.proto ?? ""}`.trim();
  },
  socket({ decision, evidence }, given) {
    if (given("socket")) return `${given("socket")} takes it`;
    return decision === "deliver" && !evidence?.error ? "the sender’s socket takes it" : "";
  },
  route(_, given) {
    const route = given("route");
    const way = /^(\S+)(?: via (\S+))?.*? dev (\S+)/.exec(route);
    if (!way || /^(local|unreachable|prohibit|blackhole|throw|nat) /.test(route))
      return route.replace(/ (src|scope) .*$/, "");
    return `${way[2] ? `via ${way[2]} ` : ""}dev ${way[3]} (${way[1]})`;
  },
  neigh: (_, given) => given("mac") && `${given("mac")} has ${given("nexthop")}`,
  bridge({ decision }, given) {
    if (decision === "up") return "its own MAC: to the node";
    return given("port") && `port ${given("port")}`;
  },
  conntrack({ decision }) {
    if (decision === "new") return "a new connection";
    return decision === "established" || decision === "related" ? `${decision} connection` : "";
  },
  netfilter({ decision, certainty }, given) {
    return certainty === "certain" ? `${decision}: ${given("rule") || "by policy"}` : "";
  },
  nat({ diff }) {
    const becomes = (name: string, addr: unknown, port: unknown) =>
      addr || port ? [`${name} becomes ${[addr, port].filter(Boolean).join(":")}`] : [];
    return [
      ...becomes("source", diff.src?.[1], diff.sport?.[1]),
      ...becomes("destination", diff.dst?.[1], diff.dport?.[1]),
    ].join(", ");
  },
  encap({ decision, evidence }, given) {
    const vni = evidence?.vni ? `, VNI ${evidence.vni}` : "";
    return decision === "encapsulate" && given("remote") ? `to ${given("remote")}${vni}` : "";
  },
  decap({ decision, evidence }, given) {
    const vni = evidence?.vni ? `, VNI ${evidence.vni}` : "";
    return decision === "decapsulate" && given("outer_src") ? `from ${given("outer_src")}${vni}` : "";
  },
  forward: ({ decision }, given) => (decision === "forward" && given("oif") ? `on to ${given("oif")}` : ""),
  link_rx({ dev, decision }, given) {
    if (decision !== "receive") return "";
    return given("bridge") ? `comes in by ${dev}` : "comes in";
  },
  link_tx({ decision }, given) {
    if (decision === "cross veth" && given("peer_ifname")) return `to ${given("peer_ifname")}, its other end`;
    return decision === "cross wire" && given("peer") ? `to ${given("peer").split(":")[0]}` : "";
  },
};

const WORST: Mark[] = ["disagree", "missed", "unsure", "pending", "extra", "agree", "cannot"];

/** What was observed at a station: the worst of its steps; null where nothing was observed of the trace. */
export function seenAt(steps: Step[]): { mark: Mark; ts_ns: number | null } | null {
  for (const mark of WORST) {
    const step = steps.find((one) => one.observed && markOf(one.observed, false) === mark);
    if (step) return { mark, ts_ns: step.observed?.ts_ns ?? null };
  }
  return null;
}

// The server's JSON interface, and one trace followed until it is done.

import type { Arrivals } from "./arrivals.js";
import type { Found } from "./find/hits.js";
import type { Gap, ProblemObj } from "./graph/model.js";
import type { ServiceDetail, TraceTable } from "./kube.js";
import type { CaptureRequest, CaptureRun } from "./trace/captures.js";
import type { DropRun } from "./trace/drops.js";
import { evidenceRun, tracedBy } from "./trace/runs.js";
import type { ObservationRun, RecentObservation, Trace, TraceRequest, TraceRun } from "./trace/types.js";

/** An answer that isn't 2xx, or none at all (status 0), in words for the user. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** What to say of a refusal: the server's own sentence, unless the status alone tells what to do. */
export function refusalText(status: number, said: string): string {
  if (status === 401) return "You are no longer logged in.";
  if (said) return sentence(said);
  if (status === 502 || status === 503 || status === 504)
    return "The server is busy or starting. Try again in a few seconds.";
  if (status >= 500) return `The server failed (${status}). Its log has the details.`;
  return `The server refused this (${status}).`;
}

function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? "" : "."}`;
}

const UNREACHABLE =
  "The server can’t be reached. Check that it runs and that you are online, then try again.";

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(path, { credentials: "same-origin", ...init }).catch(() => {
    throw new ApiError(UNREACHABLE, 0);
  });
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) {
    const said = body && typeof body === "object" && "error" in body ? String(body.error) : "";
    throw new ApiError(refusalText(response.status, said), response.status);
  }
  return body as T;
}

export interface NetnsDetail {
  key: string;
  /** Of which lists rows are left off, and how many. */
  left_off?: Record<string, number>;
  routes?: Record<string, unknown>[];
  rules?: { priority: number; text: string }[];
  neighs?: Record<string, unknown>[];
  fdb?: Record<string, unknown>[];
  sockets?: { proto: string; addr: string; port: number; state: string }[];
  conntrack?: { entries: number; sample: Record<string, unknown>[] } | null;
  nft?: NftChain[];
  sysctls?: { name: string; value: unknown }[];
  links?: {
    key: string;
    ifname: string;
    counters: Record<string, number> | null;
    details: Record<string, unknown>;
  }[];
}

/** `rules`, `routes`, `neighs` and `fdb` are rows of the namespace's detail. */
export interface NetnsMatch {
  of: "address" | "mac";
  says: string;
  rules: Record<string, unknown>[];
  routes: Record<string, unknown>[];
  neighs: Record<string, unknown>[];
  fdb: Record<string, unknown>[];
  gaps: Gap[];
}

export interface NftChain {
  family: string;
  table: string;
  chain: string;
  hook: string | null;
  priority: number | null;
  policy: string | null;
  legacy: boolean;
  rules: string[];
  /** Packets and bytes of each rule that has a counter; empty where they aren't known of just these rules. */
  counts: ([number, number] | null)[];
  /** When these were read, in Unix seconds by the node's clock. */
  counted_at: number | null;
}

export interface Remark {
  at: string;
  /** "" is netviz itself. */
  by: string;
  kind: string;
  text: string;
}

/** Pairs of pods that a problem affects: each end is a pod, or so many of a node. */
export interface Between {
  source: string;
  target: string;
  pairs: number;
}

export interface CurvePoint {
  at: string;
  pairs: number;
}

export interface ProblemDetail extends ProblemObj {
  trace: Trace | null;
  remarks: Remark[];
  between: Between[];
  /** How many pairs it affected, from when on. */
  curve: CurvePoint[];
  /** What changed at its node when it began; null where that isn't known. */
  began_with: string | null;
}

export interface ProblemAction {
  action: "acknowledge" | "reopen" | "mute" | "unmute" | "comment";
  text?: string;
  until?: string;
}

const LISTEN_AGAIN_MS = 5000;
const ASK_AGAIN_MS = 500;
const ENDS = new Set(["done", "partial", "failed"]);
/** The trace that is a problem's evidence has the problem's number, one that an observation made the observation's. */
const EVIDENCE = /^problem-(\d+)$/;
const OBSERVED = /^observation-(\d+)$/;

export class Api {
  constructor(private readonly csrf: string) {}

  /** GET a JSON resource. */
  get<T>(path: string): Promise<T> {
    return call(path);
  }

  /** The pods that are a service's endpoints, as `namespace/name`. */
  async endpoints(service: string): Promise<Set<string>> {
    const path = service.split("/").map(encodeURIComponent).join("/");
    const { namespace, rows } = await this.get<ServiceDetail>(`/api/services/${path}`);
    return new Set(rows.filter((row) => row.pod).map((row) => `${namespace}/${row.pod}`));
  }

  /** GET text, as it is. */
  async text(path: string): Promise<string> {
    const response = await fetch(path, { credentials: "same-origin" }).catch(() => null);
    if (!response?.ok) throw new ApiError(refusalText(response?.status ?? 0, ""), response?.status ?? 0);
    return response.text();
  }

  search(text: string): Promise<Found> {
    return call(`/api/search?${new URLSearchParams({ q: text })}`);
  }

  /** The collectors that aren't there yet. */
  arrivals(): Promise<Arrivals> {
    return call("/api/collectors/waiting");
  }

  /** What of a namespace's tables an address or a MAC meets, by the server's own lookup. */
  match(key: string, addr: string): Promise<NetnsMatch> {
    return call(`/api/netns/${encodeURIComponent(key)}/match?${new URLSearchParams({ addr })}`);
  }

  netns(key: string): Promise<NetnsDetail> {
    return call(`/api/netns/${encodeURIComponent(key)}`);
  }

  problem(id: string): Promise<ProblemDetail> {
    return call(`/api/problems/${encodeURIComponent(id)}`);
  }

  resolvedProblems(): Promise<ProblemObj[]> {
    return call<{ problems: ProblemObj[] }>("/api/problems?state=resolved").then((body) => body.problems);
  }

  actOnProblem(id: string, action: ProblemAction): Promise<ProblemDetail> {
    return this.post(`/api/problems/${encodeURIComponent(id)}`, action);
  }

  async trace(id: string): Promise<TraceRun> {
    const evidence = EVIDENCE.exec(id)?.[1];
    if (evidence) {
      const problem = await this.problem(evidence);
      if (!problem.trace) throw new ApiError("This problem has no trace.", 404);
      return evidenceRun(problem, problem.trace);
    }
    const observed = OBSERVED.exec(id)?.[1];
    if (observed) return tracedBy(await this.observation(observed));
    return call(`/api/traces/${encodeURIComponent(id)}`);
  }

  recentTraces(): Promise<TraceRun[]> {
    return call<TraceRun[] | { traces: TraceRun[] }>("/api/traces?limit=20").then((body) =>
      Array.isArray(body) ? body : (body.traces ?? []),
    );
  }

  /** Whether the server still knows who we are. */
  async loggedIn(): Promise<boolean> {
    try {
      await call("/api/traces?limit=1");
      return true;
    } catch (error) {
      return !(error instanceof ApiError && (error.status === 401 || error.status === 403));
    }
  }

  /** Start a trace. The server's answer is the run, which has its result already unless the server is busy. */
  async startTrace(request: TraceRequest): Promise<TraceRun> {
    return this.post("/api/traces", request);
  }

  observation(id: string): Promise<ObservationRun> {
    return call(`/api/observations/${encodeURIComponent(id)}`);
  }
  recentObservations(): Promise<{ observations: RecentObservation[] }> {
    return call("/api/observations?limit=10");
  }

  /** Have a probe, or several, sent and watched. */
  startObservation(request: TraceRequest): Promise<ObservationRun> {
    return this.post("/api/observations", request);
  }

  /** Have a node's, or a pod's, drops watched. */
  watchDrops(of: string, seconds: number): Promise<DropRun> {
    return this.post("/api/drops", { of, seconds });
  }

  startCapture(request: CaptureRequest): Promise<CaptureRun> {
    return this.post("/api/captures", request);
  }

  /** Stop a capture that runs. */
  async stopCapture(id: string): Promise<void> {
    const response = await fetch(`/api/captures/${encodeURIComponent(id)}`, {
      method: "DELETE",
      credentials: "same-origin",
      headers: { "X-CSRFToken": this.csrf },
    }).catch(() => null);
    if (!response?.ok) throw new ApiError(refusalText(response?.status ?? 0, ""), response?.status ?? 0);
  }

  /** Report an observation from now to its end: by socket, and by asking where that is cut. Returns a stop. */
  followObservation(
    id: string,
    onRun: (run: ObservationRun) => void,
    onError: (error: Error) => void,
  ): () => void {
    let stopped = false;
    let isOver = false;
    const take = (run: ObservationRun) => {
      if (stopped || isOver) return;
      isOver = ENDS.has(run.status);
      onRun(run);
      if (isOver) socket.close();
    };
    const ask = async (): Promise<void> => {
      if (stopped || isOver) return;
      try {
        take(await this.observation(id));
      } catch (error) {
        if (!isFinal(error)) {
          window.setTimeout(() => void ask(), ASK_AGAIN_MS);
          return;
        }
        isOver = true;
        onError(error as Error);
      }
      if (!stopped && !isOver) window.setTimeout(() => void ask(), ASK_AGAIN_MS);
    };
    const socket = new WebSocket(socketUrl(`/ws/observations/${encodeURIComponent(id)}`));
    socket.addEventListener("message", (event) => {
      const run = parsed<ObservationRun>(String(event.data));
      if (run) take(run);
    });
    socket.addEventListener("close", () => void ask());
    return () => {
      stopped = true;
      socket.close();
    };
  }

  /** Trace each pair of pods that a request's ends stand for. */
  traceTable(request: TraceRequest): Promise<TraceTable> {
    return this.post("/api/trace-tables", request);
  }

  private post<T>(path: string, body: unknown): Promise<T> {
    return this.postText(path, JSON.stringify(body), "application/json");
  }

  /** POST a text as it is. */
  async postText<T>(path: string, body: string, type = "application/yaml"): Promise<T> {
    try {
      return await call(path, {
        method: "POST",
        headers: { "Content-Type": type, "X-CSRFToken": this.csrf },
        body,
      });
    } catch (error) {
      // Without its cookies the request is refused before the server looks who asks.
      const isRefused = error instanceof ApiError && error.status === 403;
      if (isRefused && !(await this.loggedIn())) throw new ApiError(refusalText(401, ""), 401);
      throw error;
    }
  }

  /**
   * Report a trace's state, at once where it is known already, and, once it is done, whether it is up to date: asked for
   * once, then by socket, which says what is new, else by asking again. Returns a stop.
   */
  followTrace(
    id: string,
    known: TraceRun | null,
    onRun: (run: TraceRun) => void,
    onError: (error: Error) => void,
  ): () => void {
    let stopped = false;
    let finished = false;
    let last: TraceRun | null = null;
    let socket: WebSocket | null = null;
    const take = (said: TraceRun) => {
      if (stopped || finished) return;
      // What is said of a trace that is done leaves the trace out.
      const run = { ...said, trace: said.trace ?? last?.trace ?? null };
      last = run;
      finished = run.status === "failed" || EVIDENCE.test(id) || (OBSERVED.test(id) && run.status === "done");
      onRun(run);
      if (finished) socket?.close();
    };
    const doubt = (note: string) => {
      if (!stopped && last) onRun({ ...last, current: null, current_note: note });
    };
    const listen = () => {
      if (stopped || finished) return;
      socket = new WebSocket(socketUrl(`/ws/traces/${encodeURIComponent(id)}?known=${last?.status ?? ""}`));
      socket.addEventListener("message", (event) => {
        const run = parsed<TraceRun>(String(event.data));
        if (run) take(run);
      });
      socket.addEventListener("close", () => {
        if (last?.status === "done") doubt("The server can’t be asked whether it is up to date.");
        void poll(500);
      });
    };
    const poll = async (wait: number): Promise<void> => {
      if (stopped || finished) return;
      try {
        take(await this.trace(id));
      } catch (error) {
        if (isFinal(error)) {
          finished = true;
          if (last?.status === "done") doubt((error as Error).message);
          else onError(error as Error);
        }
      }
      if (stopped || finished) return;
      if (last?.status === "done") window.setTimeout(listen, LISTEN_AGAIN_MS);
      else window.setTimeout(() => void poll(Math.min(5000, wait * 1.5)), wait);
    };
    const first = known ? Promise.resolve(take(known)) : this.trace(id).then(take);
    first.catch((error) => (isFinal(error) ? onError(error) : undefined)).then(listen);
    return () => {
      stopped = true;
      socket?.close();
    };
  }
}

/** Asking again would get the same answer. */
function isFinal(error: unknown): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status < 500;
}

export function socketUrl(path: string): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

function parsed<T extends { status: string }>(data: string): T | null {
  try {
    const run = JSON.parse(data) as T;
    return run && typeof run.status === "string" ? run : null;
  } catch {
    return null;
  }
}

// A trace as the server gives it: the object of `manage.py trace --json`.

export type Disposition =
  | "DELIVERED"
  | "NO_LISTENER"
  | "LEFT_NETWORK"
  | "DROPPED"
  | "REJECTED"
  | "LOOP"
  | "UNKNOWN";

export interface Packet {
  src?: string;
  dst?: string;
  proto?: string;
  sport?: number | null;
  dport?: number | null;
  ttl?: number;
  mark?: number;
  len?: number;
  smac?: string | null;
  dmac?: string | null;
  encap?: unknown[];
}

export interface Headers {
  src: string;
  sport: number;
  dst: string;
  dport: number;
  ttl: number;
  len: number;
  smac: string;
  dmac: string;
}

export interface SeenRule {
  table: string;
  chain: string;
  handle: number | null;
  verdict: string;
}

/** What was seen of a predicted step. */
export interface Observed {
  match: "agree" | "disagree" | "ambiguous" | "not_seen" | "lost";
  /** Whether any source would have shown it. */
  visible: boolean;
  ts_ns: number | null;
  point: string | null;
  drop_reason: string | null;
  why: string | null;
  rule: SeenRule | null;
  headers: Headers | null;
}

/** What was seen and isn't predicted, after a step of one direction. */
export interface Extra {
  direction: "forward" | "reply";
  after: number;
  ts_ns: number | null;
  node: string | null;
  netns: string | null;
  dev: string | null;
  out: boolean | null;
  drop_reason: string | null;
  rule: SeenRule | null;
  headers: Headers | null;
}

export interface Observation {
  sources: { node: string; name: string; lost: number; missing: string | null }[];
  clock_uncertainty_ns: number;
  sent_ns: number;
  told: string | null;
  nearest: number;
  taken: number[];
  contradictions: number;
  extra: Extra[];
  cannot: string[];
  /** Where several were sent: how each ended. */
  probes?: ProbeEnd[];
}

export interface ProbeEnd {
  finding: ObservationRun["finding"];
  headline: string | null;
  told: string | null;
  sport: number | null;
  error: string | null;
}

/** A probe that was sent, and its prediction with what was seen; or a drop watch, which has `drops` instead of a trace. */
export interface ObservationRun {
  id: string;
  status: "queued" | "running" | "waiting" | "done" | "partial" | "failed";
  kind?: "probe" | "drops";
  /** How many must end before it may begin. */
  place: number | null;
  error: string | null;
  finding: "agrees" | "differs" | "unseen" | "drops" | "none" | null;
  headline: string | null;
  request: TraceRequest;
  created: string;
  user: string;
  /** Where it differs: the address of a file with the states and all that was seen. */
  file?: string | null;
  trace: Trace | null;
}

/** One of `GET /api/observations`. */
export interface RecentObservation {
  id: string;
  kind: "probe" | "drops" | "capture";
  status: string;
  error: string | null;
  created: string;
  user: string;
  request: Record<string, unknown>;
  nodes: string[];
  finding: string | null;
  headline: string | null;
}

/** A command that checks a step by hand, and the machine that it is for; it enters the namespace itself. */
export interface Check {
  node: string;
  netns: string;
  command: string;
}

export interface Step {
  seq: number;
  kind: string;
  dev: string | null;
  packet: Packet;
  diff: Record<string, [unknown, unknown]>;
  decision: string;
  reason: string | null;
  evidence: Record<string, unknown>;
  why: string;
  /** Traces of before have no such list, only `evidence.command`. */
  check?: Check[];
  certainty: string;
  observed: Observed | null;
}

export type PodRef = string | { name: string; namespace: string } | null;

export interface Hop {
  node: string;
  netns: string;
  pod: PodRef;
  steps: Step[];
}

export interface Direction {
  hops: Hop[];
}

export interface Reply extends Direction {
  disposition: Disposition;
  reason: string | null;
}

export interface Branch {
  /** Null when nothing tells how likely it is. */
  probability: number | null;
  /** What sets it apart from the others, as the server says it; traces of before have none. */
  choice?: string | null;
  /** Whether a probe took it; null where what was seen doesn't tell. */
  taken?: boolean | null;
  disposition: Disposition;
  reason: string | null;
  forward: Direction;
  reply: Reply | null;
}

/** The largest packet that passes, and the link that takes no more; `silent`: larger ones are dropped without a word. */
export interface Limit {
  bytes: number;
  dev: string;
  node: string;
  netns: string;
  silent: boolean;
}

export interface Trace {
  version: number;
  flow: {
    /** With `outside`, the node is where the packet of a client outside comes in. */
    from: { node: string; netns: string; pod: PodRef; outside?: boolean };
    src: string;
    sport: number | null;
    dst: string;
    dport: number | null;
    proto: string;
    len: number;
    df: boolean;
  };
  disposition: Disposition;
  reason: string | null;
  certainty: "certain" | "branch" | "unknown";
  /** Both directions and the contract together; missing in traces of earlier versions. */
  outcome?: Outcome;
  headline?: string;
  /** What the API's policies say of the flow; null where none has a say. */
  policy?: { allowed: boolean | null; sentence: string; unsure?: string[] } | null;
  branches: Branch[];
  /** What was observed, in a trace of an observation. */
  observation?: Observation | null;
  /** What no state tells, or what may have changed since, and the answer rests on; traces of before don't say. */
  assumed?: string[];
  /** The largest packets that pass each way; traces of before don't say. */
  largest?: { forward: Limit | null; reply: Limit | null };
  state: NodeStateUsed[];
}

/** What is known of a node's state that a trace read. */
export interface NodeStateUsed {
  node: string;
  revision: number;
  /** When it is of. */
  at?: string;
  age_s: number;
  complete: boolean;
  not_understood?: string;
  /** Parts of it are older than the collector promises. */
  stale?: { since: string; why: string; sections: string[] };
}

export type Outcome = "good" | "broken" | "breaks-contract" | "uncertain";

export interface TraceRequest {
  from: string;
  to: string;
  proto: string;
  sport?: number;
  dport?: number;
  len?: number;
  df?: boolean;
  mode?: string;
  /** How many probes, of an observation. */
  count?: number;
}

export interface TraceRun {
  id: string;
  status: "queued" | "running" | "done" | "failed";
  error: string | null;
  created: string;
  user: string;
  request: TraceRequest;
  /** In lists, where the trace itself is left out. */
  disposition?: Disposition | null;
  outcome?: Outcome | null;
  headline?: string | null;
  trace: Trace | null;
  /** Whether tracing again would come to the same; null where nobody knows. */
  current?: boolean | null;
  outdated_since?: string | null;
  /** Why it isn't up to date, or why that isn't known. */
  current_note?: string | null;
}

// What the Kubernetes API has, as GET /api/services, /api/workloads and /api/namespaces give it (docs/api.md).

import type { Outcome } from "./trace/types.js";

export const KINDS = ["services", "workloads", "namespaces", "policies"] as const;
export type Kind = (typeof KINDS)[number];

export interface ServicePort {
  port: number;
  protocol: string;
  name: string | null;
  target: string | null;
  node_port: number | null;
}

export interface ServiceSummary {
  namespace: string;
  name: string;
  type: string;
  addrs: string[];
  external: string[];
  external_name: string | null;
  ports: ServicePort[];
  endpoints: number;
  ready: number;
}

export interface EndpointRow {
  pod: string | null;
  addrs: string[];
  node: string | null;
  zone: string | null;
  netns: string | null;
  state: "ready" | "not ready" | "terminating" | "terminating, serving";
  waits: string;
  conns: number;
}

export interface Talker {
  kind: string;
  name: string;
  conns: number;
  pods: number;
  nodes: string[];
}

export interface ServiceDetail extends ServiceSummary {
  selector: Record<string, string> | null;
  labels: Record<string, string>;
  affinity_s: number | null;
  internal_local: boolean;
  external_local: boolean;
  health_port: number | null;
  publish_not_ready: boolean;
  source_ranges: string[];
  rows: EndpointRow[];
  talkers: Talker[];
  /** Nodes with endpoints whose connections aren't counted. */
  nodes_left_out: number;
  policies: string[];
  /** Those for the whole cluster that select its pods, with their kinds. */
  cluster_policies: string[];
  /** Who may reach its pods, by policies; null where none selects them. */
  may: { in: Matrix | null };
  programming: Programming;
}

export type Cell = "programmed" | "missing" | "stale" | "unknown" | null;

export interface ProgrammingColumn {
  /** The service port's name. */
  port: string;
  /** Its addresses with the port. */
  ends: string[];
  /** Null of an endpoint that the API doesn't have. */
  pod: string | null;
}

/** Nodes that are alike, with what is found of them. */
export interface NodesRow {
  /** The first ones; `count` is how many they are. */
  nodes: string[];
  count: number;
  since: string | null;
  problem: string | null;
}

export interface ProgrammingRow extends NodesRow {
  mode: string | null;
  state: "programmed" | "differs" | "unknown";
  cells: Cell[];
  differs: string[];
  /** How long its nodes took to follow the last change, the shortest and the longest; null: not measured. */
  delay_s: [number, number] | null;
}

/** How long nodes' rules took to do what the last change of the endpoints asked. */
export interface ProgrammingDelay {
  changed_at: string;
  /** How many had to follow; of so many both moments were seen. */
  nodes: number;
  measured: number;
  median_s: number | null;
  longest_s: number | null;
  longest_on: string | null;
}

export type NodeState = "programmed" | "missing" | "stale" | "differs" | "unknown";

/** The states of a zone's nodes in the order of their names: so many of one, then so many of the next. */
export interface Zone {
  zone: string | null;
  runs: [NodeState, number][];
}

/** What each node's rules do for a service. */
export interface Programming {
  /** Why nothing is judged; null where it is. */
  why: string | null;
  nodes: number;
  programmed: number;
  columns: ProgrammingColumn[];
  columns_left_off: number;
  field: Zone[];
  rows: ProgrammingRow[];
  left_off: number;
  /** Null: not measured. */
  delay: ProgrammingDelay | null;
}

export type Answer = "allowed" | "denied" | "unknown" | "mixed";

export interface MatrixRow {
  name: string;
  /** How many pods it stands for; 0 of parties that are none. */
  pods: number;
  cells: Answer[];
  differs: ("delivered" | "refused" | null)[];
  by: string[];
}

/** Who may reach some pods, or whom they may reach. A port that is null stands for all others. */
export interface Matrix {
  ports: ({ protocol: string; port: number } | null)[];
  policies: string[];
  /** How many pods it is of. */
  pods: number;
  rows: MatrixRow[];
  left_off: number;
  /** Pods that it says nothing of: of those that it is of, and of the other ends. */
  pods_left_off: number;
  peers_left_off: number;
}

export interface PolicySummary {
  kind: string;
  /** Null of one for the whole cluster, which has a tier and, but for the old baseline, a priority. */
  namespace: string | null;
  name: string;
  tier: "Admin" | "Baseline" | null;
  priority: number | null;
  selects: string;
  pods: number;
  restricts: ("in" | "out")[];
}

export interface EnforcedRow extends NodesRow {
  state: "enforced" | "differs" | "unknown";
  said: string[];
}

export interface PolicyDetail extends PolicySummary {
  rules: {
    direction: "in" | "out";
    number: number;
    name: string | null;
    /** Null of rules that only allow. */
    action: "Accept" | "Deny" | "Pass" | null;
    peers: string;
    ports: string;
  }[];
  rows: PodRow[];
  left_off: number;
  matrix: { in: Matrix | null; out: Matrix | null };
  enforced: { why: string | null; left: number; rows: EnforcedRow[] };
}

export interface WhyHalf {
  allowed: boolean | null;
  policies: string[];
  rule: { policy: string; number: number; text: string } | null;
}

/** Why policies allow or deny a flow. */
export interface Why {
  allowed: boolean | null;
  flow: string;
  sentence: string;
  egress: WhyHalf;
  ingress: WhyHalf;
}

/** What proposed policies would change. */
export interface Preview {
  selected: number;
  changes: {
    from: string;
    from_pods: number;
    to: string;
    to_pods: number;
    becomes: Answer;
    ports: string[];
    by: string[];
  }[];
  connections: { from: string; to: string; port: string; becomes: Answer; count: number; by: string[] }[];
  connections_seen: number;
  /** What the answer lacks, a sentence each. */
  unsure: string[];
}

export interface TraceTable {
  rows: {
    from: string;
    to: string;
    outcome: Outcome | null;
    headline: string;
    allowed: boolean | null;
  }[];
  left_off: number;
  /** Why what is said of policies may be otherwise, a sentence each. */
  unsure: string[];
}

export interface WorkloadSummary {
  kind: string;
  namespace: string;
  name: string;
  pods: number;
  ready: number;
  nodes: number;
}

export interface PodRow {
  namespace: string;
  name: string;
  node: string | null;
  netns: string | null;
  zone: string | null;
  addrs: string[];
  phase: string;
  ready: boolean | null;
  waits: string;
  deleting: boolean;
  host_network: boolean;
  workload: { kind: string; name: string } | null;
  labels: Record<string, string>;
}

export interface WorkloadDetail extends WorkloadSummary {
  services: string[];
  rows: PodRow[];
  left_off: number;
}

export interface NamespaceSummary {
  name: string;
  deleting: boolean;
  labels: Record<string, string>;
  pods: number;
  services: number;
  policies: number;
}

export interface NamespaceDetail {
  name: string;
  labels: Record<string, string>;
  workloads: WorkloadSummary[];
  services: ServiceSummary[];
  policies: string[];
  cluster_policies: string[];
  rows: PodRow[];
  left_off: number;
}

export type Tone = "ok" | "warn" | "bad" | "none";

/** How many of some are ready, as a tone: none at all is bad, some is a warning, nothing to be ready is neither. */
export function readiness(ready: number, all: number): Tone {
  if (all === 0) return "none";
  if (ready === 0) return "bad";
  return ready < all ? "warn" : "ok";
}

/** How many of some are ready, in words. */
export function readyText(ready: number, all: number): string {
  return all === 0 ? "none" : `${ready} of ${all} ready`;
}

/** An endpoint's state as a tone. */
export function endpointTone(state: EndpointRow["state"]): Tone {
  return state === "ready" ? "ok" : state === "not ready" ? "bad" : "warn";
}

/** How a pod is, in words, and as a tone. */
export function podState(pod: PodRow): { text: string; tone: Tone } {
  if (pod.deleting) return { text: "terminating", tone: "warn" };
  if (pod.waits) return { text: pod.waits, tone: "bad" };
  if (pod.phase !== "Running") return { text: pod.phase.toLowerCase() || "not known", tone: "warn" };
  if (pod.ready === null) return { text: "running", tone: "none" };
  return pod.ready ? { text: "ready", tone: "ok" } : { text: "not ready", tone: "bad" };
}

/** A service's port as people write it: "80 TCP, http". */
export function portText(port: ServicePort): string {
  const name = port.name ? ` ${port.name}` : "";
  const target = port.target && port.target !== String(port.port) ? ` to ${port.target}` : "";
  const node = port.node_port ? `, node port ${port.node_port}` : "";
  return `${port.port} ${port.protocol}${name}${target}${node}`;
}

/** What a service does besides sending to its endpoints, in a few words each. */
export function manners(service: ServiceDetail): string[] {
  const found = [];
  if (service.affinity_s) found.push(`session affinity for ${Math.round(service.affinity_s / 60)} min`);
  if (service.internal_local) found.push("internal traffic to the node’s own endpoints only");
  if (service.external_local) found.push("external traffic to the node’s own endpoints only");
  if (service.health_port) found.push(`health check on port ${service.health_port}`);
  if (service.source_ranges.length > 0) found.push(`only from ${service.source_ranges.join(", ")}`);
  if (service.publish_not_ready) found.push("endpoints count before they are ready");
  return found;
}

/** The path of an object below its kind's, in the API and in the address bar: "shop/web", "Deployment/shop/web". */
export function idOf(
  kind: Kind,
  one: ServiceSummary | WorkloadSummary | NamespaceSummary | PolicySummary,
): string {
  if (kind === "namespaces") return one.name;
  const named = one as ServiceSummary | WorkloadSummary | PolicySummary;
  const full = `${named.namespace ?? (one as PolicySummary).kind}/${named.name}`;
  return kind === "workloads" ? `${(one as WorkloadSummary).kind}/${full}` : full;
}

/** How a trace names a workload: POST /api/traces. */
export function traceRef(kind: string, namespace: string, name: string): string {
  const short: Record<string, string> = {
    Deployment: "deploy",
    StatefulSet: "sts",
    DaemonSet: "ds",
    Job: "job",
    ReplicaSet: "rs",
  };
  return short[kind] ? `${short[kind]}/${namespace}/${name}` : "";
}

/** Nodes by name as long as they are few: "worker-1, worker-2", "4,992 identical nodes". */
export function nodesText(row: NodesRow): string {
  if (row.count <= 3) return row.nodes.slice(0, row.count).join(", ");
  return `${row.count.toLocaleString("en")} nodes`;
}

/** The number that an endpoint has in the table of endpoints, from 1; 0 of one that isn't there. */
export function endpointNumber(column: ProgrammingColumn, rows: EndpointRow[]): number {
  const addrs = column.ends.map((end) => end.replace(/:\d+$/, "").replace(/^\[|\]$/g, ""));
  return rows.findIndex((row) => row.addrs.some((addr) => addrs.includes(addr))) + 1;
}

/** The columns' ports with how many columns each has, in order. */
export function columnPorts(columns: ProgrammingColumn[]): { port: string; span: number }[] {
  const found: { port: string; span: number }[] = [];
  for (const { port } of columns) {
    const last = found.at(-1);
    if (last?.port === port) last.span += 1;
    else found.push({ port, span: 1 });
  }
  return found;
}

/** Say how long nodes took to follow the last change of a service's endpoints. */
export function delayWords(delay: ProgrammingDelay | null): string {
  if (delay === null || delay.median_s === null || delay.longest_s === null)
    return "How long nodes take to follow a change of its endpoints: not measured.";
  const of = `${delay.measured.toLocaleString("en")} of ${delay.nodes.toLocaleString("en")} ${delay.nodes === 1 ? "node" : "nodes"}`;
  const took = `${seconds(delay.median_s)} (median), ${seconds(delay.longest_s)} at most (${delay.longest_on ?? ""})`;
  return `The last change of its endpoints was in the rules after ${took}; measured on ${of}.`;
}

/** Write how long one or more nodes took. */
export function rangeWords(delay: [number, number] | null): string {
  if (delay === null) return "not measured";
  const [least, most] = delay.map(seconds);
  return least === most ? `${least}` : `${least} to ${most}`;
}

function seconds(value: number): string {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

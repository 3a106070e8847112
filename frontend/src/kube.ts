// What the Kubernetes API has, as GET /api/services, /api/workloads and /api/namespaces give it (docs/api.md).

export const KINDS = ["services", "workloads", "namespaces"] as const;
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
  /** What each node's rules do for it; null while no check says so. */
  programming: null;
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
export function idOf(kind: Kind, one: ServiceSummary | WorkloadSummary | NamespaceSummary): string {
  if (kind === "namespaces") return one.name;
  const named = one as ServiceSummary | WorkloadSummary;
  const full = `${named.namespace}/${named.name}`;
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

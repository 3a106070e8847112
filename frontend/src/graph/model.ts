// The objects that the server sends (docs/browser-protocol.md), exactly as they arrive.

export interface Gap {
  section: string;
  reason: string;
}

export interface NodeRoute {
  dst: string;
  via: string | null;
  dev: string;
  to_node: string | null;
}

/** A node's routes to elsewhere, as far as they are listed. */
export interface RoutesObj {
  node: string;
  routes: NodeRoute[];
  /** Routes that there are beyond those listed. */
  left_off: number;
}

/** How something is, by the server's word. */
export type Health = "ok" | "warning" | "error";

export interface CollectorStatus {
  version: string;
  lag_s: number;
  lost_events: number;
  shed_events: number;
  rss_bytes: number;
  cpu: number;
}

export interface NodeObj {
  name: string;
  connected: boolean;
  complete: boolean;
  age_s: number;
  kernel: string;
  gaps: Gap[];
  addrs: string[];
  pod_cidrs: string[];
  pods: number;
  health: Health;
  /** The worst of it in words; null when all is well. */
  problem: string | null;
  collector: CollectorStatus | null;
  /** What the server failed at: nothing else of the node is in the graph then. */
  not_understood: string | null;
  /** No collector may speak for the node any more: its state leaves then, in whole minutes. */
  leaves_in_s: number | null;
  /** The subnets that the node's own devices are on, one a device. */
  subnets: { dev: string; subnet: string }[];
  /** As the Kubernetes API says it is; null where none speaks of it. */
  kube: {
    ready: boolean | null;
    unschedulable: boolean;
    zone: string;
    pods: number;
    labels: Record<string, string>;
  } | null;
  /** The namespace that most of its pods are in. */
  namespace: string | null;
}

/** What is known of a cluster's Kubernetes API, by its watcher. */
export interface ClusterObj {
  name: string;
  connected: boolean;
  complete: boolean;
  age_s: number;
  gaps: Gap[];
  counts: Record<string, number>;
  health: Health;
  problem: string | null;
  collector: CollectorStatus | null;
}

/** A pod as the API says it is, on its node. */
export interface KubePodObj {
  key: string;
  node: string;
  /** The namespace that is the pod's; null of one in its node's network, and of one that its node doesn't show. */
  netns: string | null;
  namespace: string;
  name: string;
  uid: string;
  labels: Record<string, string>;
  workload: { kind: string; name: string } | null;
  phase: string;
  ready: boolean | null;
  waits: string;
  deleting: boolean;
  host_network: boolean;
  addrs: string[];
}

export interface PodId {
  name: string;
  namespace: string;
}

export interface Holder {
  kind: string;
  name: string;
  pid: number | null;
}

export interface NetnsObj {
  key: string;
  node: string;
  name: string;
  root: boolean;
  pod: PodId | null;
  holders: Holder[];
  addrs: string[];
  gaps: Gap[];
  health: Health;
  /** What its pod's resolv.conf says; null where that isn't known. */
  resolv?: { nameservers: string[]; search: string[]; options: string[] } | null;
}

export interface LinkObj {
  key: string;
  netns: string;
  ifname: string;
  ifindex: number;
  kind: string;
  mtu: number;
  mac: string;
  state: string;
  addrs: string[];
  master: string | null;
  peer: string | null;
  peer_state: "proved" | "unresolved" | "ambiguous" | null;
  up: boolean;
  carrier: boolean;
  port_state: null | "disabled" | "listening" | "learning" | "forwarding" | "blocking";
  vni: number | null;
  /** The device that a macvlan, ipvlan or vlan link lies over. */
  lower: string | null;
}

export interface Command {
  node: string;
  /** "" is the node's own namespace. */
  netns: string;
  command: string;
}

/** A problem, as `GET /api/problems` has it, without its trace. */
export interface ProblemObj {
  id: string;
  kind: string;
  severity: "error" | "warning";
  harm: string;
  certainty: "certain" | "likely";
  headline: string;
  consequence: string;
  /** When it began; null: it was there already when it was found. */
  since: string | null;
  found: string;
  /** Since when it isn't found any more; its end is believed later. */
  gone: string | null;
  until: string | null;
  state: "open" | "acknowledged" | "muted";
  acknowledged: { by: string; at: string } | null;
  muted: { by: string; until: string } | null;
  returns: number;
  /** What isn't known now that it rests on. */
  unverified: string | null;
  where: { node: string; netns: string; dev: string; key: string };
  /** The other places where the cause is, as those of all who share an address. */
  also_at: { node: string; netns: string; dev: string; key: string }[];
  affects: { pairs: number; pods: string[]; more: number };
  check: Command[];
  fix: Command[];
  also: string[];
  flow: { from: string; to: string; proto: string; dport: number | null; len: number; df: boolean } | null;
  /** A trace of the flow is kept as evidence. */
  traced: boolean;
}

export interface CheckObj {
  name: string;
  result: "pass" | "fail" | "unknown" | "nothing";
  judged: number;
  unit: string;
  reason: string;
  demands: string;
  /** Of pairs: how many a policy denies, how many (in hundreds) were also traced in full, and how many of these differed. */
  denied?: number;
  audited?: number;
  differed?: number;
}

/** How the checking is. */
export interface CheckingObj {
  id: string;
  state: "stopped" | "failing" | "first" | "behind" | "current";
  since: string | null;
  pods: number;
  pairs: number;
  classes: number;
  /** Nodes with an approved collector, and sentences about those of which nothing current is known. */
  expected: number;
  away: string[];
  checks: CheckObj[];
  error: string | null;
  /** `errors` and `breaking` are of the open ones. */
  counts: { open: number; errors: number; breaking: number; aside: number; left_off: number };
}

export interface Snapshot {
  type: "snapshot";
  revision: number;
  clusters: ClusterObj[];
  nodes: NodeObj[];
  pods: KubePodObj[];
  routes: RoutesObj[];
  netns: NetnsObj[];
  links: LinkObj[];
  problems: ProblemObj[];
  checking: CheckingObj[];
}

type Part = "clusters" | "nodes" | "pods" | "routes" | "netns" | "links" | "problems" | "checking";

export interface Delta {
  type: "delta";
  base: number;
  revision: number;
  upsert: Partial<Pick<Snapshot, Part>>;
  remove: Partial<Record<Part, string[]>>;
}

export interface Ping {
  type: "ping";
  revision: number;
}

export type ServerMessage = Snapshot | Delta | Ping;

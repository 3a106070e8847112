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

export interface AlertObj {
  key: string;
  kind: string;
  severity: "error" | "warning";
  message: string;
  addr: string | null;
  netns: string[];
  links: string[];
  nodes: string[];
}

export interface Snapshot {
  type: "snapshot";
  revision: number;
  nodes: NodeObj[];
  routes: RoutesObj[];
  netns: NetnsObj[];
  links: LinkObj[];
  alerts: AlertObj[];
}

type Part = "nodes" | "routes" | "netns" | "links" | "alerts";

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

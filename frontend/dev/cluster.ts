// A made-up cluster for development and tests: the same for the same numbers, shaped like the
// textbook network (one bridge a node, a veth a pod, routes between the nodes).

import type { LinkObj, NetnsObj, NodeObj, ProblemObj, RoutesObj, Snapshot } from "../src/graph/model.js";

export interface ClusterOptions {
  nodes: number;
  pods: number;
  /** Give some pods faults, problems and gaps. */
  troubled?: boolean;
  vxlan?: boolean;
  /** So many nodes share a subnet; all do otherwise. */
  rack?: number;
  /** The API tells of so many zones. */
  zones?: number;
  /** A second NIC on a network of its own. */
  twoNics?: boolean;
}

/** The node's address on the underlay, with its subnet's length. */
function nodeAddr(n: number, options: ClusterOptions): string {
  if (!options.rack) return `172.18.${n >> 8}.${(n & 255) + 1}/${options.nodes > 250 ? 16 : 24}`;
  return `10.31.${Math.floor((n - 1) / options.rack) + 1}.${((n - 1) % options.rack) + 10}/24`;
}

function nodeSubnet(n: number, options: ClusterOptions): string {
  const [addr = "", length] = nodeAddr(n, options).split("/");
  return length === "16" ? "172.18.0.0/16" : `${addr.replace(/\.\d+$/, ".0")}/24`;
}

/** The range of a node's pods. */
function podPrefix(n: number): string {
  return n < 250 ? `10.244.${n}` : `10.${128 + (n >> 8)}.${n & 255}`;
}

const APPS: [string, string][] = [
  ["shop", "web"],
  ["shop", "cart"],
  ["shop", "checkout"],
  ["data", "postgres"],
  ["data", "redis"],
  ["monitoring", "prometheus"],
  ["kube-system", "coredns"],
];

function suffix(n: number): string {
  const letters = "bcdfghjklmnpqrstvwxz2456789";
  let value = (n * 2654435761) >>> 0;
  let text = "";
  for (let i = 0; i < 5; i += 1) {
    text += letters[value % letters.length];
    value = Math.floor(value / letters.length) + n;
  }
  return text;
}

export function podName(index: number, long: boolean): { namespace: string; name: string } {
  const [namespace, app] = APPS[index % APPS.length] as [string, string];
  const replica = Math.floor(index / APPS.length);
  return {
    namespace,
    name: long ? `${app}-${(7000 + (index % 7) * 911).toString(16)}d9-${suffix(index)}` : `${app}-${replica}`,
  };
}

function link(netns: string, ifindex: number, ifname: string, part: Partial<LinkObj>): LinkObj {
  const hex = (n: number) => n.toString(16).padStart(2, "0");
  let hash = 0;
  for (const char of netns) hash = (hash * 31 + char.charCodeAt(0)) & 0xffff;
  return {
    key: `${netns}/${ifindex}`,
    netns,
    ifname,
    ifindex,
    kind: "veth",
    mtu: 1500,
    mac: `02:42:${hex(hash >> 8)}:${hex(hash & 255)}:${hex(ifindex >> 8)}:${hex(ifindex & 255)}`,
    state: "up",
    addrs: [],
    master: null,
    peer: null,
    peer_state: null,
    up: true,
    carrier: true,
    port_state: null,
    vni: null,
    lower: null,
    ...part,
  };
}

export function rootKey(node: number): string {
  return `node-${node}:4:${4026530000 + node}:0`;
}

export function podKey(node: number, pod: number): string {
  return `node-${node}:4:${4026540000 + node * 1000 + pod}:0`;
}

/** One pod with both ends of its veth. `pod` counts from 1 within its node. */
export function makePod(
  node: number,
  pod: number,
  index: number,
  long: boolean,
): { ns: NetnsObj; links: LinkObj[] } {
  const key = podKey(node, pod);
  const root = rootKey(node);
  const id = podName(index, long);
  const addr = `${podPrefix(node)}.${pod + 1}/24`;
  const host = `${root}/${pod + 10}`;
  return {
    ns: {
      key,
      node: `node-${node}`,
      name: `cni-${suffix(index + 77)}`,
      root: false,
      pod: id,
      holders: [{ kind: "process", name: "pause", pid: 4000 + index }],
      addrs: [addr],
      gaps: [],
      health: "ok",
      resolv: {
        nameservers: ["10.96.0.10"],
        search: [`${id.namespace}.svc.cluster.local`, "svc.cluster.local", "cluster.local"],
        options: ["ndots:5"],
      },
    },
    links: [
      link(key, 1, "lo", { kind: "loopback", mtu: 65536, state: "unknown" }),
      link(key, 2, "eth0", { addrs: [addr], peer: host, peer_state: "proved" }),
      link(root, pod + 10, `veth${suffix(index + 500)}`, {
        master: `${root}/3`,
        peer: `${key}/2`,
        peer_state: "proved",
        port_state: "forwarding",
      }),
    ],
  };
}

export function makeCluster(options: ClusterOptions): Snapshot {
  const lists = {
    clusters: [],
    nodes: [],
    pods: [],
    routes: [],
    netns: [],
    links: [],
    problems: [],
    checking: [],
  };
  const snapshot: Snapshot = { type: "snapshot", revision: 1, ...lists };
  for (let n = 1; n <= options.nodes; n += 1) {
    snapshot.nodes.push(makeNode(n, options));
    addDetails(snapshot, n, options);
  }
  if (options.troubled) trouble(snapshot);
  return snapshot;
}

/** What a page that watches a node gets besides. */
function addDetails(snapshot: Snapshot, n: number, options: ClusterOptions): void {
  const long = options.pods > 10;
  snapshot.routes.push(makeRoutes(n, options));
  const root = rootKey(n);
  snapshot.netns.push({
    key: root,
    node: `node-${n}`,
    name: `node-${n}`,
    root: true,
    pod: null,
    holders: [{ kind: "process", name: "init", pid: 1 }],
    addrs: [nodeAddr(n, options), `${podPrefix(n)}.1/24`],
    gaps: [],
    health: "ok",
  });
  snapshot.links.push(
    link(root, 1, "lo", { kind: "loopback", mtu: 65536, state: "unknown" }),
    link(root, 2, "eth0", { kind: "", addrs: [nodeAddr(n, options)] }),
    link(root, 3, "cni0", { kind: "bridge", addrs: [`${podPrefix(n)}.1/24`] }),
  );
  if (options.twoNics) snapshot.links.push(link(root, 5, "eth1", { kind: "", addrs: [`192.168.9.${n}/24`] }));
  if (options.vxlan)
    snapshot.links.push(link(root, 4, "flannel.1", { kind: "vxlan", vni: 1, mtu: 1450, state: "unknown" }));
  for (let p = 1; p <= options.pods; p += 1) {
    const { ns, links } = makePod(n, p, (n - 1) * options.pods + p - 1, long);
    snapshot.netns.push(ns);
    snapshot.links.push(...links);
  }
}

function makeNode(n: number, options: ClusterOptions): NodeObj {
  return {
    name: `node-${n}`,
    connected: true,
    complete: true,
    age_s: 0.4,
    kernel: "6.18.5",
    gaps: [],
    addrs: [nodeAddr(n, options), ...(options.twoNics ? [`192.168.9.${n}/24`] : [])],
    pod_cidrs: [`${podPrefix(n)}.0/24`],
    pods: options.pods,
    health: "ok",
    problem: null,
    not_understood: null,
    leaves_in_s: null,
    subnets: [
      { dev: "eth0", subnet: nodeSubnet(n, options) },
      ...(options.twoNics ? [{ dev: "eth1", subnet: "192.168.9.0/24" }] : []),
    ],
    kube: options.zones
      ? {
          ready: true,
          unschedulable: false,
          zone: `zone-${(n % options.zones) + 1}`,
          pods: options.pods,
          labels: { role: n % 4 === 0 ? "edge" : "worker" },
        }
      : null,
    namespace: APPS[n % APPS.length]?.[0] ?? null,
    collector: {
      version: "0.1.0",
      lag_s: 0.02,
      lost_events: 0,
      shed_events: 0,
      rss_bytes: 48 * 2 ** 20,
      cpu: 0.004,
    },
  };
}

export function makeProblem(id: string, headline: string, node: string, key: string): ProblemObj {
  return {
    id,
    kind: "made-up",
    severity: "error",
    harm: "breaks traffic",
    certainty: "certain",
    headline,
    consequence: "Packets for these pods leave by the default gateway and are lost.",
    since: "2026-11-30T13:52:07Z",
    found: "2026-11-30T13:52:07Z",
    gone: null,
    until: null,
    state: "open",
    acknowledged: null,
    muted: null,
    returns: 0,
    unverified: null,
    where: { node, netns: "", dev: "", key },
    also_at: [],
    affects: { pairs: 12, pods: ["shop/web", "shop/cart"], more: 3 },
    check: [{ node, netns: "", command: "ip route get 10.244.2.7" }],
    fix: [],
    also: [],
    flow: null,
    traced: false,
  };
}

export function makeChecking(snapshot: Snapshot): Snapshot["checking"][number] {
  const check = { judged: 15, unit: "links", reason: "", demands: "Every pod's link is up." };
  return {
    id: "checking",
    state: "current",
    since: null,
    pods: snapshot.netns.filter((ns) => ns.pod).length,
    pairs: 0,
    classes: 0,
    expected: snapshot.nodes.length,
    away: [],
    checks: [
      { ...check, name: "pod-links", result: "pass" },
      { ...check, name: "addresses", result: "fail" },
    ],
    error: null,
    counts: { open: snapshot.problems.length, errors: 1, breaking: 1, aside: 0, left_off: 0 },
  };
}

const MOST_ROUTES = 64;

function makeRoutes(n: number, options: ClusterOptions): RoutesObj {
  const others = Array.from({ length: options.nodes }, (_, i) => i + 1).filter((other) => other !== n);
  const gateway = nodeAddr(n, options).replace(/\.\d+\/\d+$/, ".1");
  const routes: RoutesObj["routes"] = [{ dst: "0.0.0.0/0", via: gateway, dev: "eth0", to_node: null }];
  for (const other of others.slice(0, MOST_ROUTES - 1)) {
    const via = nodeAddr(other, options).split("/")[0] ?? "";
    const dev = options.vxlan ? "flannel.1" : "eth0";
    routes.push({ dst: `${podPrefix(other)}.0/24`, via, dev, to_node: `node-${other}` });
  }
  return { node: `node-${n}`, routes, left_off: others.length + 1 - routes.length };
}

function trouble(snapshot: Snapshot): void {
  const pods = snapshot.netns.filter((ns) => ns.pod);
  const [a, b] = [pods[1], pods[pods.length - 3]];
  if (a && b) {
    b.addrs = a.addrs;
    const addr = a.addrs[0]?.split("/")[0];
    snapshot.problems.push(
      makeProblem("1", `${addr} is held by ${a.pod?.name} and ${b.pod?.name}`, a.node, a.key),
      makeProblem("2", "node-1 has no route to node-2's pods, 10.244.2.0/24", "node-1", ""),
    );
    snapshot.checking.push(makeChecking(snapshot));
    Object.assign(a, { health: "error" });
    Object.assign(b, { health: "error" });
  }
  const port = snapshot.links.find((item) => item.netns === rootKey(2) && item.ifindex === 13);
  if (port) Object.assign(port, { port_state: "disabled", up: false, state: "down" });
  const behind = snapshot.netns.find((ns) => ns.key === port?.peer?.split("/").slice(0, -1).join("/"));
  if (behind) Object.assign(behind, { health: "error" });
  troubleMany(snapshot);
  const last = snapshot.nodes[snapshot.nodes.length - 1];
  if (last && snapshot.nodes.length > 3)
    Object.assign(last, { connected: false, age_s: 312, health: "error" });
  const gap = snapshot.nodes[1];
  if (gap && snapshot.nodes.length > 3)
    Object.assign(gap, {
      complete: false,
      health: "warning",
      gaps: [{ section: "conntrack", reason: "events were lost; reading again" }],
    });
}

/** In a large cluster here and there a node has a problem, or its collector is away. */
function troubleMany(snapshot: Snapshot): void {
  const { nodes, problems } = snapshot;
  for (let i = 61; i < nodes.length; i += 487) {
    const node = nodes[i];
    if (!node) continue;
    const headline = `${node.name} has no route to node-7's pods`;
    problems.push(makeProblem(String(100 + i), headline, node.name, ""));
    Object.assign(node, { health: "error", problem: headline });
  }
  for (let i = 140; i < nodes.length; i += 613)
    Object.assign(nodes[i] ?? {}, {
      health: "warning",
      complete: false,
      problem: "conntrack: events were lost",
    });
  for (let i = 233; i < nodes.length; i += 1201)
    Object.assign(nodes[i] ?? {}, { health: "error", connected: false, age_s: 140 });
}

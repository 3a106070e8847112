// What a node has, sorted into what hangs where: NICs, tunnels and other devices, and the pods by the bridge or
// device that they are attached to.

import type { LinkObj, NetnsObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { naturalCompare } from "./natural.js";
import type { GroupKind } from "./scene.js";

export const TUNNELS = new Set([
  "vxlan",
  "geneve",
  "gre",
  "gretap",
  "ip6gre",
  "ipip",
  "sit",
  "wireguard",
  "tun",
]);
const QUIET = new Set(["dummy", "ifb", "nlmon"]);

export interface Attached {
  ns: NetnsObj;
  hostLink: LinkObj | null;
  podLink: LinkObj | null;
  /** The node's device that `podLink` lies over, where no veth leads to the pod. */
  lower: LinkObj | null;
}

export interface AttachedGroup {
  kind: GroupKind;
  link: LinkObj | null;
  pods: Attached[];
}

export interface Sorted {
  nics: LinkObj[];
  tunnels: LinkObj[];
  devices: LinkObj[];
  groups: AttachedGroup[];
}

export function namespaceLabel(ns: NetnsObj): string {
  if (ns.pod) return ns.pod.name;
  return ns.name || ns.holders[0]?.name || ns.key;
}

/** Sort what a node has into what hangs where. */
export function sortNode(graph: Graph, node: string): Sorted {
  const root = graph.rootOf(node);
  const rootLinks = root ? graph.linksOf(root.key).sort((a, b) => naturalCompare(a.ifname, b.ifname)) : [];
  const pods = graph
    .netnsOf(node)
    .filter((ns) => !ns.root)
    .map((ns) => attach(graph, ns, root?.key))
    .sort((a, b) => compareNamespaces(a.ns, b.ns));
  const groups: Sorted["groups"] = rootLinks
    .filter((link) => link.kind === "bridge")
    .map((bridge) => ({
      kind: "bridge",
      link: bridge,
      pods: pods.filter((pod) => pod.hostLink?.master === bridge.key),
    }));
  const bridges = new Set(groups.map((group) => group.link?.key));
  const routed = pods.filter((pod) => pod.hostLink && !bridges.has(pod.hostLink.master ?? undefined));
  if (routed.length > 0) groups.push({ kind: "routed", link: null, pods: routed });
  for (const link of rootLinks) {
    const over = pods.filter((pod) => pod.lower?.key === link.key);
    if (over.length > 0) groups.push({ kind: "over", link, pods: over });
  }
  const detached = pods.filter((pod) => !pod.hostLink && !pod.lower);
  if (detached.length > 0) groups.push({ kind: "detached", link: null, pods: detached });

  const used = new Set(pods.map((pod) => pod.hostLink?.key));
  const rest = rootLinks.filter(
    (link) => !used.has(link.key) && link.kind !== "bridge" && link.ifname !== "lo",
  );
  const uplinks = uplinksAmong(graph, node, rest);
  const others = rest.filter((link) => !uplinks.has(link.key) && !leadsToPod(graph, link));
  return {
    nics: rest.filter((link) => uplinks.has(link.key)),
    tunnels: others.filter((link) => TUNNELS.has(link.kind)),
    devices: others.filter((link) => !TUNNELS.has(link.kind)),
    groups,
  };
}

/**
 * The links by which a node reaches others: those that its routes or its own addresses are on, tunnels
 * apart. Without any, every link whose other end isn't known to be on the node itself.
 */
function uplinksAmong(graph: Graph, node: string, links: LinkObj[]): Set<string> {
  const facts = graph.nodes.get(node);
  const named = new Set(graph.routes.get(node)?.routes.map((route) => route.dev));
  const addrs = new Set(facts?.addrs);
  const able = links.filter((link) => !TUNNELS.has(link.kind) && !link.master);
  const used = able.filter((link) => named.has(link.ifname) || link.addrs.some((addr) => addrs.has(addr)));
  const open = able.filter((link) => !QUIET.has(link.kind) && !link.peer);
  return new Set((used.length > 0 ? used : open).map((link) => link.key));
}

/** Whether a link's other end is in a pod: a further link of a pod that hangs elsewhere already. */
function leadsToPod(graph: Graph, link: LinkObj): boolean {
  const peer = link.peer ? graph.links.get(link.peer) : undefined;
  const ns = peer && graph.netns.get(peer.netns);
  return ns !== undefined && !ns.root;
}

function attach(graph: Graph, ns: NetnsObj, root: string | undefined): Attached {
  const links = graph.linksOf(ns.key).sort((a, b) => a.ifindex - b.ifindex);
  for (const podLink of links) {
    const hostLink = podLink.peer ? graph.links.get(podLink.peer) : undefined;
    if (hostLink && hostLink.netns === root) return { ns, hostLink, podLink, lower: null };
  }
  for (const podLink of links) {
    const lower = podLink.lower ? graph.links.get(podLink.lower) : undefined;
    if (lower && lower.netns === root) return { ns, hostLink: null, podLink, lower };
  }
  const podLink = links.find((link) => link.ifname !== "lo") ?? null;
  return { ns, hostLink: null, podLink, lower: null };
}

export function compareNamespaces(a: NetnsObj, b: NetnsObj): number {
  return (
    Number(b.pod !== null) - Number(a.pod !== null) ||
    naturalCompare(namespaceLabel(a), namespaceLabel(b)) ||
    naturalCompare(a.pod?.namespace ?? "", b.pod?.namespace ?? "") ||
    naturalCompare(a.key, b.key)
  );
}

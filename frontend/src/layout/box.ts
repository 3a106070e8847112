// One node's box, in its own coordinates (0, 0 at its top left corner). From the top: NICs on the
// edge, the header, devices such as tunnels, then each bridge as a bar whose pods hang below it. A bar
// with more pods than columns is folded: its rows are the teeth of one comb.

import type { LinkObj, NetnsObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import type { Lanes } from "./lanes.js";
import * as m from "./metrics.js";
import { naturalCompare } from "./natural.js";
import type { Device, Group, GroupKind, Nic, NodeBox, PodTile } from "./scene.js";

const TUNNELS = new Set(["vxlan", "geneve", "gre", "gretap", "ip6gre", "ipip", "sit", "wireguard", "tun"]);
const QUIET = new Set(["dummy", "ifb", "nlmon"]);

interface Attached {
  ns: NetnsObj;
  hostLink: LinkObj | null;
  podLink: LinkObj | null;
  /** The node's device that `podLink` lies over, where no veth leads to the pod. */
  lower: LinkObj | null;
}

interface Sorted {
  nics: LinkObj[];
  devices: LinkObj[];
  groups: { kind: GroupKind; link: LinkObj | null; pods: Attached[] }[];
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
  return {
    nics: rest.filter((link) => uplinks.has(link.key)),
    devices: rest.filter((link) => !uplinks.has(link.key) && !leadsToPod(graph, link)),
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

/** Columns of pods in every box, for a cluster whose fullest box has `most` pods. */
export function columnsFor(most: number): number {
  const capacity = m.CAPACITIES.find((size) => size >= most) ?? Math.ceil(most / 32) * 32;
  return Math.max(2, Math.round(Math.sqrt(capacity * 0.75)));
}

export function boxWidth(columns: number): number {
  return m.GROUP_X + columns * m.PITCH_X - (m.PITCH_X - m.TILE_W) + m.PAD;
}

export function layoutBox(graph: Graph, name: string, columns: number, lanes: Lanes): NodeBox {
  const sorted = sortNode(graph, name);
  const width = boxWidth(columns);
  let y = m.HEADER_H;
  const devices = sorted.devices.map((link, i) => deviceAt(link, i, y, width));
  if (devices.length > 0) {
    const lowest = devices[devices.length - 1] as Device;
    y = lowest.y + lowest.h + (m.DEVICE_ROW_H - m.DEVICE_H);
  }
  const groups: Group[] = [];
  for (const group of sorted.groups) {
    const laid = layoutGroup(group, groups.length, name, columns, y);
    groups.push(laid);
    y = laid.labelY + m.GROUP_LABEL_H + Math.max(1, laid.rows.length) * m.ROW_PITCH;
    if (laid.tiles.length === 0) y = laid.labelY + m.GROUP_LABEL_H + m.BAR_H + m.PAD;
  }
  return {
    name,
    shortName: name,
    root: graph.rootOf(name)?.key ?? null,
    row: 0,
    x: 0,
    y: 0,
    w: width,
    h: y + (groups.length > 0 ? 0 : m.PAD),
    nics: sorted.nics.map((link, i) => nicAt(link, i, lanes.of(name, link.ifname))),
    devices,
    groups,
    podCount: sorted.groups.reduce((sum, group) => sum + group.pods.filter((pod) => pod.ns.pod).length, 0),
  };
}

function nicAt(link: LinkObj, i: number, lane: number): Nic {
  const w = 14;
  return {
    link: link.key,
    ifname: link.ifname,
    kind: link.kind,
    lane,
    x: m.TRUNK_X - w / 2 + i * m.NIC_PITCH,
    y: -6,
    w,
    h: 12,
  };
}

function deviceAt(link: LinkObj, i: number, top: number, width: number): Device {
  const perRow = Math.max(1, Math.floor((width - m.GROUP_X - m.PAD + 12) / (m.DEVICE_W + 12)));
  return {
    link: link.key,
    ifname: link.ifname,
    kind: link.kind,
    x: m.GROUP_X + (i % perRow) * (m.DEVICE_W + 12),
    y: top + Math.floor(i / perRow) * m.DEVICE_ROW_H,
    w: m.DEVICE_W,
    h: m.DEVICE_H,
  };
}

function layoutGroup(
  group: Sorted["groups"][number],
  index: number,
  node: string,
  columns: number,
  top: number,
): Group {
  const first = top + m.GROUP_LABEL_H;
  const tiles: PodTile[] = group.pods.map((pod, i) => {
    const x = m.GROUP_X + (i % columns) * m.PITCH_X;
    const bar = first + Math.floor(i / columns) * m.ROW_PITCH;
    return {
      key: pod.ns.key,
      node,
      group: index,
      x,
      y: bar + m.BAR_H + m.STUB,
      w: m.TILE_W,
      h: m.TILE_H,
      port: group.kind === "detached" ? null : { x: x + m.TILE_W / 2, y: bar + m.BAR_H / 2 },
      hostLink: pod.hostLink?.key ?? null,
      podLink: pod.podLink?.key ?? null,
    };
  });
  const rowCount = Math.max(group.kind === "bridge" ? 1 : 0, Math.ceil(tiles.length / columns));
  const rows = Array.from({ length: rowCount }, (_, r) => ({
    y: first + r * m.ROW_PITCH + m.BAR_H / 2,
    x0: group.kind === "bridge" ? m.SPINE_X : m.GROUP_X,
    x1: m.GROUP_X + Math.max(1, columns) * m.PITCH_X - (m.PITCH_X - m.TILE_W),
  }));
  return {
    kind: group.kind,
    link: group.link?.key ?? null,
    ifname: group.link?.ifname ?? "",
    rows,
    tiles,
    labelY: top,
  };
}

// MTUs, and where the ends of one wire, or the ports of one bridge, differ.

import type { LinkObj, NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { detailsGap, hasDetails, NODE_UNKNOWN, NONE, type Overlay, type Shade, UNKNOWN } from "./overlay.js";

export function mtuOverlay(graph: Graph): Overlay {
  /** The usual MTU of the nodes' devices on a subnet: that of most of them. */
  let usual: Map<string, number> | null = null;

  const usualOn = (subnet: string): number | undefined => {
    usual ??= usualMtus(graph);
    return usual.get(subnet);
  };

  const link = (one: LinkObj): Shade => {
    if (one.kind === "loopback") return NONE;
    const reason = differs(graph, one, usualOn);
    return { tone: reason ? "warn" : "ok", label: `MTU ${one.mtu}${reason ? `, ${reason}` : ""}` };
  };

  const nodeShade = (name: string): Shade => {
    const root = graph.rootOf(name);
    if (!root) return NODE_UNKNOWN;
    const links = graph.linksOf(root.key).filter((one) => one.kind !== "loopback");
    const odd = links.filter((one) => link(one).tone === "warn").length;
    if (odd > 0) return { tone: "warn", label: `${odd} ${odd === 1 ? "MTU differs" : "MTUs differ"}` };
    const sizes = [...new Set(links.map((one) => one.mtu))].sort((a, b) => a - b);
    return { tone: "ok", label: sizes.length > 0 ? `MTU ${sizes.join(", ")}` : "" };
  };

  return {
    id: "mtu",
    isSampled: false,
    node: (node: NodeObj) => nodeShade(node.name),
    pod(_, port, inside) {
      const one = inside ?? port;
      if (!one) return UNKNOWN;
      const shade = link(one);
      return shade.tone === "warn" || !port ? shade : { ...link(port), label: shade.label };
    },
    link,
    legend: [
      ["ok", "no difference known"],
      ["warn", "differs"],
      ["unknown", "not known"],
    ],
    gap: () => detailsGap(graph),
    forget() {
      usual = null;
    },
  };
}

/** From what a link's MTU differs; "" where it doesn't, as far as that is known. */
function differs(graph: Graph, link: LinkObj, usualOn: (subnet: string) => number | undefined): string {
  const peer = link.peer ? graph.links.get(link.peer) : undefined;
  if (peer && peer.mtu !== link.mtu) return `other end ${peer.mtu}`;
  const bridge = link.master ? graph.links.get(link.master) : undefined;
  if (bridge && bridge.kind === "bridge" && bridge.mtu !== link.mtu) return `${bridge.ifname} ${bridge.mtu}`;
  const node = graph.netns.get(link.netns);
  if (!node?.root) return "";
  const subnet = graph.nodes.get(node.node)?.subnets.find((one) => one.dev === link.ifname)?.subnet;
  const usual = subnet === undefined ? undefined : usualOn(subnet);
  return usual !== undefined && usual !== link.mtu ? `most on ${subnet} ${usual}` : "";
}

function usualMtus(graph: Graph): Map<string, number> {
  const counts = new Map<string, Map<number, number>>();
  for (const node of graph.nodes.values()) {
    if (!hasDetails(graph, node.name)) continue;
    const links = graph.linksOf(graph.rootOf(node.name)?.key ?? "");
    for (const { dev, subnet } of node.subnets) {
      const mtu = links.find((one) => one.ifname === dev)?.mtu;
      if (mtu === undefined) continue;
      const there = counts.get(subnet) ?? new Map<number, number>();
      there.set(mtu, (there.get(mtu) ?? 0) + 1);
      counts.set(subnet, there);
    }
  }
  const usual = new Map<string, number>();
  for (const [subnet, there] of counts) {
    const [first, second] = [...there].sort((a, b) => b[1] - a[1]);
    // Of two that are as common as each other neither is the usual one.
    if (first && first[1] > (second?.[1] ?? 0)) usual.set(subnet, first[0]);
  }
  return usual;
}

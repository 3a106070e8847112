// Tunnels' ends: which nodes have one, of what kind, and whether it is up.

import type { LinkObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { TUNNELS } from "../layout/box.js";
import { linkFault } from "../map/picture.js";
import { detailsGap, NODE_UNKNOWN, NONE, type Overlay, type Shade, worst } from "./overlay.js";

export function tunnelName(link: LinkObj): string {
  const kind = link.kind === "vxlan" ? "VXLAN" : link.kind;
  return link.vni === null ? kind : `${kind} ${link.vni}`;
}

export function tunnelsOverlay(graph: Graph): Overlay {
  const link = (one: LinkObj): Shade => {
    if (!TUNNELS.has(one.kind)) return NONE;
    const fault = linkFault(one);
    const name = `${tunnelName(one)}, MTU ${one.mtu}`;
    return fault ? { tone: "bad", label: `${name}, ${fault}` } : { tone: "r3", label: name };
  };
  return {
    id: "tunnels",
    isSampled: false,
    node(node) {
      const root = graph.rootOf(node.name);
      if (!root) return NODE_UNKNOWN;
      const ends = graph.linksOf(root.key).filter((one) => TUNNELS.has(one.kind));
      if (ends.length === 0) return { tone: "none", label: "no tunnel" };
      const { tone } = worst(ends.map(link));
      return { tone, label: [...new Set(ends.map(tunnelName))].join(", ") };
    },
    pod: () => NONE,
    link,
    legend: [
      ["r3", "has a tunnel’s end"],
      ["bad", "its end is down"],
      ["none", "no tunnel"],
      ["unknown", "not known"],
    ],
    gap: () => detailsGap(graph),
    forget: () => {},
  };
}

// What an overlay says of one thing, in words: for who doesn't see its colour. Pure.

import type { Graph } from "../graph/store.js";
import type { Target } from "../map/hit.js";
import type { Overlay } from "./overlay.js";

/** "" where it says nothing, or the thing isn't known. */
export function saysOf(graph: Graph, overlay: Overlay, target: Target): string {
  if (target.type === "node") {
    const node = graph.nodes.get(target.name);
    return node ? overlay.node(node).label : "";
  }
  if (target.type === "link") {
    const link = graph.links.get(target.key);
    return link ? overlay.link(link).label : "";
  }
  const ns = graph.netns.get(target.key);
  if (!ns) return "";
  const inside = graph.linksOf(ns.key).find((link) => link.kind !== "loopback");
  const port = inside?.peer ? graph.links.get(inside.peer) : undefined;
  return overlay.pod(ns, port, inside).label;
}

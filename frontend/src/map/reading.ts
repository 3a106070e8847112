// The picture of a graph: what drawing reads, looked up by key, and counted once between two changes.

import type { Graph } from "../graph/store.js";
import { namespaceLabel } from "../layout/box.js";
import type { Block } from "../layout/scene.js";
import type { Overlay } from "../overlays/overlay.js";
import type { Target } from "./hit.js";
import { type BlockFacts, type Picture, stateOf, stateText } from "./picture.js";

export function makePicture(graph: Graph, overlay: Overlay): Picture {
  const counted = new Map<Block, BlockFacts>();
  const picture: Picture = {
    node: (name) => graph.nodes.get(name),
    netns: (key) => graph.netns.get(key),
    link: (key) => graph.links.get(key),
    problemsAt(name) {
      const problems = graph.problemsAt(name);
      const root = graph.rootOf(name)?.key ?? "";
      const pods = new Set(problems.map((problem) => problem.where.key).filter((key) => key && key !== root));
      return { count: problems.length, pods: pods.size };
    },
    routesOf(name) {
      const routes = graph.routes.get(name);
      return routes ? routes.routes.length + routes.left_off : null;
    },
    facts(block) {
      const known = counted.get(block);
      if (known) return known;
      const facts = countBlock(graph, block);
      counted.set(block, facts);
      return facts;
    },
    overlay,
    forget() {
      counted.clear();
      picture.overlay.forget();
    },
    nameOf: (target) => nameOf(graph, target),
    selected: null,
    hovered: null,
    origin: null,
    lit: null,
    ringed: new Set(),
    fresh: new Map(),
  };
  return picture;
}

function countBlock(graph: Graph, block: Block): BlockFacts {
  const states = { ok: 0, warning: 0, error: 0, away: 0 };
  const gateways = new Set<string>();
  let [nodes, pods] = [0, 0];
  for (const name of block.cells) {
    const node = name == null ? undefined : graph.nodes.get(name);
    if (!node) continue;
    nodes += 1;
    pods += node.pods;
    states[stateOf(node)] += 1;
    for (const route of graph.routes.get(node.name)?.routes ?? [])
      if (route.via && !route.to_node) gateways.add(route.via);
  }
  return { nodes, pods, states, gateways: [...gateways] };
}

/** A target as it is read aloud: what it is, and how. */
function nameOf(graph: Graph, target: Target): string {
  if (target.type === "node") {
    const node = graph.nodes.get(target.name);
    const state = stateText(node, graph.problemsAt(target.name).length) || "no problem known";
    return `node ${target.name}, ${node?.pods ?? 0} pods, ${state}`;
  }
  if (target.type === "pod") {
    const ns = graph.netns.get(target.key);
    if (!ns) return "";
    const kind = ns.pod ? `pod ${ns.pod.namespace}/` : "namespace ";
    return `${kind}${namespaceLabel(ns)}, ${ns.addrs[0] ?? "no address"}, on ${ns.node}, ${{ ok: "no problem known", warning: "warning", error: "error" }[ns.health]}`;
  }
  return `link ${graph.links.get(target.key)?.ifname ?? ""}`;
}

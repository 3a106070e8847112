// How nodes, pods and links are, by the server's word.

import type { LinkObj, NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { linkFault, stateOf, stateText } from "../map/picture.js";
import type { Overlay, Tone } from "./overlay.js";

const TONE = { ok: "ok", warning: "warn", error: "bad", away: "unknown" } as const;

export function problemsOverlay(graph: Graph): Overlay {
  return {
    id: "problems",
    isSampled: false,
    node: (node: NodeObj) => ({
      tone: TONE[stateOf(node)],
      label: stateText(node, graph.problemsAt(node.name).length),
    }),
    pod: (ns) => ({ tone: TONE[ns.health], label: "" }),
    link: (link: LinkObj) => ({ tone: linkTone(graph, link), label: "" }),
    legend: [
      ["ok", "no problem known"],
      ["warn", "warning"],
      ["bad", "error"],
      ["unknown", "no data"],
    ],
    gap: () => "",
    forget: () => {},
  };
}

/** Whether something is wrong at a link: by itself, or by a problem that has its cause there. */
function linkTone(graph: Graph, link: LinkObj): Tone {
  if (linkFault(link)) return "bad";
  const there = graph.problemsAt(link.netns).filter((problem) => problem.where.dev === link.ifname);
  if (there.length === 0) return "ok";
  return there.some((problem) => problem.severity === "error") ? "bad" : "warn";
}

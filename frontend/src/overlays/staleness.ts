// How old each node's word is: of a connected node how late its collector is, of another how long it has been silent.

import type { NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { ageText } from "../map/picture.js";
import { NONE, type Overlay, type Shade, step, UNKNOWN } from "./overlay.js";

/** From these ages on, in seconds. */
const STEPS: [number, number, number] = [1, 5, 30];

export function stalenessOverlay(graph: Graph): Overlay {
  const node = (one: NodeObj): Shade => {
    if (one.not_understood !== null) return { tone: "bad", label: "not understood" };
    if (!one.connected) {
      // A node that never said anything has no age.
      if (one.age_s === 0) return { tone: "unknown", label: "never heard" };
      return { tone: "warn", label: `silent for ${ageText(one.age_s)}` };
    }
    const late = one.age_s < 1 ? "current" : `${ageText(one.age_s)} late`;
    return { tone: step(one.age_s, STEPS), label: one.complete ? late : `${late}, incomplete` };
  };
  return {
    id: "staleness",
    isSampled: false,
    node,
    pod(ns) {
      const own = graph.nodes.get(ns.node);
      if (!own) return UNKNOWN;
      // What couldn't be read in a namespace is as good as old.
      return ns.gaps.length > 0 ? { tone: "warn", label: "not read whole" } : { ...node(own), label: "" };
    },
    link: () => NONE,
    legend: [
      ["r1", "under 1 s old"],
      ["r2", "1 s"],
      ["r3", "5 s"],
      ["r4", "30 s and more"],
      ["warn", "silent, or not read whole"],
      ["unknown", "never heard"],
    ],
    gap: () => (graph.staleSince ? "the server isn’t heard: nothing here is current" : ""),
    forget: () => {},
  };
}

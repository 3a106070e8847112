// A graph as the map shows it from somewhere: for scenes that are drawn in tests.

import type { Graph } from "../src/graph/store.js";
import { Layout } from "../src/layout/layout.js";
import { CELL_W } from "../src/layout/metrics.js";
import { fitTransform } from "../src/map/camera.js";
import { type Level, levelAt, widthOf } from "../src/map/level.js";
import type { View } from "../src/map/pen.js";
import type { Picture } from "../src/map/picture.js";
import { makePicture } from "../src/map/reading.js";
import { makeOverlay } from "../src/overlays/all.js";
import { Rates } from "../src/rates.js";

export interface Placed {
  layout: Layout;
  picture: Picture;
  view: View;
  level: Level;
}

/** Look at a graph from where it is whole, or where its first node is at a level or so many pixels wide. */
export function placed(
  graph: Graph,
  at: Level | "whole" | number,
  size: { width: number; height: number },
): Placed {
  const layout = new Layout(graph);
  layout.update({ nodes: true, details: new Set(graph.nodes.keys()) }, 0);
  const rates = new Rates(() => Promise.resolve({ nodes: {} }));
  const picture = makePicture(graph, makeOverlay("problems", graph, rates));
  const view: View = { ...size, ratio: 1, k: 1, x: 0, y: 0 };
  if (at === "whole") {
    Object.assign(view, fitTransform(layout.scene.bounds, size.width, size.height, 1));
    return { layout, picture, view, level: levelAt(view.k, null) };
  }
  const k = (typeof at === "number" ? at : widthOf(at)) / CELL_W;
  const cell = layout.scene.cells.values().next().value;
  Object.assign(view, { k, x: 80 - (cell?.x ?? 0) * k, y: 140 - (cell?.y ?? 0) * k });
  return { layout, picture, view, level: typeof at === "number" ? levelAt(k, null) : at };
}

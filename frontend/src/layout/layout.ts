// The whole picture: boxes in a grid of rows, each row hanging from a rail of the underlay.
//
// A pure function of the graph: no clock, no randomness, no window size, no memory of earlier
// pictures. Boxes share one width and grow in steps, so a new pod moves only the pods that follow it
// in its own box.

import type { Graph } from "../graph/store.js";
import { boxWidth, columnsFor, layoutBox } from "./box.js";
import { lanesOf } from "./lanes.js";
import * as m from "./metrics.js";
import { naturalCompare } from "./natural.js";
import type { Device, Group, NodeBox, PodTile, RowRail, Scene } from "./scene.js";
import { EMPTY_SCENE, laneOffset } from "./scene.js";

export function layoutScene(graph: Graph): Scene {
  const names = [...graph.nodes.keys()].sort(naturalCompare);
  if (names.length === 0) return EMPTY_SCENE;
  const most = Math.max(1, ...names.map((name) => graph.netnsOf(name).length - 1));
  const columns = columnsFor(most);
  const common = commonStart(names);
  const lanes = lanesOf(graph);
  const boxes = names.map((name) => ({
    ...layoutBox(graph, name, columns, lanes),
    shortName: name.slice(common),
  }));
  const perRow = nodesPerRow(boxes, boxWidth(columns));
  const nodes: NodeBox[] = [];
  const rails: RowRail[] = [];
  const above = laneOffset(lanes.labels.length - 1);
  let y = above;
  for (let start = 0; start < boxes.length; start += perRow) {
    const row = boxes.slice(start, start + perRow);
    const top = y + m.RAIL_RISE;
    const height = Math.max(...row.map((box) => box.h));
    row.forEach((box, i) => {
      nodes.push(moveBox({ ...box, h: height, row: rails.length }, i * (box.w + m.NODE_GAP_X), top));
    });
    rails.push({ y, x0: 0, x1: row.length * (boxWidth(columns) + m.NODE_GAP_X) - m.NODE_GAP_X });
    y = top + height + m.NODE_GAP_Y + above;
  }
  return finish(nodes, rails, lanes.labels, y - m.NODE_GAP_Y - above);
}

/** The length of what all names begin with, up to a sign between words; 0 for a single name. */
export function commonStart(names: string[]): number {
  const [first = "", ...others] = names;
  if (others.length === 0) return 0;
  let length = 0;
  while (length < first.length && others.every((name) => name[length] === first[length])) length += 1;
  const start = /^.*[^a-zA-Z0-9]/.exec(first.slice(0, length))?.[0].length;
  return start ?? /^[a-zA-Z]*/.exec(first.slice(0, length))?.[0].length ?? 0;
}

function finish(nodes: NodeBox[], rails: RowRail[], lanes: string[], bottom: number): Scene {
  const folded = rails.length > 1;
  const right = Math.max(...rails.map((rail) => rail.x1));
  const left = folded ? m.UNDERLAY_TRUNK - laneOffset(lanes.length - 1) : 0;
  const tileByKey = new Map<string, PodTile>();
  for (const box of nodes) {
    for (const group of box.groups) for (const tile of group.tiles) tileByKey.set(tile.key, tile);
  }
  const last = rails[rails.length - 1] as RowRail;
  return {
    bounds: { x: left, y: -20, w: right - left, h: bottom + 20 },
    nodes,
    lanes,
    rails: folded ? rails.map((rail) => ({ ...rail, x0: m.UNDERLAY_TRUNK })) : rails,
    trunk: folded ? { x: m.UNDERLAY_TRUNK, y0: 0, y1: last.y } : null,
    nodeByName: new Map(nodes.map((box) => [box.name, box])),
    tileByKey,
  };
}

/** The number of boxes in a row that fills the target area best. */
export function nodesPerRow(boxes: { h: number }[], width: number): number {
  const height = Math.max(...boxes.map((box) => box.h)) + m.RAIL_RISE + m.NODE_GAP_Y;
  let best = 1;
  let bestScore = 0;
  for (let perRow = 1; perRow <= boxes.length; perRow += 1) {
    const rows = Math.ceil(boxes.length / perRow);
    const scale = Math.min(m.TARGET_W / (perRow * (width + m.NODE_GAP_X)), m.TARGET_H / (rows * height));
    // A last row with gaps leaves the picture lopsided: worth a little size to avoid.
    const score = scale * (0.75 + 0.25 * (boxes.length / (rows * perRow)));
    if (score > bestScore) {
      best = perRow;
      bestScore = score;
    }
  }
  return best;
}

function moveBox(box: NodeBox, dx: number, dy: number): NodeBox {
  const device = (item: Device): Device => ({ ...item, x: item.x + dx, y: item.y + dy });
  return {
    ...box,
    x: box.x + dx,
    y: box.y + dy,
    nics: box.nics.map((nic) => ({ ...nic, x: nic.x + dx, y: nic.y + dy })),
    devices: box.devices.map(device),
    groups: box.groups.map((group) => moveGroup(group, dx, dy)),
  };
}

function moveGroup(group: Group, dx: number, dy: number): Group {
  return {
    ...group,
    labelY: group.labelY + dy,
    rows: group.rows.map((row) => ({ y: row.y + dy, x0: row.x0 + dx, x1: row.x1 + dx })),
    tiles: group.tiles.map((tile) => ({
      ...tile,
      x: tile.x + dx,
      y: tile.y + dy,
      port: tile.port && { x: tile.port.x + dx, y: tile.port.y + dy },
    })),
  };
}

// What is under the pointer. Cells are in grids, so a look-up costs the same in any cluster.

import type { NodeBox, PodTile, Point, Rect, Scene } from "../layout/scene.js";
import { cellsWithin } from "../layout/scene.js";
import { isAtLeast, type Level } from "./level.js";

export type Target =
  | { type: "pod"; key: string }
  | { type: "link"; key: string }
  | { type: "node"; name: string };

/** The node whose cell is at a point of the world. */
export function nodeAt(scene: Scene, x: number, y: number): string | null {
  for (const block of scene.blocks) {
    if (x < block.x || y < block.y || x > block.x + block.w || y > block.y + block.h) continue;
    const { firstRow, firstCol } = cellsWithin(block, { x, y, w: 0, h: 0 });
    const name = block.cells[firstRow * block.cols + firstCol];
    const cell = name == null ? undefined : scene.cells.get(name);
    if (cell && x >= cell.x && x <= cell.x + cell.w && y >= cell.y - 14 && y <= cell.y + cell.h)
      return cell.name;
  }
  return null;
}

/** The uppermost target at a point of the world, at a level; `slack` is how far beside a small thing one may point. */
export function hitAt(scene: Scene, x: number, y: number, level: Level, slack: number): Target | null {
  const name = nodeAt(scene, x, y);
  const cell = name === null ? undefined : scene.cells.get(name);
  if (!cell) return null;
  const box = scene.boxes.get(cell.name);
  if (!box || !isAtLeast(level, "pods")) return { type: "node", name: cell.name };
  return hitIn(box, { x: x - cell.x, y: y - cell.y }, slack) ?? { type: "node", name: cell.name };
}

function hitIn(box: NodeBox, at: Point, slack: number): Target | null {
  for (const item of [...box.nics, ...box.tunnels, ...box.devices])
    if (isIn(at, item, slack)) return { type: "link", key: item.link };
  for (const group of box.groups) {
    for (const tile of group.tiles) {
      if (isIn(at, tile, 0)) return { type: "pod", key: tile.key };
      const link = linkOfTile(tile, at, slack);
      if (link) return { type: "link", key: link };
    }
    const { y, x0, x1 } = group.line;
    if (group.link && isIn(at, { x: x0, y, w: x1 - x0, h: 0 }, slack))
      return { type: "link", key: group.link };
  }
  return null;
}

/** A wire's port is the link on the node's side, the wire itself the one in the pod. */
function linkOfTile(tile: PodTile, at: Point, slack: number): string | null {
  const port = tile.wire[0];
  if (!port) return null;
  if (tile.hostLink && isIn(at, { ...port, w: 0, h: 0 }, Math.max(4, slack))) return tile.hostLink;
  if (!tile.podLink) return null;
  const half = Math.min(slack, 2);
  for (let i = 1; i < tile.wire.length; i += 1) {
    const [a, b] = [tile.wire[i - 1] as Point, tile.wire[i] as Point];
    const rect = {
      x: Math.min(a.x, b.x),
      y: Math.min(a.y, b.y),
      w: Math.abs(a.x - b.x),
      h: Math.abs(a.y - b.y),
    };
    if (isIn(at, rect, half)) return tile.podLink;
  }
  return null;
}

function isIn(at: Point, rect: Rect, slack: number): boolean {
  return (
    at.x >= rect.x - slack &&
    at.y >= rect.y - slack &&
    at.x <= rect.x + rect.w + slack &&
    at.y <= rect.y + rect.h + slack
  );
}

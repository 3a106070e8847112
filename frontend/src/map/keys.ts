// Moving with the arrow keys to the nearest neighbour in that direction: among pods where they are drawn, among
// nodes where only these are.

import { nodeOfKey } from "../graph/keys.js";
import type { Rect, Scene } from "../layout/scene.js";
import { tileRect } from "../layout/scene.js";
import type { Target } from "./hit.js";

interface Stop {
  target: Target;
  rect: Rect;
}

/** The next target; the first one of all where nothing is selected, or what is has no place. */
export function nextTarget(scene: Scene, from: Target | null, key: string, amongPods: boolean): Stop | null {
  const stops = [...(amongPods ? podStops(scene) : nodeStops(scene))];
  const start = stops.find((stop) => from !== null && isSame(stop.target, from)) ?? nearby(scene, from);
  if (!start) return stops[0] ?? null;
  const horizontal = key === "ArrowLeft" || key === "ArrowRight";
  const sign = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  let best: Stop | null = null;
  let bestCost = Number.POSITIVE_INFINITY;
  for (const stop of stops) {
    const dx = stop.rect.x - start.rect.x;
    const dy = stop.rect.y - start.rect.y;
    const along = (horizontal ? dx : dy) * sign;
    if (along <= 0) continue;
    const cost = along + 3 * Math.abs(horizontal ? dy : dx);
    if (cost < bestCost) {
      best = stop;
      bestCost = cost;
    }
  }
  return best;
}

/** From a node among pods one comes to its pods, and from a pod among nodes to its node's neighbours. */
function nearby(scene: Scene, from: Target | null): Stop | null {
  if (!from) return null;
  const name = from.type === "node" ? from.name : nodeOfKey(from.key);
  const cell = scene.cells.get(name);
  return cell ? { target: { type: "node", name }, rect: cell } : null;
}

function* nodeStops(scene: Scene): Generator<Stop> {
  for (const cell of scene.cells.values()) yield { target: { type: "node", name: cell.name }, rect: cell };
}

function* podStops(scene: Scene): Generator<Stop> {
  for (const [name, box] of scene.boxes) {
    const cell = scene.cells.get(name);
    if (!cell) continue;
    for (const tile of box.tileByKey.values())
      yield { target: { type: "pod", key: tile.key }, rect: tileRect(cell, tile) };
  }
}

export function isSame(a: Target, b: Target): boolean {
  return a.type === b.type && ("key" in a ? a.key : a.name) === ("key" in b ? b.key : b.name);
}

// Moving between pods with the arrow keys: the nearest tile in that direction.

import type { PodTile, Scene } from "../layout/scene.js";

export function nextTile(scene: Scene, from: string | null, key: string): PodTile | null {
  const start = from === null ? undefined : scene.tileByKey.get(from);
  if (!start) return scene.tileByKey.values().next().value ?? null;
  const horizontal = key === "ArrowLeft" || key === "ArrowRight";
  const sign = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  let best: PodTile | null = null;
  let bestCost = Number.POSITIVE_INFINITY;
  for (const tile of scene.tileByKey.values()) {
    const dx = tile.x - start.x;
    const dy = tile.y - start.y;
    const along = (horizontal ? dx : dy) * sign;
    if (along <= 0) continue;
    const cost = along + 3 * Math.abs(horizontal ? dy : dx);
    if (cost < bestCost) {
      best = tile;
      bestCost = cost;
    }
  }
  return best;
}

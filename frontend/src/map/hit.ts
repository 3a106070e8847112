// What is under the pointer: rectangles in a coarse grid, so a look-up costs the same in any cluster.

import { SPINE_W } from "../layout/metrics.js";
import type { Rect, Scene } from "../layout/scene.js";

export type Target =
  | { type: "pod"; key: string }
  | { type: "link"; key: string }
  | { type: "node"; name: string };

interface Entry {
  rect: Rect;
  target: Target;
  rank: number;
}

const CELL = 256;

export class HitIndex {
  private readonly cells = new Map<string, Entry[]>();

  constructor(scene: Scene) {
    for (const box of scene.nodes) {
      this.add(box, { type: "node", name: box.name }, 0);
      for (const item of [...box.nics, ...box.devices])
        this.add(grow(item, 5), { type: "link", key: item.link }, 3);
      for (const group of box.groups) {
        for (const row of group.link ? group.rows : []) {
          const bar = { x: row.x0, y: row.y - 6, w: row.x1 - row.x0, h: 12 };
          this.add(bar, { type: "link", key: group.link as string }, 2);
        }
        const [first, last] = [group.rows[0], group.rows.at(-1)];
        if (group.link && first && last) {
          const spine = { x: first.x0, y: first.y - 6, w: SPINE_W, h: last.y - first.y + 12 };
          this.add(spine, { type: "link", key: group.link }, 2);
        }
        for (const tile of group.tiles) {
          this.add(tile, { type: "pod", key: tile.key }, 1);
          if (tile.port && tile.hostLink) {
            const port = { x: tile.port.x - 9, y: tile.port.y - 8, w: 18, h: 16 };
            this.add(port, { type: "link", key: tile.hostLink }, 3);
          }
          if (tile.port && tile.podLink) {
            const wire = { x: tile.port.x - 6, y: tile.port.y + 8, w: 12, h: tile.y - tile.port.y - 8 };
            this.add(wire, { type: "link", key: tile.podLink }, 2);
          }
        }
      }
    }
  }

  /** The uppermost target at a point of the world. With `coarse`, only pods and nodes. */
  at(x: number, y: number, coarse = false): Target | null {
    let best: Entry | null = null;
    for (const entry of this.cells.get(cellOf(x, y)) ?? []) {
      if (coarse && entry.target.type === "link") continue;
      const { rect } = entry;
      if (x < rect.x || y < rect.y || x > rect.x + rect.w || y > rect.y + rect.h) continue;
      if (!best || entry.rank > best.rank) best = entry;
    }
    return best?.target ?? null;
  }

  private add(rect: Rect, target: Target, rank: number): void {
    const entry = { rect, target, rank };
    for (let cx = Math.floor(rect.x / CELL); cx <= Math.floor((rect.x + rect.w) / CELL); cx += 1) {
      for (let cy = Math.floor(rect.y / CELL); cy <= Math.floor((rect.y + rect.h) / CELL); cy += 1) {
        const cell = this.cells.get(`${cx},${cy}`);
        if (cell) cell.push(entry);
        else this.cells.set(`${cx},${cy}`, [entry]);
      }
    }
  }
}

function cellOf(x: number, y: number): string {
  return `${Math.floor(x / CELL)},${Math.floor(y / CELL)}`;
}

function grow(rect: Rect, by: number): Rect {
  return { x: rect.x - by, y: rect.y - by, w: rect.w + 2 * by, h: rect.h + 2 * by };
}

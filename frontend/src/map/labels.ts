// Labels that avoid each other: who comes first gets the room, and a label that finds none is left out. What must
// never be covered (titles, tiles) takes its room before. Rectangles are in CSS pixels.

import type { Rect } from "../layout/scene.js";

const CELL = 64;

export class Labels {
  private readonly taken = new Map<number, Rect[]>();

  /** Take room, whatever is there. */
  block(rect: Rect): void {
    for (const cell of cellsOf(rect)) {
      const there = this.taken.get(cell);
      if (there) there.push(rect);
      else this.taken.set(cell, [rect]);
    }
  }

  /** Take the first of these rectangles that is free; null when none is. */
  place(rects: Rect[]): Rect | null {
    const free = rects.find((rect) => this.isFree(rect));
    if (!free) return null;
    this.block(free);
    return free;
  }

  private isFree(rect: Rect): boolean {
    for (const cell of cellsOf(rect))
      for (const other of this.taken.get(cell) ?? [])
        if (
          rect.x < other.x + other.w &&
          other.x < rect.x + rect.w &&
          rect.y < other.y + other.h &&
          other.y < rect.y + rect.h
        )
          return false;
    return true;
  }
}

function* cellsOf(rect: Rect): Generator<number> {
  for (let x = Math.floor(rect.x / CELL); x <= Math.floor((rect.x + rect.w) / CELL); x += 1)
    for (let y = Math.floor(rect.y / CELL); y <= Math.floor((rect.y + rect.h) / CELL); y += 1)
      yield x * 100_003 + y;
}

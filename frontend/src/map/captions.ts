// Where the captions of marks go: beside their mark, over no other mark or caption, off the map's edges, and not over
// the names of what is lit. Pure; CSS pixels.

import type { Point, Rect } from "../layout/scene.js";
import { Labels } from "./labels.js";

export interface Captioned {
  at: Point;
  /** Of the mark itself; 0 where nothing is drawn. */
  r: number;
  /** Of the caption; 0 where there is none. */
  width: number;
  /** Left out where there is no room. */
  isOptional: boolean;
}

export const CAPTION_H = 20;
const EDGE = 4;
const GAP = 4;

/**
 * A place for each caption; null for those that have none. `keep` is what no caption may cover if it can be helped, and
 * `spare` what it had better not.
 */
export function placeCaptions(
  marks: Captioned[],
  keep: Rect[],
  spare: Rect[],
  size: { width: number; height: number },
): (Rect | null)[] {
  const [free, clear, crowded] = [new Labels(), new Labels(), new Labels()];
  const take = (rect: Rect) => {
    for (const labels of [free, clear, crowded]) labels.block(rect);
  };
  for (const rect of keep) clear.block(rect);
  for (const rect of [...keep, ...spare]) free.block(rect);
  for (const { at, r } of marks) if (r > 0) take({ x: at.x - r, y: at.y - r, w: 2 * r, h: 2 * r });
  return marks.map((mark) => {
    if (mark.width === 0) return null;
    const beside = around(mark);
    const inside = beside.filter((rect) => isInside(rect, size));
    const found =
      free.place(inside) ?? clear.place(inside) ?? (mark.isOptional ? null : crowded.place(inside));
    if (found) take(found);
    return found ?? (mark.isOptional ? null : pushedIn(beside[0] as Rect, size));
  });
}

/** The places that a caption may have, the best first: right and left of its mark, above and below, then farther off. */
function around({ at, r, width }: Captioned): Rect[] {
  const offset = r + GAP;
  const rects: Rect[] = [];
  for (let step = 0; step < 4; step += 1)
    for (const y of [-offset - CAPTION_H + 9 - step * 22, offset - 9 + step * 22])
      for (const x of [offset, -offset - width, -width / 2]) {
        const isOnMark = x < 0 && x > -offset - width && step === 0;
        const lift = isOnMark ? (y < 0 ? -9 : 9) : 0;
        rects.push({ x: at.x + x, y: at.y + y + lift, w: width, h: CAPTION_H });
      }
  return rects;
}

function isInside(rect: Rect, { width, height }: { width: number; height: number }): boolean {
  return (
    rect.x >= EDGE && rect.y >= EDGE && rect.x + rect.w <= width - EDGE && rect.y + rect.h <= height - EDGE
  );
}

function pushedIn(rect: Rect, { width, height }: { width: number; height: number }): Rect {
  return {
    ...rect,
    x: Math.max(EDGE, Math.min(rect.x, width - EDGE - rect.w)),
    y: Math.max(EDGE, Math.min(rect.y, height - EDGE - rect.h)),
  };
}

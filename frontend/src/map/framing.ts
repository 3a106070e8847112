// How a part of the map is fitted into the window, so that of what is beside it no sliver is left at the window's edge. Pure.

import type { Rect } from "../layout/scene.js";

/** A side of the room is short of a part of something: this much of it, at least, is worth to be seen. */
const WORTH = 0.4;

interface Span {
  from: number;
  to: number;
}

/**
 * Where a window of `length` is to begin, in the world, that has to show `wanted`: in the middle if that cuts nothing,
 * else where it cuts least of `others`, nearest to the middle.
 */
export function windowStart(wanted: Span, others: Span[], length: number): number {
  const [least, most] = [wanted.to - length, wanted.from];
  const middle = (least + most) / 2;
  if (least >= most) return middle;
  const starts = others.flatMap(({ from, to }) => [to, from, from - length, to - length]);
  const tried = [middle, least, most, ...starts.filter((start) => start > least && start < most)];
  const cost = (start: number) => cutIn({ from: start, to: start + length }, others);
  return tried.reduce((best, start) => {
    const [a, b] = [cost(best), cost(start)];
    const isNearer = Math.abs(start - middle) < Math.abs(best - middle);
    return b < a || (b === a && isNearer) ? start : best;
  });
}

/** How much slivers there are of what lies across a window's ends: less than is worth to be seen of it. */
function cutIn(window: Span, others: Span[]): number {
  let cost = 0;
  for (const { from, to } of others) {
    const shown = (Math.min(to, window.to) - Math.max(from, window.from)) / (to - from);
    if (shown > 0.005 && shown < 0.995) cost += shown < WORTH ? 1 : 0.4;
  }
  return cost;
}

/** Those of some rectangles that share a part of a rectangle's rows, or columns. */
export function beside(rect: Rect, others: Rect[], axis: "x" | "y"): Span[] {
  const isShared = (other: Rect) =>
    axis === "x"
      ? other.y < rect.y + rect.h && rect.y < other.y + other.h
      : other.x < rect.x + rect.w && rect.x < other.x + other.w;
  const size = axis === "x" ? "w" : "h";
  // What stands one below the other is one thing to a window that moves sideways.
  const spans = new Map<number, Span>();
  for (const other of others)
    if (isShared(other)) spans.set(other[axis], { from: other[axis], to: other[axis] + other[size] });
  return [...spans.values()];
}

// A quarter of an hour of a link's rate as a line. Pure but for the elements that it makes; what wasn't known is a gap.

import { KEPT_MS } from "../rates.js";
import { s } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 32;
/** Between two samples further apart than this nothing was asked: the line is broken. */
const APART_MS = 35_000;

export interface Spark {
  /** The line's pieces, each a list of points in a box of WIDTH x HEIGHT. */
  pieces: { x: number; y: number }[][];
  /** When the first of it was known; null where nothing was. */
  since: number | null;
}

/** The line of a history up to a moment, by a value of each sample (null: not known) of at most so much. */
export function sparkOf<T extends { at: number }>(
  samples: readonly T[],
  now: number,
  most: number,
  value: (sample: T) => number | null,
): Spark {
  const known = samples.flatMap((sample) => {
    const of = value(sample);
    return of === null ? [] : [{ at: sample.at, of }];
  });
  const pieces: Spark["pieces"] = [];
  let before: number | null = null;
  const isGap = (at: number) =>
    before === null ||
    at - before > APART_MS ||
    samples.some((sample) => sample.at > (before as number) && sample.at < at);
  for (const { at, of } of known) {
    const point = {
      x: WIDTH * (1 - (now - at) / KEPT_MS),
      y: HEIGHT - 2 - (most === 0 ? 0 : (of / most) * (HEIGHT - 4)),
    };
    if (isGap(at)) pieces.push([point]);
    else (pieces.at(-1) as { x: number; y: number }[]).push(point);
    before = at;
  }
  return { pieces, since: known[0]?.at ?? null };
}

/** Several lines of one scale. */
export function sparkline(lines: { name: string; spark: Spark }[]): SVGElement {
  const svg = s("svg", {
    class: "spark",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  for (const { name, spark } of lines)
    for (const points of spark.pieces) {
      const [first] = points;
      if (!first) continue;
      const line = points.map((p) => `${p.x.toFixed(1)},${p.y.toFixed(1)}`);
      // A single point is a dash of its own.
      if (points.length === 1) line.push(`${(first.x + 2).toFixed(1)},${first.y.toFixed(1)}`);
      svg.append(s("polyline", { class: name, points: line.join(" ") }));
    }
  return svg;
}

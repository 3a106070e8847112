// The lanes of a trace on its stage: forward and return with a ring at each station, and what becomes of a way that ends.

import type { Point } from "../layout/scene.js";
import { laneLine, type StageLayout, stopsOf } from "../layout/stage.js";
import { failedStep } from "../trace/format.js";
import type { Direction } from "../trace/stations.js";
import type { Branch, Step } from "../trace/types.js";
import { h, s } from "../ui/dom.js";

/** Where a way ends. */
export interface Ends {
  direction: Direction;
  step: Step;
  leaves: boolean;
}

/** Where a branch ends other than by arriving and coming back. */
export function endOf(branch: Branch): Ends | null {
  const isThere = branch.disposition === "DELIVERED";
  if (isThere && (!branch.reply || branch.reply.disposition === "DELIVERED")) return null;
  const direction: Direction = isThere ? "reply" : "forward";
  const hops = branch[direction]?.hops ?? [];
  const disposition = isThere ? (branch.reply?.disposition ?? "") : branch.disposition;
  const step = failedStep(hops, disposition);
  return step && { direction, step, leaves: disposition === "LEFT_NETWORK" };
}

/** The two lanes with a ring at each station, and what becomes of a way that ends. */
export function drawLanes(layout: StageLayout, branch: Branch, ends: Ends | null): SVGElement {
  const svg = s("svg", { class: "lanes", width: layout.width, height: layout.height, "aria-hidden": "true" });
  for (const direction of ["reply", "forward"] as const) {
    if (direction === "reply" && !branch.reply) continue;
    const points = laneLine(layout, direction);
    if (points.length === 0) continue;
    const isLost = ends?.direction === direction;
    const group = s("g", { class: `lane ${direction}`, "data-path": direction });
    group.append(
      s("path", { class: "casing", d: pathOf(points) }),
      s("path", { class: "way", d: pathOf(points) }),
    );
    group.append(s("path", { class: "heads", d: heads(points) }));
    for (const { row, point } of stopsOf(layout, direction)) {
      if (isLost && row.station[direction].includes(ends.step)) continue;
      group.append(s("circle", { class: "ring", cx: point.x, cy: point.y, r: 4.5 }));
    }
    svg.append(group);
    if (isLost) svg.append(...drawEnd(layout, ends));
  }
  const line = laneLine(layout, "forward").filter((point) => point.y === layout.underlay.forward);
  const [a, b] = line;
  if (a && b) svg.append(s("text", { x: (a.x + b.x) / 2, y: a.y + 16 }, "underlay"));
  return svg;
}

function drawEnd(layout: StageLayout, ends: Ends): SVGElement[] {
  const stop = stopsOf(layout, ends.direction).find(({ row }) =>
    row.station[ends.direction].includes(ends.step),
  );
  if (!stop) return [];
  const { x, y } = stop.point;
  const disc = s("g", { class: "end" });
  disc.append(
    s("circle", { cx: x, cy: y, r: 9 }),
    s("path", {
      d: ends.leaves
        ? `M${x} ${y - 4}v8m-3.5 -3.500l3.500 3.500l3.500 -3.500`
        : `M${x - 3.5} ${y - 3.5}l7 7m0 -7l-7 7`,
    }),
  );
  if (!ends.leaves) return [disc];
  const box = layout.outside(stop.row.column);
  const toX = stop.row.column === 0 ? box.x + box.w : box.x;
  const d = `M${x} ${y + 9}V${box.y + box.h / 2}H${toX}`;
  return [s("path", { class: "leaves", d }), disc];
}

/** What lies outside: where a packet goes that leaves the network. */
export function outside(layout: StageLayout, ends: Ends | null): HTMLElement[] {
  if (!ends?.leaves) return [];
  const stop = stopsOf(layout, ends.direction).find(({ row }) =>
    row.station[ends.direction].includes(ends.step),
  );
  const rect = layout.outside(stop?.row.column ?? 0);
  const gateway = ends.step.evidence?.gateway ?? ends.step.evidence?.nexthop;
  const element = h(
    "div",
    { class: "outside", "data-testid": "stage-outside" },
    h("b", {}, typeof gateway === "string" && gateway ? `Left by ${gateway}` : "Left the network"),
    h("span", { title: ends.step.why }, ends.step.why),
  );
  Object.assign(element.style, {
    left: `${rect.x}px`,
    top: `${rect.y}px`,
    width: `${rect.w}px`,
    height: `${rect.h}px`,
  });
  return [element];
}

function pathOf(points: Point[]): string {
  return points.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}

/** Arrowheads in the middle of the longer stretches. */
function heads(points: Point[]): string {
  let d = "";
  for (let i = 1; i < points.length; i += 1) {
    const [a, b] = [points[i - 1] as Point, points[i] as Point];
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    if (length < 70) continue;
    const [ux, uy] = [(b.x - a.x) / length, (b.y - a.y) / length];
    const [x, y] = [(a.x + b.x) / 2 + ux * 4, (a.y + b.y) / 2 + uy * 4];
    const point = (along: number, side: number) =>
      `${(x - ux * along - uy * side).toFixed(1)},${(y - uy * along + ux * side).toFixed(1)}`;
    d += `M${point(0, 0)}L${point(8, 5)}L${point(8, -5)}Z`;
  }
  return d;
}

export function stageLegend(): HTMLElement {
  const line = (name: string, words: string) => {
    const svg = s("svg", { width: 28, height: 10, viewBox: "0 0 28 10", "aria-hidden": "true" });
    svg.append(
      s("path", { d: "M1 5h26", class: `sample ${name}` }),
      s("circle", { cx: 14, cy: 5, r: 3.5, class: `sample ${name}` }),
    );
    return h("span", { class: "entry" }, svg, words);
  };
  const sign = (mark: string, words: string) => h("span", { class: "entry" }, h("b", {}, mark), words);
  return h(
    "div",
    { class: "stagelegend" },
    line("forward", "forward"),
    line("reply", "return"),
    sign("✓", "seen, ms"),
    sign("≠", "seen elsewhere"),
    sign("○", "not seen"),
    sign("–", "can’t be seen"),
    sign("?", "ambiguous or lost"),
  );
}

// What lies over the map: lit paths, routes between nodes, and marks. SVG in screen coordinates,
// rewritten when the camera moves, so that lines keep their width and stay side by side.

import type { Point } from "../layout/scene.js";
import { offsetPath } from "../trace/path.js";
import { s } from "../ui/dom.js";
import { Labels } from "./labels.js";

export interface Line {
  /** "other": a path that the kernel may choose instead. */
  kind: "forward" | "reply" | "other" | "route";
  points: Point[];
  active: boolean;
}

export interface Mark {
  kind: "from" | "to" | "goal" | "bad" | "warn" | "out" | "step" | "label";
  point: Point;
  text: string;
}

export interface OverlayData {
  lines: Line[];
  marks: Mark[];
}

const CHEVRON_EVERY = 90;

export function drawOverlay(svg: SVGSVGElement, data: OverlayData, toScreen: (point: Point) => Point): void {
  const parts: SVGElement[] = [];
  for (const line of data.lines) {
    const by = line.kind === "route" ? 0 : 3.5;
    const points = offsetPath(line.points.map(toScreen), by);
    if (points.length < 2) continue;
    const d = points.map((p, i) => `${i === 0 ? "M" : "L"}${p.x.toFixed(1)},${p.y.toFixed(1)}`).join("");
    const group = s("g", {
      class: `line ${line.kind}${line.active ? " active" : ""}`,
      "data-path": line.kind,
    });
    group.append(s("path", { class: "casing", d }), s("path", { class: "stroke", d }));
    if (line.kind === "forward" || line.kind === "reply")
      group.append(s("path", { class: "chevrons", d: chevrons(points) }));
    parts.push(group);
  }
  const room = { width: svg.clientWidth, labels: new Labels() };
  for (const mark of data.marks) {
    const { x, y } = toScreen(mark.point);
    if (mark.kind !== "label") room.labels.block({ x: x - 9, y: y - 9, w: 18, h: 18 });
  }
  for (const mark of data.marks) parts.push(drawMark(mark, toScreen(mark.point), room));
  svg.replaceChildren(...parts);
}

/** Small arrowheads along the longer stretches: which way the packet goes. */
function chevrons(points: Point[]): string {
  let d = "";
  for (let i = 1; i < points.length; i += 1) {
    const a = points[i - 1] as Point;
    const b = points[i] as Point;
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    if (length < 26) continue;
    const ux = (b.x - a.x) / length;
    const uy = (b.y - a.y) / length;
    const count = Math.max(1, Math.floor(length / CHEVRON_EVERY));
    for (let n = 1; n <= count; n += 1) {
      const at = (length * (n - 0.5)) / count;
      const tip = { x: a.x + ux * (at + 4), y: a.y + uy * (at + 4) };
      const left = { x: tip.x - ux * 7 - uy * 4.5, y: tip.y - uy * 7 + ux * 4.5 };
      const right = { x: tip.x - ux * 7 + uy * 4.5, y: tip.y - uy * 7 - ux * 4.5 };
      d += `M${left.x.toFixed(1)},${left.y.toFixed(1)}L${tip.x.toFixed(1)},${tip.y.toFixed(1)}L${right.x.toFixed(1)},${right.y.toFixed(1)}`;
    }
  }
  return d;
}

const ruler = document.createElement("canvas").getContext("2d");

function captionWidth(text: string): number {
  if (!ruler) return text.length * 7;
  ruler.font = `600 11.5px ${getComputedStyle(document.documentElement).getPropertyValue("--sans")}`;
  return ruler.measureText(text).width;
}

/** How a packet's path ends other than by arriving: a cross, a question mark, an arrow outwards. */
const ENDINGS: Partial<Record<Mark["kind"], string>> = {
  bad: "M-4,-4L4,4M4,-4L-4,4",
  warn: "M-3,-3.5a3,3 0 1 1 4.2,2.8Q0,0 0,2M0,5v0.1",
  out: "M0,5V-5M-4,-1L0,-5L4,-1",
};

interface Room {
  width: number;
  labels: Labels;
}

function drawMark(mark: Mark, at: Point, room: Room): SVGElement {
  const group = s("g", {
    class: `mark ${mark.kind}`,
    transform: `translate(${at.x.toFixed(1)},${at.y.toFixed(1)})`,
  });
  if (mark.kind === "step") {
    group.append(s("circle", { r: 11, class: "ring" }));
    return group;
  }
  const sign = ENDINGS[mark.kind];
  if (sign) {
    group.append(s("circle", { r: 10, class: "disc" }), s("path", { class: "sign", d: sign }));
  } else if (mark.kind !== "label") {
    group.append(s("circle", { r: 5, class: "disc" }));
  }
  if (mark.text) group.append(...caption(mark, at, sign ? 14 : 9, room));
  return group;
}

/** A caption beside its mark, where it covers no other and is not cut off; what isn't important is left out without room. */
function caption(mark: Mark, at: Point, offset: number, { width: right, labels }: Room): SVGElement[] {
  const width = captionWidth(mark.text) + 16;
  const places = [
    { x: offset, y: -25 },
    { x: -offset - width, y: -25 },
    { x: offset, y: 5 },
    { x: -offset - width, y: 5 },
    { x: -width / 2, y: -44 },
  ].map(({ x, y }) => ({ x: at.x + x, y: at.y + y, w: width, h: 20 }));
  const inside = places.filter((rect) => rect.x >= 4 && rect.x + rect.w <= right - 4);
  const rect = labels.place(inside) ?? (mark.kind === "label" ? null : places[0]);
  if (!rect) return [];
  const x = rect.x - at.x;
  const y = rect.y - at.y;
  return [
    s("rect", { x, y, width, height: 20, rx: 4, class: "plate" }),
    s("text", { x: x + 8, y: y + 14, class: "caption" }, mark.text),
  ];
}

// What lies over the map: lit paths, routes between nodes, and marks. SVG in screen coordinates,
// rewritten when the camera moves, so that lines keep their width and stay side by side.

import type { Point, Rect } from "../layout/scene.js";
import { offsetPath } from "../trace/path.js";
import { s } from "../ui/dom.js";
import { CAPTION_H, placeCaptions } from "./captions.js";

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
  /** At the edge of something with a name: the way off it, along its wire, so that the mark covers no name. */
  off?: Point | undefined;
}

export interface OverlayData {
  lines: Line[];
  marks: Mark[];
  /** What bears the names of what is lit: captions stay off it. */
  keep: Rect[];
  /** What bears other names: captions stay off it where there is room elsewhere. */
  spare: Rect[];
}

export const NO_OVERLAY: OverlayData = { lines: [], marks: [], keep: [], spare: [] };

const CHEVRON_EVERY = 90;

export function drawOverlay(
  svg: SVGSVGElement,
  data: OverlayData,
  scale: number,
  toScreen: (point: Point) => Point,
): void {
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
  const marks = data.marks.map((mark) => {
    const r = radiusOf(mark, scale);
    const { x, y } = toScreen(mark.point);
    const off = mark.off ? r + 1 : 0;
    const at = { x: x + (mark.off?.x ?? 0) * off, y: y + (mark.off?.y ?? 0) * off };
    return {
      mark,
      at,
      r,
      width: mark.text ? captionWidth(mark.text) + 16 : 0,
      isOptional: mark.kind === "label",
    };
  });
  const shown = ({ x, y, w, h }: Rect) => ({ ...toScreen({ x, y }), w: w * scale, h: h * scale });
  const size = { width: svg.clientWidth, height: svg.clientHeight };
  const captions = placeCaptions(marks, data.keep.map(shown), data.spare.map(shown), size);
  // Captions are over all marks.
  for (const { mark, at, r } of marks) parts.push(drawMark(mark, at, r));
  marks.forEach(({ mark }, i) => {
    const rect = captions[i];
    if (rect) parts.push(drawCaption(mark, rect));
  });
  svg.replaceChildren(...parts);
}

/** From afar a mark at a pod is smaller, as its wire is shorter. */
function radiusOf(mark: Mark, scale: number): number {
  if (mark.kind === "label") return 0;
  if (mark.kind === "step") return 11;
  const full = ENDINGS[mark.kind] ? 10 : 5;
  return mark.off ? Math.max(full * 0.6, Math.min(full, full * scale * 1.1)) : full;
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

function drawMark(mark: Mark, at: Point, r: number): SVGElement {
  const group = s("g", {
    class: `mark ${mark.kind}`,
    transform: `translate(${at.x.toFixed(1)},${at.y.toFixed(1)})`,
  });
  const sign = ENDINGS[mark.kind];
  if (mark.kind === "step") group.append(s("circle", { r, class: "ring" }));
  else if (mark.kind !== "label") group.append(s("circle", { r, class: "disc" }));
  if (sign) group.append(s("path", { class: "sign", d: sign, transform: `scale(${(r / 10).toFixed(2)})` }));
  return group;
}

function drawCaption(mark: Mark, { x, y, w }: Rect): SVGElement {
  const group = s("g", { class: `mark ${mark.kind}` });
  group.append(
    s("rect", { x, y, width: w, height: CAPTION_H, rx: 4, class: "plate" }),
    s("text", { x: x + 8, y: y + 14, class: "caption" }, mark.text),
  );
  return group;
}

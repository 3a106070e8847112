// The map as SVG and PNG: drawn again by what draws it on the page, at any size.

import type { Graph } from "../graph/store.js";
import type { Scene } from "../layout/scene.js";
import { framing, litTrace } from "../lit.js";
import { fitTransform } from "../map/camera.js";
import { drawScene } from "../map/draw.js";
import { isAtLeast, levelAt } from "../map/level.js";
import type { MapView } from "../map/mapview.js";
import { drawOverlay, type OverlayData } from "../map/overlay.js";
import type { Picture } from "../map/picture.js";
import { readTheme } from "../map/theme.js";
import type { TraceView } from "../route.js";
import type { Trace } from "../trace/types.js";
import { s } from "../ui/dom.js";
import { SvgContext } from "./svgpen.js";

const TRACE_SIZE = { width: 1440, height: 900 };
const MOST_SCALE = 1.4;
/** What of the style sheet decides how the overlay looks. */
const LOOKS = [
  ...["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity"],
  ...["font-family", "font-size", "font-weight", "paint-order", "text-anchor", "visibility", "display"],
];

export interface SavedPicture {
  svg: string;
  width: number;
  height: number;
}

interface Look {
  width: number;
  height: number;
  k: number;
  x: number;
  y: number;
}

/** What the map shows now. */
export function mapPicture(map: MapView, overlay: OverlayData): SavedPicture {
  const { k, x, y } = map.camera.transform;
  const { clientWidth: width, clientHeight: height } = map.canvas;
  return drawn(map, map.scene, map.picture, overlay, { width, height, k, x, y });
}

/** A trace's nodes with its path, whatever the map shows; null where none of them is on the map. */
export function tracePicture(map: MapView, graph: Graph, trace: Trace, view: TraceView): SavedPicture | null {
  const first = litTrace(graph, map.scene, trace, view);
  if (!first || first.frame.points.length === 0) return null;
  const { width, height } = TRACE_SIZE;
  const fit = fitTransform(framing(map.scene, first).rect, width, height, MOST_SCALE);
  // From far, where insides aren't drawn, paths lead to the nodes' edges.
  const isNear = isAtLeast(levelAt(fit.k, null), "pods");
  const lit = isNear ? first : litTrace(graph, { ...map.scene, boxes: new Map() }, trace, view);
  if (!lit) return null;
  const picture: Picture = Object.assign(Object.create(map.picture), {
    selected: null,
    hovered: null,
    lit: { netns: lit.netns, nodes: lit.nodes },
  });
  return drawn(map, map.scene, picture, lit.overlay, { width, height, ...fit });
}

function drawn(map: MapView, scene: Scene, picture: Picture, overlay: OverlayData, look: Look): SavedPicture {
  const { width, height, k, x, y } = look;
  const ruler = document.createElement("canvas").getContext("2d");
  const pen = new SvgContext((text, font) => {
    if (!ruler) return text.length * 6;
    ruler.font = font;
    return ruler.measureText(text).width;
  });
  const view = { x, y, k, width, height, ratio: 1 };
  const ctx = pen as unknown as CanvasRenderingContext2D;
  drawScene(ctx, view, levelAt(k, null), scene, picture, readTheme(map.element));
  return { svg: pen.document(width, height, overlayText(map, overlay, view)), width, height };
}

/** The overlay with its looks written into it: a file has no style sheet. */
function overlayText(map: MapView, data: OverlayData, view: Look): string {
  const svg = s("svg", { class: "overlay", "aria-hidden": "true" });
  svg.style.width = `${view.width}px`;
  svg.style.height = `${view.height}px`;
  svg.style.visibility = "hidden";
  map.element.append(svg);
  drawOverlay(svg, data, view.k, (point) => ({ x: point.x * view.k + view.x, y: point.y * view.k + view.y }));
  svg.style.visibility = "visible";
  for (const element of svg.querySelectorAll<SVGElement>("*")) {
    const style = getComputedStyle(element);
    for (const name of LOOKS) element.setAttribute(name, style.getPropertyValue(name));
    element.removeAttribute("class");
  }
  const text = new XMLSerializer().serializeToString(svg);
  svg.remove();
  return text.slice(text.indexOf(">") + 1, text.lastIndexOf("<"));
}

/** Twice as large, for today's screens. */
export async function toPng({ svg, width, height }: SavedPicture, scale = 2): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("The picture can’t be made."))), "image/png");
  });
}

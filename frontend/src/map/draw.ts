// Draws a scene: a function of data, a camera and a theme. No fetch, no layout, no state.
//
// Lines and boxes scale with the camera; text has the screen's size and appears when there is room
// for it (semantic zoom), so that it is always readable.

import type { Rect, Scene } from "../layout/scene.js";
import { drawNodeBox } from "./drawnode.js";
import type { Picture } from "./picture.js";
import type { Theme } from "./theme.js";

export interface View {
  /** Screen = world * k + (x, y), in CSS pixels. */
  x: number;
  y: number;
  k: number;
  width: number;
  height: number;
  ratio: number;
}

/** How much is drawn at a scale. */
export interface Detail {
  tiles: boolean;
  wires: boolean;
  podNames: boolean;
  podAddrs: boolean;
  links: boolean;
  /** What a pod's link has: all its addresses, MAC and MTU. */
  linkFacts: boolean;
}

export function detailAt(k: number): Detail {
  return {
    tiles: k >= 0.1,
    wires: k >= 0.16,
    podNames: k >= 0.46,
    podAddrs: k >= 0.6,
    links: k >= 1.35,
    linkFacts: k >= 2.1,
  };
}

export interface Pen {
  ctx: CanvasRenderingContext2D;
  view: View;
  detail: Detail;
  picture: Picture;
  theme: Theme;
}

export function drawScene(
  ctx: CanvasRenderingContext2D,
  view: View,
  scene: Scene,
  picture: Picture,
  theme: Theme,
): void {
  ctx.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  ctx.fillStyle = theme["map-bg"];
  ctx.fillRect(0, 0, view.width, view.height);
  const pen: Pen = { ctx, view, detail: detailAt(view.k), picture, theme };
  drawRails(pen, scene);
  for (const box of scene.nodes) {
    if (isVisible(view, box)) drawNodeBox(pen, box, scene.rails[box.row]?.y ?? box.y);
  }
}

export function isVisible(view: View, rect: Rect): boolean {
  const margin = 60;
  const x0 = rect.x * view.k + view.x;
  const y0 = rect.y * view.k + view.y;
  return (
    x0 < view.width &&
    y0 - margin < view.height &&
    x0 + rect.w * view.k > 0 &&
    y0 + rect.h * view.k + margin > 0
  );
}

function drawRails(pen: Pen, scene: Scene): void {
  const { ctx, view, theme } = pen;
  const faded = pen.picture.lit !== null;
  ctx.strokeStyle = theme.rail;
  ctx.globalAlpha = faded ? 0.6 : 1;
  ctx.lineWidth = Math.max(1.5, 5 * view.k);
  ctx.lineCap = "round";
  ctx.lineJoin = "round";
  ctx.beginPath();
  for (const rail of scene.rails) {
    ctx.moveTo(sx(view, rail.x0), sy(view, rail.y));
    ctx.lineTo(sx(view, rail.x1), sy(view, rail.y));
  }
  if (scene.trunk) {
    ctx.moveTo(sx(view, scene.trunk.x), sy(view, scene.trunk.y0));
    ctx.lineTo(sx(view, scene.trunk.x), sy(view, scene.trunk.y1));
  }
  ctx.stroke();
  ctx.globalAlpha = 1;
  const first = scene.rails[0];
  if (first && view.k > 0.18) {
    ctx.font = `500 11px ${theme.sans}`;
    ctx.fillStyle = theme.muted;
    ctx.textBaseline = "bottom";
    ctx.textAlign = "right";
    ctx.fillText("underlay", sx(view, first.x1), sy(view, first.y) - 5);
    ctx.textAlign = "left";
  }
}

export function sx(view: View, x: number): number {
  return x * view.k + view.x;
}

export function sy(view: View, y: number): number {
  return y * view.k + view.y;
}

export function roundRect(ctx: CanvasRenderingContext2D, view: View, rect: Rect, radius: number): void {
  ctx.beginPath();
  const r = Math.min(radius, (rect.h * view.k) / 2, (rect.w * view.k) / 2);
  ctx.roundRect(sx(view, rect.x), sy(view, rect.y), rect.w * view.k, rect.h * view.k, r);
}

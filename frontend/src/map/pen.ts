// What drawing has in its hand: the canvas, where the camera looks, how much is drawn, and the theme.

import type { Rect } from "../layout/scene.js";
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

export function isPicked(pen: Pen, link: string): boolean {
  const { selected, hovered } = pen.picture;
  return (
    (selected?.type === "link" && selected.key === link) || (hovered?.type === "link" && hovered.key === link)
  );
}

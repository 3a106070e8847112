// What drawing has in its hand: the canvas, where the camera looks, how much is drawn, and the theme.

import type { Point, Rect } from "../layout/scene.js";
import type { Labels } from "./labels.js";
import { isAtLeast, type Level } from "./level.js";
import type { Picture } from "./picture.js";
import { useFont } from "./text.js";
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

export interface Pen {
  ctx: CanvasRenderingContext2D;
  view: View;
  level: Level;
  picture: Picture;
  theme: Theme;
  labels: Labels;
}

/** The three sizes of type, in CSS pixels; the largest isn't used on the map. */
export const BODY_PX = 13;
export const SMALL_PX = 11;

export function isNear(pen: Pen, least: Level): boolean {
  return isAtLeast(pen.level, least);
}

/** The part of the world that is seen, with a margin in CSS pixels. */
export function seen(view: View, margin = 0): Rect {
  return {
    x: (-view.x - margin) / view.k,
    y: (-view.y - margin) / view.k,
    w: (view.width + 2 * margin) / view.k,
    h: (view.height + 2 * margin) / view.k,
  };
}

export function isSeen(view: View, rect: Rect, margin = 0): boolean {
  const part = seen(view, margin);
  return (
    rect.x < part.x + part.w &&
    part.x < rect.x + rect.w &&
    rect.y < part.y + part.h &&
    part.y < rect.y + rect.h
  );
}

export function sx(view: View, x: number): number {
  return x * view.k + view.x;
}

export function sy(view: View, y: number): number {
  return y * view.k + view.y;
}

/** A rectangle of the world on the screen. */
export function onScreen(view: View, rect: Rect): Rect {
  return { x: sx(view, rect.x), y: sy(view, rect.y), w: rect.w * view.k, h: rect.h * view.k };
}

/** Points of a cell on the screen. */
export function at({ view }: Pen, cell: Point, points: Point[]): Point[] {
  return points.map((point) => ({ x: sx(view, cell.x + point.x), y: sy(view, cell.y + point.y) }));
}

/** A part of a cell on the screen. */
export function inCell(view: View, cell: Point, rect: Rect): Rect {
  return onScreen(view, { x: cell.x + rect.x, y: cell.y + rect.y, w: rect.w, h: rect.h });
}

export function roundRect(ctx: CanvasRenderingContext2D, rect: Rect, radius: number): void {
  ctx.beginPath();
  ctx.roundRect(rect.x, rect.y, rect.w, rect.h, Math.max(0, Math.min(radius, rect.h / 2, rect.w / 2)));
}

export function grow(rect: Rect, by: number): Rect {
  return { x: rect.x - by, y: rect.y - by, w: rect.w + 2 * by, h: rect.h + 2 * by };
}

/** Draw lines through points of the screen. */
export function stroke(pen: Pen, colour: string, width: number, lines: Point[][], dash: number[] = []): void {
  const { ctx } = pen;
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.beginPath();
  for (const points of lines)
    points.forEach((point, i) => {
      if (i === 0) ctx.moveTo(point.x, point.y);
      else ctx.lineTo(point.x, point.y);
    });
  ctx.stroke();
  ctx.setLineDash([]);
}

export function setFont(pen: Pen, px: number, weight: 400 | 600 = 400, mono = false): void {
  useFont(pen.ctx, `${weight} ${px}px ${mono ? pen.theme.mono : pen.theme.sans}`);
}

/** Write text whose left end, or right end, is at x and whose middle is at y. */
export function write(
  pen: Pen,
  text: string,
  x: number,
  y: number,
  colour: string,
  align: CanvasTextAlign = "left",
): void {
  if (text === "") return;
  const { ctx } = pen;
  ctx.fillStyle = colour;
  ctx.textAlign = align;
  ctx.textBaseline = "middle";
  ctx.fillText(text, x, y);
}

/** Write text into the room that it was given. */
export function textLine(pen: Pen, text: string, rect: Rect, colour: string): void {
  write(pen, text, rect.x, rect.y + rect.h / 2, colour);
}

export function isPicked(pen: Pen, link: string): boolean {
  const { selected, hovered } = pen.picture;
  return (
    (selected?.type === "link" && selected.key === link) || (hovered?.type === "link" && hovered.key === link)
  );
}

// The marks of health. Each state has a shape of its own beside its colour: a cross, a diagonal, a dashed outline.

import type { Rect } from "../layout/scene.js";
import type { Pen } from "./pen.js";
import { roundRect } from "./pen.js";
import type { NodeState } from "./picture.js";

/** A tile's sign inside its filled rectangle: a cross or a diagonal. */
export function signIn(pen: Pen, rect: Rect, state: "warning" | "error"): void {
  const { ctx, theme } = pen;
  const size = Math.min(rect.w, rect.h);
  if (size < 5) return;
  const half = Math.min(6, size * 0.24);
  const x = rect.x + rect.w / 2;
  const y = rect.y + rect.h / 2;
  ctx.strokeStyle = state === "error" ? theme["on-bad"] : theme["on-warn"];
  ctx.lineWidth = Math.min(2.5, Math.max(1.25, size / 8));
  ctx.lineCap = "round";
  ctx.beginPath();
  if (state === "error") {
    ctx.moveTo(x - half, y - half);
    ctx.lineTo(x + half, y + half);
    ctx.moveTo(x + half, y - half);
    ctx.lineTo(x - half, y + half);
  } else {
    ctx.moveTo(x - half * 1.3, y + half * 1.3);
    ctx.lineTo(x + half * 1.3, y - half * 1.3);
  }
  ctx.stroke();
  ctx.lineCap = "butt";
}

/** A round or square sign beside a name: what stands there isn't well. */
export function badge(pen: Pen, x: number, y: number, state: NodeState, r = 7): void {
  const { ctx, theme } = pen;
  if (state === "ok") return;
  ctx.beginPath();
  if (state === "away") {
    ctx.strokeStyle = theme.warn;
    ctx.lineWidth = 1.5;
    ctx.setLineDash([2.5, 2]);
    ctx.arc(x, y, r - 1, 0, Math.PI * 2);
    ctx.stroke();
    ctx.setLineDash([]);
    return;
  }
  if (state === "error") ctx.arc(x, y, r, 0, Math.PI * 2);
  else ctx.roundRect(x - r + 1, y - r + 1, 2 * r - 2, 2 * r - 2, 2);
  ctx.fillStyle = state === "error" ? theme["bad-fill"] : theme["warn-fill"];
  ctx.fill();
  signIn(pen, { x: x - r, y: y - r, w: 2 * r, h: 2 * r }, state);
}

/** The ring of what is selected: two pixels off. */
export function selectionRing(pen: Pen, rect: Rect, radius: number): void {
  const { ctx, theme } = pen;
  roundRect(ctx, { x: rect.x - 3, y: rect.y - 3, w: rect.w + 6, h: rect.h + 6 }, radius + 3);
  ctx.strokeStyle = theme["map-bg"];
  ctx.lineWidth = 4;
  ctx.stroke();
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 2;
  ctx.stroke();
}

export function hoverRing(pen: Pen, rect: Rect, radius: number): void {
  const { ctx, theme } = pen;
  roundRect(ctx, rect, radius);
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 1;
  ctx.stroke();
}

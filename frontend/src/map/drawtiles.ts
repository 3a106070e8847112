// Far away: a tile for each node, a dot for each free place. Tiles of one tone are one path, so that thousands cost little.

import * as m from "../layout/metrics.js";
import type { Block, Rect } from "../layout/scene.js";
import { cellsWithin, tileOfCell } from "../layout/scene.js";
import { needsDetails, type Tone } from "../overlays/overlay.js";
import { hoverRing, selectionRing, signIn } from "./marks.js";
import { onScreen, type Pen, seen } from "./pen.js";
import { fillOf } from "./tones.js";

export function drawTiles(pen: Pen, block: Block): void {
  const { theme, picture } = pen;
  const part = cellsWithin(block, seen(pen.view));
  const byTone = new Map<Tone, Rect[]>();
  const dimmed: Rect[] = [];
  const free: Rect[] = [];
  const last = block.cells.findLastIndex((name) => name !== null);
  const { width, height } = tileSize(pen);
  let ring: { rect: Rect; isSelected: boolean }[] = [];
  for (let row = part.firstRow; row < part.lastRow; row += 1)
    for (let col = part.firstCol; col < part.lastCol; col += 1) {
      const index = row * block.cols + col;
      const { x, y } = onScreen(pen.view, tileOfCell(block, index));
      // The first row gives a part of its height to the title above it.
      const h = row === 0 ? height - Math.ceil(m.TITLE_OVERLAP * pen.view.k) : height;
      const rect = { x: Math.round(x), y: Math.round(y), w: width, h: Math.max(1, h) };
      const name = block.cells[index];
      if (name == null) {
        if (index <= last + block.cols) free.push(rect);
        continue;
      }
      const node = picture.node(name);
      if (picture.selected?.type === "node" && picture.selected.name === name)
        ring = [...ring, { rect, isSelected: true }];
      else if (picture.hovered?.type === "node" && picture.hovered.name === name)
        ring = [{ rect, isSelected: false }, ...ring];
      if (picture.lit && !picture.lit.nodes.has(name)) dimmed.push(rect);
      else {
        const tone = node ? picture.overlay.node(node).tone : "unknown";
        const alike = byTone.get(tone);
        if (alike) alike.push(rect);
        else byTone.set(tone, [rect]);
      }
    }
  fillAll(pen, dimmed, theme["tile-soft"]);
  for (const [tone, rects] of byTone) {
    // What most nodes have is no news: it is quiet where only those that were read are known.
    const edge = needsDetails(picture.overlay.id) ? theme["line-strong"] : theme.text;
    if (tone === "unknown") for (const rect of rects) drawAway(pen, rect, edge);
    else fillAll(pen, rects, fillOf(theme, tone));
  }
  for (const rect of byTone.get("bad") ?? []) signIn(pen, rect, "error");
  for (const rect of byTone.get("warn") ?? []) signIn(pen, rect, "warning");
  drawFree(pen, free);
  for (const { rect, isSelected } of ring) {
    if (isSelected) selectionRing(pen, rect, 2);
    else hoverRing(pen, rect, 2);
  }
}

function fillAll(pen: Pen, rects: Rect[], colour: string): void {
  if (rects.length === 0) return;
  pen.ctx.fillStyle = colour;
  pen.ctx.beginPath();
  for (const { x, y, w, h } of rects) pen.ctx.rect(x, y, w, h);
  pen.ctx.fill();
}

function drawAway({ ctx }: Pen, rect: Rect, edge: string): void {
  ctx.strokeStyle = edge;
  ctx.lineWidth = 1;
  ctx.setLineDash([2, 1.5]);
  ctx.strokeRect(rect.x + 0.5, rect.y + 0.5, Math.max(1, rect.w - 1), Math.max(1, rect.h - 1));
  ctx.setLineDash([]);
}

function drawFree(pen: Pen, rects: Rect[]): void {
  if (rects.length === 0) return;
  const { ctx, theme } = pen;
  ctx.fillStyle = theme["line-strong"];
  ctx.beginPath();
  for (const rect of rects) ctx.rect(Math.round(rect.x + rect.w / 2), Math.round(rect.y + rect.h / 2), 1, 1);
  ctx.fill();
}

/** All tiles have one size in whole pixels, so that they have sharp edges, and at least a pixel between them. */
function tileSize({ view }: Pen): { width: number; height: number } {
  const size = (pitch: number) => Math.max(1, Math.floor(pitch * view.k - Math.max(1, m.GAP_X * view.k)));
  return { width: size(m.PITCH_X), height: size(m.PITCH_Y) };
}

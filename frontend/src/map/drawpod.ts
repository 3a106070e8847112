// A pod: a tile at the end of its wire, with as much written in it as has room.

import type { Cell, Ghost, PodTile, Rect } from "../layout/scene.js";
import { tileRect } from "../layout/scene.js";
import { badge, hoverRing, selectionRing, signIn } from "./marks.js";
import {
  BODY_PX,
  inCell,
  isNear,
  isSeen,
  type Pen,
  roundRect,
  SMALL_PX,
  setFont,
  textLine,
  write,
} from "./pen.js";
import { linkFault } from "./picture.js";
import { firstThatFits, fitText, textWidth } from "./text.js";

export function drawPod(pen: Pen, cell: Cell, tile: PodTile): void {
  const { ctx, picture } = pen;
  if (!isSeen(pen.view, tileRect(cell, tile), 40)) return;
  const alpha = ctx.globalAlpha;
  if (picture.lit?.nodes.has(cell.name) && !picture.lit.netns.has(tile.key)) ctx.globalAlpha = 0.4;
  const rect = inCell(pen.view, cell, tile);
  drawTile(pen, tile, rect);
  if (rect.w >= 34 && rect.h >= 14) writeIn(pen, tile, rect);
  else drawSign(pen, tile, rect);
  drawLinkName(pen, cell, tile, rect);
  ctx.globalAlpha = alpha;
}

export function drawSmallPod(pen: Pen, cell: Cell, tile: PodTile): void {
  const rect = inCell(pen.view, cell, tile);
  drawTile(pen, tile, rect);
  drawSign(pen, tile, rect);
}

/** Where a pod was: its name, and that it is gone. */
export function drawGhost(pen: Pen, cell: Cell, ghost: Ghost): void {
  const { ctx, theme } = pen;
  const rect = inCell(pen.view, cell, ghost);
  roundRect(ctx, rect, 4);
  ctx.strokeStyle = theme["line-strong"];
  ctx.lineWidth = 1;
  ctx.setLineDash([3, 3]);
  ctx.stroke();
  ctx.setLineDash([]);
  if (rect.w < 34 || rect.h < 14) return;
  setFont(pen, SMALL_PX);
  const hasTwo = rect.h >= 30;
  const y = rect.y + rect.h / 2 - (hasTwo ? 7 : 0);
  write(pen, fitText(ctx, ghost.label, rect.w - 10), rect.x + 5, y, theme.muted);
  const since = `gone since ${new Date(ghost.at).toTimeString().slice(0, 5)}`;
  if (hasTwo) write(pen, firstThatFits(ctx, [since, "gone"], rect.w - 10), rect.x + 5, y + 14, theme.muted);
}

function drawTile(pen: Pen, tile: PodTile, rect: Rect): void {
  const { ctx, theme, picture } = pen;
  const ns = picture.netns(tile.key);
  const health = ns?.health ?? "ok";
  const isSelected = picture.selected?.type === "pod" && picture.selected.key === tile.key;
  const isHovered = picture.hovered?.type === "pod" && picture.hovered.key === tile.key;
  if (isSelected) selectionRing(pen, rect, 4);
  roundRect(ctx, rect, 4);
  const isWritten = rect.w >= 34 && rect.h >= 14;
  if (health === "ok") ctx.fillStyle = isWritten ? theme.sunken : theme.tile;
  else if (isWritten) ctx.fillStyle = health === "error" ? theme["bad-soft"] : theme["warn-soft"];
  else ctx.fillStyle = health === "error" ? theme["bad-fill"] : theme["warn-fill"];
  ctx.fill();
  ctx.strokeStyle = health === "ok" ? theme.line : health === "error" ? theme.bad : theme.warn;
  ctx.lineWidth = 1;
  ctx.setLineDash(ns && !ns.pod ? [3, 2] : []);
  if (isWritten || !ns?.pod) ctx.stroke();
  ctx.setLineDash([]);
  if (picture.origin === tile.key || picture.ringed.has(tile.key)) {
    roundRect(ctx, { x: rect.x - 3, y: rect.y - 3, w: rect.w + 6, h: rect.h + 6 }, 6);
    ctx.strokeStyle = theme.text;
    ctx.lineWidth = picture.origin === tile.key ? 2 : 1;
    ctx.stroke();
  }
  const glow = picture.fresh.get(tile.key);
  if (glow !== undefined) {
    const alpha = ctx.globalAlpha;
    ctx.globalAlpha = alpha * glow;
    roundRect(ctx, { x: rect.x - 2, y: rect.y - 2, w: rect.w + 4, h: rect.h + 4 }, 5);
    ctx.strokeStyle = theme.muted;
    ctx.lineWidth = 2;
    ctx.stroke();
    ctx.globalAlpha = alpha;
  }
  if (isHovered && !isSelected) hoverRing(pen, rect, 4);
}

function drawSign(pen: Pen, tile: PodTile, rect: Rect): void {
  const health = pen.picture.netns(tile.key)?.health ?? "ok";
  if (health !== "ok") signIn(pen, rect, health);
}

/** Name, address, what is wrong, and from near the link inside: one below the other. */
function writeIn(pen: Pen, tile: PodTile, rect: Rect): void {
  const { ctx, theme, picture } = pen;
  const ns = picture.netns(tile.key);
  if (!ns) return;
  const { health } = ns;
  const room = rect.w - 12;
  const isBig = rect.w >= 130 && rect.h >= 40;
  const size = isBig ? BODY_PX : SMALL_PX;
  const pod = tile.podLink ? picture.link(tile.podLink) : undefined;
  const fault = linkFault(tile.hostLink ? picture.link(tile.hostLink) : undefined) ?? linkFault(pod);
  const addrs = ns.addrs.map((addr) => addr.split("/")[0] ?? addr);
  const lines: { texts: string[]; colour: string }[] = [];
  if (addrs.length > 0) lines.push({ texts: [addrs.join(", "), addrs[0] ?? ""], colour: theme.muted });
  if (fault) lines.push({ texts: [fault], colour: theme.bad });
  if (isNear(pen, "links") && pod)
    lines.push(
      { texts: [`${pod.ifname}  MTU ${pod.mtu}`, `MTU ${pod.mtu}`], colour: theme.muted },
      { texts: [pod.mac], colour: theme.muted },
    );
  if (isNear(pen, "links") && ns.pod && isBig)
    lines.push({ texts: [`namespace ${ns.pod.namespace}`, ns.pod.namespace], colour: theme.muted });
  const fits = Math.max(0, Math.min(lines.length, Math.floor((rect.h - size - 8) / 14)));
  const shown = lines.slice(0, fits);
  let y = rect.y + rect.h / 2 - (shown.length * 14) / 2;
  setFont(pen, size, 600);
  const name = ns.pod?.name ?? (ns.name || ns.holders[0]?.name || ns.key);
  const markRoom = health === "ok" || rect.w < 60 ? 0 : 16;
  const text = fitText(ctx, name, room - markRoom, 4);
  write(pen, text, rect.x + 6, y, theme.text);
  if (markRoom > 0) badge(pen, rect.x + rect.w - 12, y, health, 6);
  else if (health !== "ok" && text === "") signIn(pen, rect, health);
  setFont(pen, SMALL_PX);
  for (const { texts, colour } of shown) {
    y += 14;
    write(pen, firstThatFits(ctx, texts, room), rect.x + 6, y, colour);
  }
}

/** From near: the node's end of the pod's link, above the tile. */
function drawLinkName(pen: Pen, cell: Cell, tile: PodTile, rect: Rect): void {
  const link = tile.hostLink ? pen.picture.link(tile.hostLink) : undefined;
  const start = tile.wire[0];
  if (!link || !start || !isNear(pen, "links")) return;
  const isStraight = tile.wire.length === 2;
  const above = (isStraight ? tile.y - start.y : 8) * pen.view.k;
  if (above < 13) return;
  const { ctx, theme, labels } = pen;
  setFont(pen, SMALL_PX);
  const x = isStraight ? (cell.x + start.x) * pen.view.k + pen.view.x + 6 : rect.x + 2;
  const room = isStraight ? rect.w / 2 : rect.w - 4;
  const text = fitText(ctx, link.ifname, room, 4);
  const line = { x, y: rect.y - above / 2 - 7, w: textWidth(ctx, text), h: 14 };
  if (text && labels.place([line])) textLine(pen, text, line, linkFault(link) ? theme.bad : theme.muted);
}

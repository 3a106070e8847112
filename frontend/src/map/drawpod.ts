// A pod: a tile at the end of its wire, with as much written in it as has room.

import type { Cell, Ghost, Group, PodTile, Rect } from "../layout/scene.js";
import { tileRect } from "../layout/scene.js";
import { NONE, type Shade } from "../overlays/overlay.js";
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
import { fillOf, isStep, markOf, textOf } from "./tones.js";

/** A tile in sight: where it is, and how it is drawn. */
interface Drawn {
  tile: PodTile;
  rect: Rect;
  shade: Shade;
  alpha: number;
}

/** Pods of a node: first the tiles, those that look alike as one path, then what is on them. */
export function drawPods(pen: Pen, cell: Cell, { tiles, rowGap }: Group): void {
  const { ctx, picture, view } = pen;
  const plain = ctx.globalAlpha;
  const isLit = picture.lit?.nodes.has(cell.name) ?? false;
  const drawn: Drawn[] = [];
  for (const tile of tiles) {
    if (!isSeen(view, tileRect(cell, tile), 40)) continue;
    const alpha = isLit && !picture.lit?.netns.has(tile.key) ? 0.4 : plain;
    drawn.push({ tile, rect: inCell(view, cell, tile), shade: shadeOfPod(pen, tile), alpha });
  }
  drawTiles(pen, drawn);
  for (const one of drawn) {
    const { tile, rect, shade } = one;
    ctx.globalAlpha = one.alpha;
    drawEmphasis(pen, tile, rect);
    if (!tile.isSmall && isWritten(rect)) writeIn(pen, tile, rect, shade);
    else drawSign(pen, rect, shade);
    if (!tile.isSmall) drawLinkName(pen, cell, tile, rect, rowGap);
  }
  ctx.globalAlpha = plain;
}

/** Whether a tile is large enough for a name in it: one of five letters, or all are left out, so that none seem to lack one. */
function isWritten(rect: Rect): boolean {
  return rect.w >= 52 && rect.h >= 10;
}

interface Style {
  fill: string;
  /** Null: no edge. */
  edge: string | null;
  dash: number[];
  alpha: number;
}

function styleOf(pen: Pen, { tile, rect, shade, alpha }: Drawn): Style {
  const { theme, picture } = pen;
  const { tone } = shade;
  const isMarked = tone === "bad" || tone === "warn";
  const isPod = picture.netns(tile.key)?.pod != null;
  const written = isWritten(rect);
  const fill = !written ? fillOf(theme, tone) : isMarked ? theme[`${tone}-soft`] : theme.sunken;
  const edge = isMarked ? theme[tone] : tone === "unknown" ? theme["line-strong"] : theme.line;
  return {
    fill,
    // An edge would touch the name in a low tile.
    edge: (written && (rect.h >= 14 || isMarked)) || !isPod || tone === "unknown" ? edge : null,
    dash: tone === "unknown" ? [2, 2] : isPod ? [] : [3, 2],
    alpha,
  };
}

function drawTiles(pen: Pen, drawn: Drawn[]): void {
  const { ctx, theme, picture } = pen;
  const alike = new Map<string, { style: Style; rects: Rect[] }>();
  for (const one of drawn) {
    if (picture.selected?.type === "pod" && picture.selected.key === one.tile.key)
      selectionRing(pen, one.rect, 4);
    const style = styleOf(pen, one);
    const key = `${style.fill} ${style.edge} ${style.dash} ${style.alpha}`;
    const found = alike.get(key);
    if (found) found.rects.push(one.rect);
    else alike.set(key, { style, rects: [one.rect] });
  }
  ctx.lineWidth = 1;
  for (const { style, rects } of alike.values()) {
    ctx.globalAlpha = style.alpha;
    ctx.beginPath();
    for (const rect of rects)
      ctx.roundRect(rect.x, rect.y, rect.w, rect.h, Math.min(4, rect.w / 2, rect.h / 2));
    ctx.fillStyle = style.fill;
    ctx.fill();
    if (style.edge === null) continue;
    ctx.strokeStyle = style.edge;
    ctx.setLineDash(style.dash);
    ctx.stroke();
    ctx.setLineDash([]);
  }
  // A step of the ramp is a bar at the left.
  for (const { rect, shade, alpha } of drawn) {
    if (!isWritten(rect) || !isStep(shade.tone)) continue;
    ctx.globalAlpha = alpha;
    ctx.beginPath();
    ctx.roundRect(rect.x, rect.y, 4, rect.h, [4, 0, 0, 4]);
    ctx.fillStyle = fillOf(theme, shade.tone);
    ctx.fill();
  }
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

/** What the overlay says of a pod. */
function shadeOfPod({ picture }: Pen, tile: PodTile): Shade {
  const ns = picture.netns(tile.key);
  const at = (key: string | null) => (key === null ? undefined : picture.link(key));
  return ns ? picture.overlay.pod(ns, at(tile.hostLink), at(tile.podLink)) : NONE;
}

/** What is picked, or has just come. */
function drawEmphasis(pen: Pen, tile: PodTile, rect: Rect): void {
  const { ctx, theme, picture } = pen;
  const isSelected = picture.selected?.type === "pod" && picture.selected.key === tile.key;
  const isHovered = picture.hovered?.type === "pod" && picture.hovered.key === tile.key;
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

function drawSign(pen: Pen, rect: Rect, shade: Shade): void {
  const mark = markOf(shade);
  if (mark === "error" || mark === "warning") signIn(pen, rect, mark);
}

/** Name, address, what is wrong, and from near the link inside: one below the other. */
function writeIn(pen: Pen, tile: PodTile, rect: Rect, shade: Shade): void {
  const { ctx, theme, picture } = pen;
  const ns = picture.netns(tile.key);
  if (!ns) return;
  const mark = markOf(shade);
  const isMarked = mark === "error" || mark === "warning";
  const room = rect.w - 12;
  const isBig = rect.w >= 130 && rect.h >= 40;
  const size = isBig ? BODY_PX : SMALL_PX;
  const pod = tile.podLink ? picture.link(tile.podLink) : undefined;
  const fault = linkFault(tile.hostLink ? picture.link(tile.hostLink) : undefined) ?? linkFault(pod);
  const addrs = ns.addrs.map((addr) => addr.split("/")[0] ?? addr);
  const lines: { texts: string[]; colour: string }[] = [];
  if (addrs.length > 0) lines.push({ texts: [addrs.join(", "), addrs[0] ?? ""], colour: theme.muted });
  if (fault) lines.push({ texts: [fault], colour: theme.bad });
  if (shade.label) lines.unshift({ texts: [shade.label], colour: textOf(theme, shade.tone) });
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
  const markRoom = !isMarked || rect.w < 60 ? 0 : 16;
  const text = fitText(ctx, name, room - markRoom, 4);
  write(pen, text, rect.x + 6, y, theme.text);
  if (markRoom > 0) badge(pen, rect.x + rect.w - 12, y, mark, 6);
  else if (isMarked && text === "") signIn(pen, rect, mark);
  setFont(pen, SMALL_PX);
  if (shown.length === 0) writeBeside(pen, rect, markRoom, text, lines);
  for (const { texts, colour } of shown) {
    y += 14;
    write(pen, firstThatFits(ctx, texts, room), rect.x + 6, y, colour);
  }
}

/** Where a name has one line alone, the first fact that has room stands beside it. */
function writeBeside(
  pen: Pen,
  rect: Rect,
  markRoom: number,
  name: string,
  lines: { texts: string[]; colour: string }[],
): void {
  setFont(pen, SMALL_PX, 600);
  const left = rect.x + 6 + textWidth(pen.ctx, name) + 8;
  const right = rect.x + rect.w - 6 - markRoom;
  setFont(pen, SMALL_PX);
  for (const { texts, colour } of lines) {
    const text = firstThatFits(pen.ctx, texts, right - left);
    if (text === "") continue;
    write(pen, text, right, rect.y + rect.h / 2, colour, "right");
    return;
  }
}

/** From near: the node's end of the pod's link, above the tile. */
function drawLinkName(pen: Pen, cell: Cell, tile: PodTile, rect: Rect, rowGap: number): void {
  const link = tile.hostLink ? pen.picture.link(tile.hostLink) : undefined;
  const start = tile.wire[0];
  if (!link || !start || !isNear(pen, "links")) return;
  const isStraight = tile.wire.length === 2;
  const above = (isStraight ? tile.y - start.y : rowGap) * pen.view.k;
  if (above < 12) return;
  const { ctx, theme, labels } = pen;
  setFont(pen, SMALL_PX);
  const x = isStraight ? (cell.x + start.x) * pen.view.k + pen.view.x + 6 : rect.x + 2;
  const room = isStraight ? rect.w / 2 : rect.w - 4;
  const text = fitText(ctx, link.ifname, room, 4);
  const line = { x, y: rect.y - above / 2 - 7, w: textWidth(ctx, text), h: 14 };
  if (text && labels.place([line])) textLine(pen, text, line, linkFault(link) ? theme.bad : theme.muted);
}

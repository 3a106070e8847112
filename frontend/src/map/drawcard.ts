// A node without what is in it: its name, how many pods it has, and how it is.

import { count } from "../count.js";
import { nicRect } from "../layout/nodeplan.js";
import type { Cell, Rect, Scene } from "../layout/scene.js";
import { tileOfCell } from "../layout/scene.js";
import { type Shade, type Tone, UNKNOWN } from "../overlays/overlay.js";
import { badge, hoverRing, selectionRing, signIn } from "./marks.js";
import { BODY_PX, inCell, onScreen, type Pen, roundRect, SMALL_PX, setFont, write } from "./pen.js";
import { shadeOf, stateOf } from "./picture.js";
import { firstThatFits, fitText } from "./text.js";
import { fillOf, isStep, markOf, textOf } from "./tones.js";

/** From 64 pixels on: a tile with the name in it, or what tells it from other names. */
export function drawNameTile(pen: Pen, scene: Scene, cell: Cell): void {
  const rect = onScreen(pen.view, tileOfCell(cell.block, cell.index));
  drawFrame(pen, cell.name, rect, 6);
  const node = pen.picture.node(cell.name);
  const left = rect.x + 8;
  const room = rect.w - 16;
  setFont(pen, SMALL_PX, 600);
  const own = cell.name.slice(scene.common);
  const name = firstThatFits(pen.ctx, [cell.name, `…${own}`], room) || fitText(pen.ctx, own, room);
  write(pen, name, left, rect.y + 15, pen.theme.text);
  setFont(pen, SMALL_PX);
  write(pen, podsText(node?.pods ?? 0), left, rect.y + 31, pen.theme.muted);
  badge(pen, rect.x + rect.w - 13, rect.y + rect.h - 13, markOf(shadeOfNode(pen, cell.name)), 6);
}

/** What the overlay says of a node. */
export function shadeOfNode(pen: Pen, name: string): Shade {
  const node = pen.picture.node(name);
  return node ? pen.picture.overlay.node(node) : UNKNOWN;
}

export function drawCard(pen: Pen, scene: Scene, cell: Cell): void {
  const { ctx, view, theme, picture } = pen;
  const rect = onScreen(view, cell);
  drawFrame(pen, cell.name, rect, 6);
  drawNics(pen, cell);
  for (const tunnel of scene.boxes.get(cell.name)?.tunnels ?? [])
    tunnelRing(pen, inCell(view, cell, tunnel), shadeOf(picture, tunnel.link).tone, false);
  const node = picture.node(cell.name);
  const shade = shadeOfNode(pen, cell.name);
  const mark = markOf(shade);
  const problems = picture.problemsAt(cell.name);
  const pad = rect.w < 170 ? 9 : 14;
  const left = rect.x + pad;
  const room = rect.w - 2 * pad;
  const isWide = rect.w >= 150;
  let y = rect.y + (isWide ? 22 : 18);
  setFont(pen, isWide ? BODY_PX : SMALL_PX, 600);
  const nameRoom = room - (mark === "ok" ? 0 : 20);
  write(pen, fitText(ctx, cell.name, nameRoom), left, y, theme.text);
  badge(pen, rect.x + rect.w - pad - 7, y, mark);
  y += 18;
  setFont(pen, SMALL_PX);
  write(pen, podsText(node?.pods ?? 0), left, y, theme.muted);
  for (const fact of [node?.pod_cidrs[0], node?.addrs[0]]) {
    if (!fact || y + 30 > rect.y + rect.h - 22) continue;
    y += 16;
    write(pen, firstThatFits(ctx, [fact], room), left, y, theme.muted);
  }
  const word = shade.label;
  if (word && rect.h >= 110) {
    setFont(pen, SMALL_PX, 600);
    write(pen, firstThatFits(ctx, [word], room), left, rect.y + rect.h - 14, textOf(pen.theme, shade.tone));
  }
  const bottom = rect.y + rect.h - (word && rect.h >= 110 ? 26 : 10);
  drawPodCells(
    pen,
    { x: left, y: y + 12, w: room, h: bottom - y - 12 },
    node?.pods ?? 0,
    problems.pods,
    stateOf(node),
  );
}

export function podsText(pods: number): string {
  return count(pods, "pod", "pods");
}

/** The card itself: surface, edge, a bar at the left for what isn't well, and what is picked. */
export function drawFrame(pen: Pen, name: string, rect: Rect, radius: number): void {
  const { ctx, theme, picture } = pen;
  const state = stateOf(picture.node(name));
  const isAway = state === "away";
  const isSelected = picture.selected?.type === "node" && picture.selected.name === name;
  const isHovered = picture.hovered?.type === "node" && picture.hovered.name === name;
  if (isSelected) selectionRing(pen, rect, radius);
  roundRect(ctx, rect, radius);
  ctx.fillStyle = isAway ? theme["map-bg"] : theme.surface;
  ctx.fill();
  ctx.strokeStyle = isAway ? theme["line-strong"] : theme.line;
  ctx.lineWidth = 1;
  ctx.setLineDash(isAway ? [5, 4] : []);
  ctx.stroke();
  ctx.setLineDash([]);
  const { tone } = shadeOfNode(pen, name);
  if (tone === "bad" || tone === "warn" || isStep(tone)) {
    // Between the round corners: clipping would cost more than all the rest of the card.
    ctx.beginPath();
    ctx.rect(rect.x, rect.y + radius, 4, rect.h - 2 * radius);
    ctx.fillStyle = fillOf(theme, tone);
    ctx.fill();
  }
  if (isHovered) hoverRing(pen, rect, radius);
}

/** A small cell for each pod; those with a problem of their own come first. */
function drawPodCells(pen: Pen, rect: Rect, pods: number, bad: number, state: string): void {
  const grid = cellGrid(rect.w, rect.h, pods);
  if (!grid) return;
  const { ctx, theme } = pen;
  const size = grid.pitch - (grid.pitch > 5 ? 2 : 1);
  const cells = (from: number, to: number, colour: string) => {
    if (to <= from) return;
    ctx.fillStyle = colour;
    ctx.beginPath();
    for (let i = from; i < to; i += 1) {
      const [col, row] = [i % grid.cols, Math.floor(i / grid.cols)];
      ctx.rect(Math.round(rect.x + col * grid.pitch), Math.round(rect.y + row * grid.pitch), size, size);
    }
    ctx.fill();
  };
  const marked = Math.min(bad, pods);
  cells(0, marked, theme["bad-fill"]);
  cells(marked, pods, state === "away" ? theme["tile-soft"] : theme.tile);
}

const MOST_PITCH = 12;
const LEAST_PITCH = 3;

/** The largest cells in which so many pods have room; null when there is none. */
export function cellGrid(w: number, h: number, pods: number): { pitch: number; cols: number } | null {
  if (pods === 0) return null;
  for (let pitch = MOST_PITCH; pitch >= LEAST_PITCH; pitch -= 1) {
    const cols = Math.floor(w / pitch);
    if (cols > 0 && Math.ceil(pods / cols) * pitch <= h) return { pitch, cols };
  }
  return null;
}

/** The NICs on the top edge, as far as they are known without the node's details. */
function drawNics(pen: Pen, cell: Cell): void {
  const node = pen.picture.node(cell.name);
  for (let i = 0; i < Math.min(4, node?.subnets.length ?? 0); i += 1)
    nicSquare(pen, inCell(pen.view, cell, nicRect(i)), "none");
}

export function nicSquare(pen: Pen, at: Rect, tone: Tone): void {
  const { ctx } = pen;
  const size = Math.max(6, Math.min(12, at.w));
  const x = Math.round(at.x + at.w / 2 - size / 2) + 0.5;
  const y = Math.round(at.y + at.h / 2 - size / 2) + 0.5;
  ctx.beginPath();
  ctx.rect(x, y, size - 1, size - 1);
  ctx.fillStyle = endFill(pen, tone);
  ctx.fill();
  ctx.strokeStyle = endEdge(pen, tone);
  ctx.lineWidth = 1.5;
  ctx.stroke();
  if (tone === "bad" || tone === "warn")
    signIn(pen, { x, y, w: size - 1, h: size - 1 }, tone === "bad" ? "error" : "warning");
}

/** A link's end is hollow, unless there is something to say of it. */
function endFill({ theme }: Pen, tone: Tone): string {
  return isStep(tone) || tone === "bad" || tone === "warn" ? fillOf(theme, tone) : theme.surface;
}

function endEdge({ theme }: Pen, tone: Tone): string {
  return tone === "bad" ? theme.bad : tone === "warn" ? theme.warn : theme["line-strong"];
}

/** A tunnel's end. */
export function tunnelRing(pen: Pen, at: Rect, tone: Tone, isPicked: boolean): void {
  const { ctx, theme } = pen;
  ctx.beginPath();
  ctx.arc(at.x + at.w / 2, at.y + at.h / 2, Math.max(3, Math.min(7, at.w / 2)), 0, Math.PI * 2);
  ctx.fillStyle = endFill(pen, tone);
  ctx.fill();
  ctx.strokeStyle = isPicked ? theme.text : endEdge(pen, tone);
  ctx.lineWidth = isPicked ? 3 : 1.5;
  ctx.stroke();
}

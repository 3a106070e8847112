// A block's title: what its nodes have in common, how many they are, and how they are.

import * as m from "../layout/metrics.js";
import type { Block } from "../layout/scene.js";
import { badge } from "./marks.js";
import { BODY_PX, isNear, onScreen, type Pen, SMALL_PX, setFont, write } from "./pen.js";
import type { BlockFacts } from "./picture.js";
import { firstThatFits, textWidth } from "./text.js";

/** A title that scrolled out of sight with its block's top stays at the window's edge. */
const STUCK_Y = 18;

export function isTitleStuck(pen: Pen, block: Block): boolean {
  const rect = onScreen(pen.view, block);
  const band = block.band * pen.view.k;
  return rect.y + band / 2 < 16 && rect.y + rect.h > 60 && isNear(pen, "name");
}

export function drawTitle(pen: Pen, block: Block): void {
  const place = placeTitle(pen, block);
  if (!place) return;
  const { line, left, right, middle } = place;
  if (isTitleStuck(pen, block)) drawPlate(pen, left, middle, line.width);
  setFont(pen, place.isWide ? BODY_PX : SMALL_PX, 600);
  write(pen, line.title, left, middle, pen.theme.text);
  setFont(pen, SMALL_PX);
  write(pen, line.counts, left + line.titleWidth + 10, middle + 1, pen.theme.muted);
  if (!line.problem || !line.hasBadge) return;
  const at = isNear(pen, "name") ? left + line.width - line.problemWidth : right - line.problemWidth;
  badge(pen, at + 8, middle, line.problem.state, 6);
  setFont(pen, SMALL_PX, 600);
  const colour = line.problem.state === "error" ? pen.theme.bad : pen.theme.warn;
  write(pen, line.problemText, at + 19, middle + 1, colour);
}

/** Keep a title's room free of labels; null when there is no room for it. */
export function placeTitle(pen: Pen, block: Block) {
  const rect = onScreen(pen.view, block);
  // Far away there are no lines above the first row.
  const above = isNear(pen, "card") ? 0 : m.TITLE_OVERLAP;
  const band = (block.band + above) * pen.view.k;
  if (rect.w < 24 || band < 12) return null;
  const isWide = rect.w >= 150;
  const pad = isWide ? 10 : 5;
  const left = Math.max(rect.x, 0) + pad;
  const right = Math.min(rect.x + rect.w, pen.view.width) - pad;
  const middle = isTitleStuck(pen, block) ? STUCK_Y : rect.y + Math.max(11, band / 2);
  const line = composeTitle(pen, block, right - left, isWide);
  if (line.title === "") return null;
  pen.labels.block({ x: left - 4, y: middle - 10, w: line.width + 8, h: 20 });
  return { line, left, right, middle, isWide };
}

/** What of a title there is room for: the name first, then how the nodes are, then how many. */
function composeTitle(pen: Pen, block: Block, room: number, isWide: boolean) {
  const { ctx } = pen;
  const facts = pen.picture.facts(block);
  setFont(pen, isWide ? BODY_PX : SMALL_PX, 600);
  const title = firstThatFits(ctx, block.titles, room);
  const titleWidth = textWidth(ctx, title);
  const problem = worstOf(facts);
  setFont(pen, SMALL_PX, 600);
  const problemText = problem ? firstThatFits(ctx, [problem.text], room - titleWidth - 34) : "";
  const hasBadge = problem !== null && room - titleWidth >= 18;
  const problemWidth = hasBadge ? 16 + (problemText ? textWidth(ctx, problemText) + 4 : 0) : 0;
  setFont(pen, SMALL_PX);
  const counts = isWide ? firstThatFits(ctx, countTexts(facts), room - titleWidth - problemWidth - 24) : "";
  const width = titleWidth + (counts ? textWidth(ctx, counts) + 10 : 0) + (hasBadge ? problemWidth + 12 : 0);
  return { title, titleWidth, counts, problem, problemText, problemWidth, hasBadge, width };
}

function drawPlate(pen: Pen, left: number, middle: number, width: number): void {
  const { ctx, theme } = pen;
  ctx.beginPath();
  ctx.roundRect(left - 6, middle - 12, width + 12, 24, 6);
  ctx.fillStyle = theme.surface;
  ctx.fill();
  ctx.strokeStyle = theme.line;
  ctx.lineWidth = 1;
  ctx.stroke();
}

function countTexts({ nodes, pods }: BlockFacts): string[] {
  const number = (value: number) => value.toLocaleString("en");
  const nodeText = `${number(nodes)} ${nodes === 1 ? "node" : "nodes"}`;
  return [`${nodeText} · ${number(pods)} ${pods === 1 ? "pod" : "pods"}`, nodeText, number(nodes)];
}

/** The worst of a block's nodes, and how many are like that. */
function worstOf({ states }: BlockFacts): { state: "error" | "warning" | "away"; text: string } | null {
  for (const [state, text] of [
    ["error", "with errors"],
    ["warning", "with warnings"],
    ["away", "without data"],
  ] as const)
    if (states[state] > 0) return { state, text: `${states[state]} ${text}` };
  return null;
}

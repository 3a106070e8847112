// A block's title: what its nodes have in common, how many they are, and how they are. What one block's title leaves out
// for want of room all leave out, so that titles can be compared.

import { thousands } from "../count.js";
import * as m from "../layout/metrics.js";
import type { Block } from "../layout/scene.js";
import { badge } from "./marks.js";
import { BODY_PX, isNear, onScreen, type Pen, SMALL_PX, setFont, write } from "./pen.js";
import type { BlockFacts } from "./picture.js";
import { firstThatFits, textWidth } from "./text.js";

/** A title that scrolled out of sight with its block's top stays at the window's edge. */
const STUCK_Y = 18;

/** Between a title and what it stands above, where there is more room than that. */
const TITLE_RISE = 24;

/** How much all titles say: which of their forms, which of the counts' (past the last: none), and whether they have badges. */
export interface TitleForm {
  title: number;
  counts: number;
  hasBadges: boolean;
}

export function isTitleStuck(pen: Pen, block: Block): boolean {
  const rect = onScreen(pen.view, block);
  return rect.y + titleY(block.band * pen.view.k) < 16 && rect.y + rect.h > 60 && isNear(pen, "name");
}

/** Where in the space above a block's nodes the title stands: in the middle, or near to them. */
function titleY(band: number): number {
  return Math.max(band / 2, band - TITLE_RISE);
}

/** The fullest form for which all of these blocks have room. */
export function titleForm(pen: Pen, blocks: Block[]): TitleForm {
  const form = { title: 0, counts: 0, hasBadges: true };
  let [wanting, lacking] = [0, 0];
  for (const block of blocks) {
    const frame = titleFrame(pen, block);
    if (!frame) continue;
    const fits = () => titleWidth(pen, block, form.title, frame.isWide) <= frame.whole;
    while (form.title < block.titles.length - 1 && !fits()) form.title += 1;
  }
  for (const block of blocks) {
    const frame = titleFrame(pen, block);
    if (!frame) continue;
    const facts = pen.picture.facts(block);
    const room = frame.whole - titleWidth(pen, block, form.title, frame.isWide);
    const texts = countTexts(facts);
    const isMarked = worstOf(facts) !== null;
    wanting += Number(isMarked);
    lacking += Number(isMarked && room < BADGE + 2);
    const left = room - 22 - (isMarked ? BADGE + 12 : 0);
    setFont(pen, SMALL_PX);
    while (form.counts < texts.length && textWidth(pen.ctx, texts[form.counts] ?? "") > left)
      form.counts += 1;
  }
  // Where most have no room for it, a badge beside some would say that all is well with the others.
  form.hasBadges = lacking * 2 <= wanting;
  return form;
}

/** What titles leave out that all begin and end with; "" where they leave out nothing. */
export function leftOut(block: Block | undefined, form: TitleForm): string {
  const [whole = "", shorter = "", shortest = ""] = block?.titles ?? [];
  const start = whole.slice(0, whole.length - shorter.length);
  const end = form.title > 1 ? shorter.slice(shortest.length) : "";
  return form.title > 0 && (start || end) ? `${start}…${end}` : "";
}

export function drawTitle(pen: Pen, block: Block, form: TitleForm): void {
  const place = placeTitle(pen, block, form);
  if (!place) return;
  const { line, left, right, middle } = place;
  if (isTitleStuck(pen, block)) drawPlate(pen, left, middle, line.width);
  setFont(pen, place.isWide ? BODY_PX : SMALL_PX, 600);
  write(pen, line.title, left, middle, pen.theme.text);
  setFont(pen, SMALL_PX);
  write(pen, line.counts, left + line.titleWidth + 10, middle + 1, pen.theme.muted);
  if (!line.problem) return;
  const isInline = isNear(pen, "name");
  const at = isInline ? left + line.width - line.problemWidth : right - line.problemWidth;
  badge(pen, at + 8, middle, line.problem.state, 6);
  setFont(pen, SMALL_PX, 600);
  const colour = line.problem.state === "error" ? pen.theme.bad : pen.theme.warn;
  write(pen, line.problemText, at + 19, middle + 1, colour);
}

/** Keep a title's room free of labels; null when there is no room for it. */
export function placeTitle(pen: Pen, block: Block, form: TitleForm) {
  const frame = titleFrame(pen, block);
  if (!frame) return null;
  const { left, right, middle, isWide } = frame;
  const line = composeTitle(pen, block, right - left, isWide, form);
  if (line.title === "") return null;
  pen.labels.block({ x: left - 4, y: middle - 10, w: line.width + 8, h: 20 });
  return { line, left, right, middle, isWide };
}

/** The line on which a title stands, as far as it is in sight (`whole`: its length in all); null when there is no room for any. */
function titleFrame(pen: Pen, block: Block) {
  const rect = onScreen(pen.view, block);
  // Far away there are no lines above the first row.
  const above = isNear(pen, "card") ? 0 : m.TITLE_OVERLAP;
  const band = (block.band + above) * pen.view.k;
  if (rect.w < 24 || band < 12) return null;
  const isWide = rect.w >= 150;
  const pad = isWide ? 10 : 5;
  // From near it begins where the nodes do: left of them are the trunk and the way out.
  const indent = isNear(pen, "card") ? Math.max(pad, m.BLOCK_LEFT * pen.view.k + 6) : pad;
  const left = Math.max(rect.x + indent, pad);
  const right = Math.min(rect.x + rect.w, pen.view.width) - pad;
  const middle = isTitleStuck(pen, block) ? STUCK_Y : rect.y + Math.max(isWide ? 12 : 11, titleY(band));
  return { left, right, middle, isWide, whole: Math.min(rect.w, pen.view.width) - indent - pad };
}

const BADGE = 16;

function titleWidth(pen: Pen, block: Block, form: number, isWide: boolean): number {
  setFont(pen, isWide ? BODY_PX : SMALL_PX, 600);
  return textWidth(pen.ctx, block.titles[form] ?? "");
}

/** What of a title there is room for: the name first, then that not all is well, then how many, then what isn't. */
function composeTitle(pen: Pen, block: Block, room: number, isWide: boolean, form: TitleForm) {
  const { ctx } = pen;
  const facts = pen.picture.facts(block);
  setFont(pen, isWide ? BODY_PX : SMALL_PX, 600);
  const title = firstThatFits(ctx, block.titles.slice(form.title), room);
  const width = textWidth(ctx, title);
  const worst = worstOf(facts);
  const problem = worst && form.hasBadges && room - width >= BADGE + 2 ? worst : null;
  let left = room - width - (problem ? BADGE + 12 : 0);
  setFont(pen, SMALL_PX);
  const counts = firstThatFits(ctx, [countTexts(facts)[form.counts] ?? ""], left - 10);
  const countWidth = counts ? textWidth(ctx, counts) + 10 : 0;
  left -= countWidth;
  setFont(pen, SMALL_PX, 600);
  const problemText = problem ? firstThatFits(ctx, [problem.text], left - 4) : "";
  const problemWidth = problem ? BADGE + (problemText ? textWidth(ctx, problemText) + 4 : 0) : 0;
  return {
    title,
    titleWidth: width,
    counts,
    problem,
    problemText,
    problemWidth,
    width: width + countWidth + (problem ? problemWidth + 12 : 0),
  };
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
  const nodeText = `${thousands(nodes)} ${nodes === 1 ? "node" : "nodes"}`;
  return [`${nodeText} · ${thousands(pods)} ${pods === 1 ? "pod" : "pods"}`, nodeText, thousands(nodes)];
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

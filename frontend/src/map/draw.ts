// Draws a scene: a function of data, a camera and a theme. No fetch, no layout, no state.
//
// Lines and boxes scale with the camera; text has the screen's size and appears when there is room
// for it (semantic zoom). Of each block only the rows and columns that are seen are looked at.

import type { Block, Cell, Scene } from "../layout/scene.js";
import { seenCells } from "./cells.js";
import { drawBox } from "./drawbox.js";
import { drawCard, drawNameTile } from "./drawcard.js";
import { drawRails } from "./drawrails.js";
import { drawTiles } from "./drawtiles.js";
import { drawTitle, isTitleStuck, leftOut, placeTitle, titleForm } from "./drawtitle.js";
import { Labels } from "./labels.js";
import type { Level } from "./level.js";
import { grow, isNear, isSeen, onScreen, type Pen, roundRect, type View } from "./pen.js";
import type { Picture } from "./picture.js";
import { forgetFont } from "./text.js";
import type { Theme } from "./theme.js";

/** What the rest of the page tells of what was drawn. */
export interface Drawn {
  /** What the blocks' titles leave out because all have it. */
  leftOut: string;
}

export function drawScene(
  ctx: CanvasRenderingContext2D,
  view: View,
  level: Level,
  scene: Scene,
  picture: Picture,
  theme: Theme,
): Drawn {
  forgetFont();
  ctx.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  ctx.fillStyle = theme["map-bg"];
  ctx.fillRect(0, 0, view.width, view.height);
  const pen: Pen = { ctx, view, level, picture, theme, labels: new Labels() };
  const blocks = scene.blocks.filter((block) => isSeen(view, block));
  for (const block of blocks) drawFrame(pen, block, scene.blocks.length > 1);
  const stuck = blocks.filter((block) => isTitleStuck(pen, block));
  const form = titleForm(pen, blocks);
  for (const block of blocks) (stuck.includes(block) ? placeTitle : drawTitle)(pen, block, form);
  for (const block of blocks) drawBlock(pen, scene, block);
  for (const block of stuck) drawTitle(pen, block, form);
  return { leftOut: leftOut(blocks[0], form) };
}

function drawBlock(pen: Pen, scene: Scene, block: Block): void {
  if (pen.level === "tile") {
    drawTiles(pen, block);
    return;
  }
  if (isNear(pen, "card")) drawRails(pen, scene, block);
  for (const cell of seenCells(pen, scene, block)) drawNode(pen, scene, cell);
}

function drawNode(pen: Pen, scene: Scene, cell: Cell): void {
  const { ctx, picture } = pen;
  const isDimmed = picture.lit !== null && !picture.lit.nodes.has(cell.name);
  ctx.globalAlpha = isDimmed ? 0.35 : 1;
  const box = scene.boxes.get(cell.name);
  if (pen.level === "name") drawNameTile(pen, scene, cell);
  else if (box && isNear(pen, "pods")) drawBox(pen, cell, box);
  else drawCard(pen, scene, cell);
  ctx.globalAlpha = 1;
}

/** Around the cells of a block, where there are several. */
function drawFrame(pen: Pen, block: Block, hasOthers: boolean): void {
  const { ctx, view, theme } = pen;
  if (!hasOthers) return;
  roundRect(ctx, grow(onScreen(view, block), -1), 8);
  if (pen.level === "tile") {
    ctx.fillStyle = theme.surface;
    ctx.fill();
  }
  ctx.strokeStyle = theme.line;
  ctx.lineWidth = 1;
  ctx.stroke();
}

// Which node stands where. The first plan puts each group's nodes into a block, in natural order, and packs
// the blocks. From then on places stay: a node that goes leaves its cell free, one that comes takes its
// old cell if that is free, else the first free one of its group; a full block grows downwards where nothing
// is below it, and is continued by another block at the bottom where something is.

import type { NodeObj } from "../graph/model.js";
import { type Grouping, groupOf, groupTitle, isSettled } from "./groups.js";
import * as m from "./metrics.js";
import { naturalCompare } from "./natural.js";
import type { Block, Cell, Rect } from "./scene.js";
import { cellRect } from "./scene.js";
import { Slots } from "./slots.js";

/** The height of a title on the screen when the whole is seen, and the bounds of its space in the world. */
const TITLE_PX = 26;
const LEAST_BAND = 40;
const MOST_BAND = 1400;

interface Place extends Block {
  slots: Slots;
}

export class ClusterPlan {
  blocks: Place[] = [];
  readonly cells = new Map<string, Cell>();
  private readonly lastPlace = new Map<string, { block: Place; index: number }>();
  private band = 0;
  /** What all titles begin and end with, in characters. */
  private common = { start: 0, end: 0 };
  private shelfX = 0;

  constructor(readonly by: Grouping) {}

  /** Follow the nodes that there are. Nodes of which none has a place yet are planned from the beginning. */
  update(nodes: ReadonlyMap<string, NodeObj>): void {
    for (const name of [...this.cells.keys()]) if (!nodes.has(name)) this.remove(name);
    const newcomers: NodeObj[] = [];
    for (const node of nodes.values()) {
      const cell = this.cells.get(node.name);
      // A node whose group isn't known yet stays where it is: its state may be on its way.
      const key = groupOf(node, this.by);
      if (!cell || (cell.block.key !== key && key !== "" && !isSettled(this.by))) newcomers.push(node);
    }
    if (newcomers.length === 0) return;
    if (newcomers.length === nodes.size) {
      this.begin([...nodes.values()]);
      return;
    }
    for (const node of newcomers) this.remove(node.name);
    newcomers.sort((a, b) => naturalCompare(a.name, b.name));
    for (const node of newcomers) this.add(node);
    this.blocks = this.blocks.filter((block) => block.key !== "" || block.slots.count > 0);
  }

  get bounds(): Rect {
    const filled = this.blocks.filter((block) => block.slots.count > 0).map(filledRect);
    if (filled.length === 0) return { x: 0, y: 0, w: 1, h: 1 };
    const x = Math.min(...filled.map((rect) => rect.x));
    const y = Math.min(...filled.map((rect) => rect.y));
    return {
      x,
      y,
      w: Math.max(...filled.map((rect) => rect.x + rect.w)) - x,
      h: Math.max(...filled.map((rect) => rect.y + rect.h)) - y,
    };
  }

  private begin(nodes: NodeObj[]): void {
    this.cells.clear();
    this.lastPlace.clear();
    const groups = new Map<string, NodeObj[]>();
    for (const node of nodes.sort((a, b) => naturalCompare(a.name, b.name))) {
      const key = groupOf(node, this.by);
      groups.set(key, [...(groups.get(key) ?? []), node]);
    }
    const keys = [...groups.keys()].sort(
      (a, b) => Number(a === "") - Number(b === "") || naturalCompare(a, b),
    );
    const titles = keys.filter((key) => key !== "").map((key) => groupTitle(key, this.by));
    this.common = { start: commonStart(titles), end: commonStart(titles.map(reversed)) };
    // Titles are to be readable when the whole cluster is seen: the space for them grows with it.
    this.band = LEAST_BAND;
    for (let round = 0; round < 3; round += 1) {
      this.blocks = keys.map((key) => {
        const count = groups.get(key)?.length ?? 0;
        return this.makeBlock(key, colsFor(count, groups.size === 1), rowsFor(count, groups.size === 1));
      });
      const scale = pack(this.blocks);
      this.band = Math.min(MOST_BAND, Math.max(LEAST_BAND, TITLE_PX / scale - m.TITLE_OVERLAP));
    }
    for (const block of this.blocks)
      for (const [i, node] of (groups.get(block.key) ?? []).entries()) this.put(node.name, block, i);
    this.shelfX = 0;
  }

  private makeBlock(key: string, cols: number, rows: number): Place {
    const slots = new Slots();
    const title = groupTitle(key, this.by);
    const { start, end } = this.common;
    const block = {
      key,
      titles: [title, title.slice(start), title.slice(start, title.length - end)],
      x: 0,
      y: 0,
      w: 0,
      h: 0,
      cols,
      band: this.band,
    };
    const made: Place = { ...block, slots, cells: slots.at };
    resize(made, rows);
    return made;
  }

  private add(node: NodeObj): void {
    const key = groupOf(node, this.by);
    const old = this.lastPlace.get(node.name);
    if (old && old.block.key === key && old.block.slots.at[old.index] == null) {
      this.put(node.name, old.block, old.index);
      return;
    }
    const isAnywhere = key === "" && this.blocks.length === 1;
    const own = this.blocks.filter((block) => isAnywhere || block.key === key);
    for (const block of own) {
      const free = block.slots.firstFree(rowsOf(block) * block.cols) ?? this.grow(block);
      if (free !== null) {
        this.put(node.name, block, free);
        return;
      }
    }
    const block = this.makeBlock(key, own[0]?.cols ?? 4, 1);
    this.append(block);
    this.put(node.name, block, 0);
  }

  /** Give a block one row more, if nothing is below it; returns the first cell of it. */
  private grow(block: Place): number | null {
    const rows = rowsOf(block) + 1;
    const grown = { ...block, h: block.h + m.PITCH_Y };
    if (this.blocks.some((other) => other !== block && touch(grown, other))) return null;
    resize(block, rows);
    return (rows - 1) * block.cols;
  }

  /** Put a further block below all others, beside the last that was put there. */
  private append(block: Place): void {
    const last = this.blocks.at(-1);
    const beside = last && this.shelfX > 0 ? { ...block, x: this.shelfX, y: last.y } : null;
    const right = Math.max(...this.blocks.map((other) => other.x + other.w));
    const hasRoom =
      beside && beside.x + beside.w <= right && !this.blocks.some((other) => touch(beside, other));
    block.x = hasRoom ? beside.x : 0;
    block.y = hasRoom
      ? beside.y
      : Math.max(0, ...this.blocks.map((other) => other.y + other.h + m.BLOCK_GAP));
    this.shelfX = block.x + block.w + m.BLOCK_GAP;
    this.blocks.push(block);
  }

  private put(name: string, block: Place, index: number): void {
    block.slots.put(name, index);
    const row = Math.floor(index / block.cols);
    this.cells.set(name, { ...cellRect(block, index), name, block, index, row });
  }

  private remove(name: string): void {
    const block = this.cells.get(name)?.block as Place | undefined;
    const index = block?.slots.free(name);
    this.cells.delete(name);
    if (block && index !== undefined) this.lastPlace.set(name, { block, index });
  }
}

function rowsOf(block: Block): number {
  return Math.round((block.h - block.band - m.BLOCK_BOTTOM) / m.PITCH_Y);
}

function resize(block: Block, rows: number): void {
  block.w = m.BLOCK_LEFT + block.cols * m.PITCH_X - m.GAP_X + m.BLOCK_RIGHT;
  block.h = block.band + rows * m.PITCH_Y + m.BLOCK_BOTTOM;
}

/** The part of a block that nodes are in. */
function filledRect(block: Place): Rect {
  const last = block.slots.at.findLastIndex((name) => name !== null);
  const rows = Math.floor(last / block.cols) + 1;
  const cols = rows > 1 ? block.cols : last + 1;
  return {
    x: block.x,
    y: block.y,
    w: m.BLOCK_LEFT + cols * m.PITCH_X - m.GAP_X + m.BLOCK_RIGHT,
    h: block.band + rows * m.PITCH_Y + m.BLOCK_BOTTOM,
  };
}

function touch(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/** Columns of a block for so many nodes. A small cluster has room for a few more from the beginning. */
export function colsFor(count: number, isOnly: boolean): number {
  const size = isOnly ? Math.max(12, count) : count;
  const aspect = isOnly ? (m.TARGET_W / m.TARGET_H) * (m.PITCH_Y / m.PITCH_X) : 1;
  const cols = Math.ceil(Math.sqrt(size * aspect));
  return isOnly && count <= 12 ? fewCols(count) : Math.max(1, cols);
}

/** Few nodes stand in as few even rows as can be read. */
function fewCols(count: number): number {
  if (count <= 4) return 4;
  return Math.ceil(count / Math.ceil(count / 4));
}

/** Rows that a block keeps room for: one more than it needs where it has several. */
function rowsFor(count: number, isOnly: boolean): number {
  const cols = colsFor(count, isOnly);
  const needed = Math.ceil(count / cols);
  const isFull = needed * cols - count < Math.max(1, count * 0.04);
  return needed >= 3 && isFull && !isOnly ? needed + 1 : needed;
}

function reversed(text: string): string {
  return [...text].reverse().join("");
}

/** The length of what all names begin with, up to a sign between words; 0 for a single name. */
export function commonStart(names: string[]): number {
  const [first = "", ...others] = names;
  if (others.length === 0) return 0;
  let length = 0;
  while (length < first.length && others.every((name) => name[length] === first[length])) length += 1;
  return /^.*[^a-zA-Z0-9]/.exec(first.slice(0, length))?.[0].length ?? 0;
}

/** Put blocks onto shelves, in their order, so that the whole has about the target's shape; returns the scale at which it fits. */
export function pack(blocks: Rect[]): number {
  const area = blocks.reduce((sum, block) => sum + (block.w + m.BLOCK_GAP) * (block.h + m.BLOCK_GAP), 0);
  const widest = Math.max(...blocks.map((block) => block.w));
  const ideal = Math.sqrt((area * m.TARGET_W) / m.TARGET_H);
  let best = Number.NEGATIVE_INFINITY;
  let bestWidth = widest;
  for (let factor = 0.7; factor <= 1.7; factor += 0.05) {
    const width = Math.max(widest, ideal * factor);
    const { w, h } = shelve(blocks, width);
    const scale = Math.min(m.TARGET_W / w, m.TARGET_H / h);
    if (scale > best) {
      best = scale;
      bestWidth = width;
    }
  }
  shelve(blocks, bestWidth);
  return best;
}

function shelve(blocks: Rect[], width: number): { w: number; h: number } {
  let [x, y, height, right] = [0, 0, 0, 0];
  for (const block of blocks) {
    if (x > 0 && x + block.w > width) {
      x = 0;
      y += height + m.BLOCK_GAP;
      height = 0;
    }
    block.x = x;
    block.y = y;
    x += block.w + m.BLOCK_GAP;
    height = Math.max(height, block.h);
    right = Math.max(right, x);
  }
  return { w: right - m.BLOCK_GAP, h: y + height };
}

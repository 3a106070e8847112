// Which cells of a block are seen.

import type { Block, Cell, Scene } from "../layout/scene.js";
import { cellsWithin } from "../layout/scene.js";
import { type Pen, seen } from "./pen.js";

/** The nodes of a block that are seen, and a little beyond: their labels stand out. */
export function* seenCells(pen: Pen, scene: Scene, block: Block): Generator<Cell> {
  const part = cellsWithin(block, seen(pen.view, 20));
  for (let row = part.firstRow; row < part.lastRow; row += 1)
    for (let col = part.firstCol; col < part.lastCol; col += 1) {
      const name = block.cells[row * block.cols + col];
      const cell = name == null ? undefined : scene.cells.get(name);
      if (cell) yield cell;
    }
}

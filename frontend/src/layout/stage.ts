// Where a trace's stations stand on its stage: a column a node, side by side over the underlay. In the first column
// the packet goes down, in the others up, so that the underlay is below and two nodes make a U. Forward runs in the outer lane,
// return in the inner one. Pure; sizes are CSS pixels.

import type { Column, Direction, Station } from "../trace/stations.js";
import type { Point, Rect } from "./scene.js";

export interface StageRow extends Rect {
  station: Station;
  column: number;
}

export interface StageCard extends Rect {
  title: string;
  sub: string;
  isPod: boolean;
  column: number;
  rows: StageRow[];
}

export interface StageLayout {
  width: number;
  height: number;
  cards: StageCard[];
  /** The lines of the underlay's crossing, forward below return. */
  underlay: { forward: number; reply: number };
  /** Where what leaves the network goes, below a column. */
  outside: (column: number) => Rect;
  /** Room for a sentence a direction, or for one at all. */
  sentences: 0 | 1 | 2;
  /** Whether a row has room for two lines of text. */
  isTall: boolean;
}

const GAP = 40;
const CARD_GAP = 8;
const HEAD = 32;
const FOOT = 6;
const LEAST_ROW = 21;
const MOST_ROW = 52;
/** Two lines of text. */
const TALL_ROW = 28;
/** Columns narrower than this have no sentences. */
const TALKING = 330;
const LEAST_COLUMN = 240;
const MOST_COLUMN = 560;
const UNDERLAY = 68;
const PAD = 16;
/** Lanes, from the edge of the card at which they are. */
export const INNER = 22;
export const OUTER = 46;

export function layoutStage(columns: Column[], width: number, height: number): StageLayout {
  const count = columns.length;
  const room = (width - 2 * PAD - (count - 1) * GAP) / Math.max(1, count);
  const w = Math.max(LEAST_COLUMN, Math.min(MOST_COLUMN, room));
  const total = count * w + (count - 1) * GAP;
  const left = Math.max(PAD, (width - total) / 2);
  const rowsOf = (column: Column) => column.places.reduce((sum, place) => sum + place.stations.length, 0);
  const extra = (column: Column) => column.places.length * (HEAD + FOOT + CARD_GAP);
  const roomFor = (column: Column) =>
    (height - 2 * PAD - UNDERLAY - extra(column)) / Math.max(1, rowsOf(column));
  const rowH = Math.max(LEAST_ROW, Math.min(MOST_ROW, ...columns.map(roomFor)));
  const cards: StageCard[] = [];
  columns.forEach((column, i) => {
    const x = left + i * (w + GAP);
    let y = PAD;
    // A single node is read downwards; of several, all but the first are entered from below.
    const places = i === 0 ? column.places : [...column.places].reverse();
    for (const place of places) {
      const stations = i === 0 ? place.stations : [...place.stations].reverse();
      const rows = stations.map((station, n) => ({
        station,
        column: i,
        x,
        y: y + HEAD + n * rowH,
        w,
        h: rowH,
      }));
      const sub = place.isPod ? `pod on ${place.node}` : "node";
      const h = HEAD + rows.length * rowH + FOOT;
      cards.push({ title: place.title, sub, isPod: place.isPod, column: i, x, y, w, h, rows });
      y += h + CARD_GAP;
    }
  });
  const bottom = Math.max(PAD, ...cards.map((card) => card.y + card.h));
  const outside = (column: number): Rect => ({
    x: left + column * (w + GAP) + (column === 0 ? 0 : 80),
    y: bottom + 22,
    w: Math.min(300, w - 80),
    h: 56,
  });
  return {
    width: Math.max(width, total + 2 * PAD),
    height: Math.max(height, bottom + UNDERLAY + PAD),
    cards,
    underlay: { forward: bottom + 46, reply: bottom + 24 },
    outside,
    sentences: w < TALKING ? 0 : rowH >= 40 ? 2 : 1,
    isTall: rowH >= TALL_ROW,
  };
}

/** The x of a direction's lane: at the right of the first column, at the left of the others. */
export function laneAt(card: Rect, column: number, direction: Direction): number {
  const from = direction === "forward" ? OUTER : INNER;
  return column === 0 ? card.x + card.w - from : card.x + from;
}

/** The stations of a direction in the order in which its packet comes by, each with its point on the lane. */
export function stopsOf(
  layout: StageLayout,
  direction: Direction,
): { row: StageRow; point: Point; seq: number }[] {
  return layout.cards
    .flatMap((card) => card.rows)
    .flatMap((row) => {
      const seq = row.station[direction][0]?.seq;
      return seq === undefined
        ? []
        : [{ row, seq, point: { x: laneAt(row, row.column, direction), y: row.y + row.h / 2 } }];
    })
    .sort((a, b) => a.seq - b.seq);
}

/** The line of a direction through its stations: along the lane, and over the underlay from column to column. */
export function laneLine(layout: StageLayout, direction: Direction): Point[] {
  const points: Point[] = [];
  let before: { row: StageRow; point: Point } | null = null;
  for (const stop of stopsOf(layout, direction)) {
    if (before && before.row.column !== stop.row.column) {
      const y = layout.underlay[direction];
      points.push({ x: before.point.x, y }, { x: stop.point.x, y });
    }
    points.push(stop.point);
    before = stop;
  }
  return points;
}

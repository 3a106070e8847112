// A field of tiles, one for each node, in columns of the order of their names; what isn't as it should be stands out. Pure.

import type { NodeState, Zone } from "../kube.js";

export interface Mark {
  /** Which node of the zone, in the order of their names. */
  index: number;
  state: Exclude<NodeState, "programmed">;
  x: number;
  y: number;
}

export interface ZoneField {
  zone: string | null;
  nodes: number;
  /** Each node's state, in the order of their names. */
  states: NodeState[];
  /** How many nodes are in each state. */
  counts: Partial<Record<NodeState, number>>;
  width: number;
  height: number;
  /** The side of a tile, and from one tile to the next. */
  tile: number;
  rows: number;
  /** Tiles as a path, for each state that is drawn as tiles. */
  tiles: Partial<Record<NodeState, string>>;
  /** Signs in the place of single tiles. */
  marks: Mark[];
}

/** Of more nodes of a zone than this that aren't as they should be, tiles are coloured in the place of signs. */
export const MOST_MARKS = 40;
/** The half of a sign: none is cut at the edge. */
const EDGE = 6;
/** Every tenth column and row has a wider gap behind it, so that tiles can be counted. */
const BLOCK = 10;
const BLOCK_GAP = 2;

/** How large tiles are, and how many stand below one another, for so many nodes in all. */
function sizes(all: number): { tile: number; gap: number; rows: number } {
  if (all <= 60) return { tile: 14, gap: 4, rows: all <= 20 ? 1 : 2 };
  if (all <= 600) return { tile: 8, gap: 2, rows: 10 };
  return { tile: 3, gap: 1, rows: 30 };
}

export function fieldOf(zones: Zone[]): ZoneField[] {
  const nodes = (zone: Zone) => zone.runs.reduce((sum, [, count]) => sum + count, 0);
  const { tile, gap, rows } = sizes(zones.reduce((sum, zone) => sum + nodes(zone), 0));
  const at = (place: number) => EDGE + place * (tile + gap) + Math.floor(place / BLOCK) * BLOCK_GAP;
  return zones.map((zone) => {
    const all = nodes(zone);
    const deep = Math.max(1, Math.min(rows, all));
    const counts: ZoneField["counts"] = {};
    for (const [state, count] of zone.runs) counts[state] = (counts[state] ?? 0) + count;
    const odd = all - (counts.programmed ?? 0);
    const tiles: Partial<Record<NodeState, string[]>> = {};
    const marks: Mark[] = [];
    const states = zone.runs.flatMap(([state, count]) => Array<NodeState>(count).fill(state));
    for (const [index, state] of states.entries()) {
      const x = at(Math.floor(index / rows));
      const y = at(index % rows);
      if (state !== "programmed" && odd <= MOST_MARKS)
        marks.push({ index, state, x: x + tile / 2, y: y + tile / 2 });
      else {
        tiles[state] ??= [];
        tiles[state].push(`M${x} ${y}h${tile}v${tile}h-${tile}z`);
      }
    }
    return {
      zone: zone.zone,
      nodes: all,
      states,
      counts,
      width: at(Math.max(0, Math.ceil(all / rows) - 1)) + tile + EDGE,
      height: at(deep - 1) + tile + EDGE,
      tile: tile + gap,
      rows,
      tiles: Object.fromEntries(Object.entries(tiles).map(([state, parts]) => [state, parts.join("")])),
      marks,
    };
  });
}

/** Which node of a zone is at a place; -1 of none. */
export function nodeAt(field: ZoneField, x: number, y: number): number {
  const place = (of: number) => {
    const block = BLOCK * field.tile + BLOCK_GAP;
    const from = of - EDGE;
    return Math.floor(from / block) * BLOCK + Math.min(BLOCK - 1, Math.floor((from % block) / field.tile));
  };
  if (x < EDGE || y < EDGE) return -1;
  const row = place(y);
  const index = place(x) * field.rows + row;
  return row < field.rows && index < field.nodes ? index : -1;
}

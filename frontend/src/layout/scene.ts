// What the layout computes and everything else reads: places, and which object is drawn there.

import * as m from "./metrics.js";

export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Point {
  x: number;
  y: number;
}

/** Nodes that are drawn together: a grid of cells, filled row by row. A free cell is null. */
export interface Block extends Rect {
  /** The group; a block that continues a full one has the same. */
  key: string;
  /** The title and shorter ones for where there is less room: without what all blocks' titles begin, and end, with. */
  titles: string[];
  cols: number;
  /** The height of the space for the title, above the first row. */
  band: number;
  cells: readonly (string | null)[];
}

/** Where a node is, in the world. */
export interface Cell extends Rect {
  name: string;
  block: Block;
  index: number;
  row: number;
}

/** A pod (or another namespace that isn't a node's own), in its cell's coordinates. */
export interface PodTile extends Rect {
  key: string;
  node: string;
  group: number;
  /** Its wire, from the port on the bridge (or on the line of its group); empty when none leads to it. */
  wire: Point[];
  /** The link on the node's side and the one inside the pod. */
  hostLink: string | null;
  podLink: string | null;
  /** It found no place of its own, and is one of the small tiles at the bottom. */
  isSmall: boolean;
}

/** The place of a pod that is gone, until the next takes it. */
export interface Ghost extends Rect {
  label: string;
  /** When it went, in milliseconds of the page's clock. */
  at: number;
}

export type GroupKind = "bridge" | "over" | "routed" | "detached";

/**
 * Pods that share an attachment, below one line: a bridge, the device that their links lie over (macvlan,
 * ipvlan, vlan), routed veths, or nothing.
 */
export interface Group {
  kind: GroupKind;
  link: string | null;
  ifname: string;
  line: { y: number; x0: number; x1: number };
  /** How far wires are apart that run side by side. */
  wireStep: number;
  /** The middle of those, left of their tile. */
  wireMiddle: number;
  /** Between two rows of tiles. */
  rowGap: number;
  tiles: PodTile[];
}

/** A link of the node's own namespace drawn by itself: a tunnel's end on the top edge, or another device. */
export interface Device extends Rect {
  link: string;
  ifname: string;
  kind: string;
}

/** A NIC hangs on one of the underlay's lines, the first one nearest to the cell. */
export interface Nic extends Device {
  lane: number;
}

/** What is in a node's cell, in the cell's coordinates. */
export interface NodeBox {
  name: string;
  root: string | null;
  nics: Nic[];
  tunnels: Device[];
  devices: Device[];
  /** Devices for which there is no room. */
  moreDevices: number;
  groups: Group[];
  ghosts: Ghost[];
  tileByKey: Map<string, PodTile>;
  /** Pods for which not even a small tile is left. */
  morePods: number;
}

export interface Scene {
  bounds: Rect;
  blocks: Block[];
  cells: Map<string, Cell>;
  /** What is in the cells of nodes whose details are known. */
  boxes: Map<string, NodeBox>;
  /** What all nodes' names begin with, in characters. */
  common: number;
  /** What is written at each line of the underlay, the first one nearest to the cells. */
  lanes: string[];
  /** The line of a node's device. */
  laneOf(node: string, dev: string): number;
}

export const EMPTY_SCENE: Scene = {
  bounds: { x: 0, y: 0, w: 1, h: 1 },
  blocks: [],
  cells: new Map(),
  boxes: new Map(),
  common: 0,
  lanes: [],
  laneOf: () => 0,
};

/** A cell's rectangle. */
export function cellRect(block: Block, index: number): Rect {
  return {
    x: block.x + m.BLOCK_LEFT + (index % block.cols) * m.PITCH_X,
    y: rowTop(block, Math.floor(index / block.cols)),
    w: m.CELL_W,
    h: m.CELL_H,
  };
}

/** The top of a row's cells. */
export function rowTop(block: Block, row: number): number {
  return block.y + block.band + m.RAILS_H + row * m.PITCH_Y;
}

/** The rows and columns of a block that a rectangle of the world touches; `last` are exclusive. */
export function cellsWithin(block: Block, rect: Rect) {
  const rows = Math.ceil(block.cells.length / block.cols);
  const left = block.x + m.BLOCK_LEFT;
  const top = block.y + block.band;
  const clamp = (value: number, most: number) => Math.max(0, Math.min(most, value));
  return {
    firstRow: clamp(Math.floor((rect.y - top) / m.PITCH_Y), rows),
    lastRow: clamp(Math.ceil((rect.y + rect.h - top) / m.PITCH_Y), rows),
    firstCol: clamp(Math.floor((rect.x - left) / m.PITCH_X), block.cols),
    lastCol: clamp(Math.ceil((rect.x + rect.w - left) / m.PITCH_X), block.cols),
  };
}

/** The y of a line of the underlay above a row, from the top of the row's cells. */
export function laneY(lane: number): number {
  return -m.RAIL_RISE - lane * m.LANE_STEP;
}

/** The x of a line's trunk, from its block's left edge. */
export function laneX(lane: number): number {
  return m.TRUNK_OF_BLOCK - lane * 14;
}

/** The place of a tile in the world. */
export function tileRect(cell: Cell, tile: Rect): Rect {
  return { x: cell.x + tile.x, y: cell.y + tile.y, w: tile.w, h: tile.h };
}

/** The pod's tile and the cell that it is in, wherever it is. */
export function findTile(scene: Scene, key: string): { cell: Cell; tile: PodTile } | null {
  for (const [name, box] of scene.boxes) {
    const tile = box.tileByKey.get(key);
    const cell = tile && scene.cells.get(name);
    if (tile && cell) return { cell, tile };
  }
  return null;
}

/** Far away a node is a tile that fills the space of its lines, too. */
export function tileOfCell(block: Block, index: number): Rect {
  const rect = cellRect(block, index);
  const above = m.RAILS_H - m.GAP_X - (index < block.cols ? m.TITLE_OVERLAP : 0);
  return { x: rect.x, y: rect.y - above, w: rect.w, h: rect.h + above };
}

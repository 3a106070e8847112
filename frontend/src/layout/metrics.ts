// Sizes of the drawing in world units (one unit is one CSS pixel at scale 1). They never depend on what a
// cluster holds, so nothing that comes or goes changes the size of anything else.

/** A node's cell, and the space above it in which the underlay's and the overlay's lines run. */
export const CELL_W = 600;
export const CELL_H = 560;
export const GAP_X = 40;
export const RAILS_H = 140;
export const PITCH_X = CELL_W + GAP_X;
export const PITCH_Y = CELL_H + RAILS_H;

/** Around the cells of a block; at the left is the trunk that joins its rows' lines. */
export const BLOCK_LEFT = 70;
export const BLOCK_RIGHT = 40;
export const BLOCK_BOTTOM = 40;
export const BLOCK_GAP = 60;
/** The trunk of a block's first line, from its left edge; those of further lines are left of it. */
export const TRUNK_OF_BLOCK = 52;

/** Far away a title has this much of the space above its first row besides. */
export const TITLE_OVERLAP = RAILS_H - GAP_X - 60;

/** The lines above a row of cells: the first one nearest to them, then up. The overlay's are above the underlay's. */
export const RAIL_RISE = 52;
export const LANE_STEP = 20;
export const MAX_LANES = 3;

/** Inside a cell, from its top left corner. */
export const TRUNK_X = 36;
export const NIC_SIZE = 16;
export const NIC_PITCH = 150;
export const TUNNEL_R = 9;
export const TUNNEL_PITCH = 146;
/** The outermost one's name may reach this far beyond its node's edge. */
export const TUNNEL_OVERHANG = 30;
/** NICs and tunnels' ends that have room side by side on the top edge, and tunnels among them at most. */
export const MOST_EDGE = 4;
export const MOST_TUNNELS = 3;
/** Where NICs beside the first one are joined to it: between the edge and the node's name. */
export const NICS_Y = 8;
/** Where tunnels' ends are: below those, so that their lines cross nothing of the header. */
export const TUNNELS_Y = 15;
/** The middle of the node's name. */
export const HEAD_Y = 46;
export const HUB_Y = 92;
export const HUB_R = 13;
export const CHIP_Y = 80;
export const CHIP_W = 92;
export const CHIP_H = 24;
export const LINE_Y = 150;
export const PODS_X = 52;
export const PODS_Y = 170;
export const PODS_W = CELL_W - PODS_X - 18;
export const PODS_H = 346;
export const MORE_Y = 526;
export const MORE_SIZE = 10;
export const MORE_PITCH = 13;
/** Tiles in the strip of pods that found no place. */
export const MORE_MOST = Math.floor(PODS_W / MORE_PITCH);

/** How pods are arranged in a cell: chosen when a node is first seen, from the pods that it has. */
export interface Density {
  cols: number;
  rows: number;
  /** Left of each column, where the wires of its lower rows run. */
  gutter: number;
  tileW: number;
  tileH: number;
}

const COLUMNS: [cols: number, tileH: number, gap: number, gutter: number][] = [
  [2, 102, 16, 18],
  [3, 100, 16, 16],
  [3, 56, 13, 16],
  [4, 46, 11, 16],
  [3, 22, 5, 16],
  [4, 22, 5, 16],
  [5, 22, 5, 16],
  [8, 22, 7, 16],
  [10, 17, 6, 14],
  [14, 12, 5, 10],
  [20, 8, 4, 8],
];

export const DENSITIES: Density[] = COLUMNS.map(([cols, tileH, gap, gutter]) => ({
  cols,
  rows: Math.floor((PODS_H + gap) / (tileH + gap)),
  gutter,
  tileW: PODS_W / cols - gutter - 4,
  tileH,
}));

export function pitchOf(density: Density): { x: number; y: number } {
  return { x: PODS_W / density.cols, y: (PODS_H + 8) / density.rows };
}

/** The shape that the blocks are packed into; a constant, so that the picture never depends on the window. */
export const TARGET_W = 1120;
export const TARGET_H = 700;

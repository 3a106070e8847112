// Sizes of the drawing in world units (one unit is one CSS pixel at scale 1).

export const TILE_W = 108;
export const TILE_H = 50;
export const PITCH_X = 120;
export const BAR_H = 10;
export const STUB = 24;
export const ROW_PITCH = BAR_H + STUB + TILE_H + 20;
export const PAD = 20;
export const TRUNK_X = 26;
/** The spine that joins the rows of a folded bridge: the left end of its bars. */
export const SPINE_X = 36;
export const SPINE_W = 8;
export const GROUP_X = 52;
export const NIC_PITCH = 150;
export const HUB_Y = 22;
export const HEADER_H = 66;
export const DEVICE_ROW_H = 40;
export const DEVICE_W = 108;
export const DEVICE_H = 24;
export const GROUP_LABEL_H = 18;
export const NODE_GAP_X = 44;
export const NODE_GAP_Y = 56;
export const RAIL_RISE = 48;
export const UNDERLAY_TRUNK = -46;
/** Between the lines of two subnets, and how many lines there are at most. */
export const LANE_STEP = 22;
export const MAX_LANES = 4;

/** Pods that a box has room for before it changes its shape: boxes grow in steps, not by each pod. */
export const CAPACITIES = [
  2, 4, 6, 8, 12, 15, 20, 24, 30, 35, 42, 48, 56, 64, 72, 90, 110, 130, 160, 200, 256,
];

/** The area that the grid of nodes is made to fit; a constant, so that the picture never depends on the window. */
export const TARGET_W = 1600;
export const TARGET_H = 1080;

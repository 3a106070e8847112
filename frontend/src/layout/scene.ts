// What the layout computes and everything else reads: places, and which object is drawn there.

import { LANE_STEP } from "./metrics.js";

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

/** A pod (or another namespace that isn't a node's own). `wire` is null when no veth leads to it. */
export interface PodTile extends Rect {
  key: string;
  node: string;
  group: number;
  /** Where its veth's node end sits on the bar, or its wire meets the one to the device that it lies over. */
  port: Point | null;
  /** The link on the node's side and the one inside the pod. */
  hostLink: string | null;
  podLink: string | null;
}

export interface BarRow {
  y: number;
  x0: number;
  x1: number;
}

export type GroupKind = "bridge" | "over" | "routed" | "detached";

/**
 * Pods that share an attachment: a bridge's bar (folded over rows that a spine joins), the device that their
 * links lie over (macvlan, ipvlan, vlan), routed veths, or nothing.
 */
export interface Group {
  kind: GroupKind;
  link: string | null;
  ifname: string;
  rows: BarRow[];
  tiles: PodTile[];
  labelY: number;
}

/** A link of the node's own namespace drawn by itself: a NIC on the top edge or a device in the box. */
export interface Device extends Rect {
  link: string;
  ifname: string;
  kind: string;
}

/** A NIC hangs on one of the underlay's lines, the first one nearest to the box. */
export interface Nic extends Device {
  lane: number;
}

export interface NodeBox extends Rect {
  name: string;
  /** The name without what all nodes' names begin with, for where there is little room. */
  shortName: string;
  root: string | null;
  row: number;
  nics: Nic[];
  devices: Device[];
  groups: Group[];
  podCount: number;
}

/** The underlay above a row of boxes: its first line; the others are above it. */
export interface RowRail {
  y: number;
  x0: number;
  x1: number;
}

export interface Scene {
  bounds: Rect;
  nodes: NodeBox[];
  rails: RowRail[];
  /** What is written at each line of the underlay, the first one nearest to the boxes. */
  lanes: string[];
  /** The vertical line that joins the rows' rails (of the first line; others' are left of it), if there are several. */
  trunk: { x: number; y0: number; y1: number } | null;
  nodeByName: Map<string, NodeBox>;
  tileByKey: Map<string, PodTile>;
}

/** How far a line of the underlay is from the first one, up and to the left. */
export function laneOffset(lane: number): number {
  return lane * LANE_STEP;
}

export const EMPTY_SCENE: Scene = {
  bounds: { x: 0, y: 0, w: 1, h: 1 },
  nodes: [],
  rails: [],
  lanes: [],
  trunk: null,
  nodeByName: new Map(),
  tileByKey: new Map(),
};

// What is where in one node's cell. How many columns of pods there are is settled when the node is first seen;
// from then on each pod keeps its place, and the next that comes takes the first free one. Each group of pods has rows
// of its own below its line (a bridge, say), and takes a further row when it needs one. Pods that find no row
// any more are small tiles at the bottom.

import type { Graph } from "../graph/store.js";
import { type Attached, type AttachedGroup, namespaceLabel, sortNode } from "./box.js";
import type { Lanes } from "./lanes.js";
import * as m from "./metrics.js";
import type { Device, Ghost, Group, NodeBox, PodTile, Rect } from "./scene.js";
import { Slots } from "./slots.js";

/** For how long the place of a pod that is gone shows its name. */
export const GHOST_MS = 600_000;

interface RowOwner {
  group: string;
  /** The row holds the group's line, not pods. */
  isLine: boolean;
}

export class NodePlan {
  private density: m.Density | null = null;
  private readonly owners: RowOwner[] = [];
  private readonly slots = new Slots();
  private readonly small = new Slots();
  private readonly labels = new Map<string, string>();
  private readonly ghosts = new Map<number, { label: string; at: number }>();

  constructor(readonly name: string) {}

  /** Follow the node's state, and lay its cell out. */
  update(graph: Graph, lanes: Lanes, now: number): NodeBox {
    const sorted = sortNode(graph, this.name);
    const groups = new Map(sorted.groups.map((group) => [groupKey(group), group]));
    const count = sorted.groups.reduce((sum, group) => sum + group.pods.length, 0);
    this.density ??= densityFor(count, sorted.groups.length);
    this.release(groups, now);
    for (const [key, group] of groups) this.settle(key, group);
    const laid = [...groups].map(([key, group], i) => this.layGroup(key, group, i));
    const tiles = laid.flatMap((group) => group.tiles);
    const devices = sorted.devices.slice(0, MOST_CHIPS).map(chipAt);
    const tunnels = sorted.tunnels.slice(0, m.MOST_TUNNELS);
    const nics = sorted.nics.slice(0, m.MOST_EDGE - tunnels.length);
    return {
      name: this.name,
      root: graph.rootOf(this.name)?.key ?? null,
      nics: nics.map((link, i) => ({
        ...deviceOf(link, nicRect(i)),
        lane: lanes.of(this.name, link.ifname),
      })),
      tunnels: tunnels.map((link, i) => deviceOf(link, tunnelRect(i))),
      devices,
      moreDevices:
        sorted.devices.length -
        devices.length +
        (sorted.tunnels.length - tunnels.length) +
        (sorted.nics.length - nics.length),
      groups: laid,
      ghosts: this.ghostsAt(now),
      tileByKey: new Map(tiles.map((tile) => [tile.key, tile])),
      morePods: count - tiles.length,
    };
  }

  /** Free the places of what is gone, or hangs elsewhere now. */
  private release(groups: Map<string, AttachedGroup>, now: number): void {
    const groupOfPod = new Map<string, string>();
    for (const [key, group] of groups) for (const pod of group.pods) groupOfPod.set(pod.ns.key, key);
    for (const key of [...this.slots.keys()]) {
      const row = Math.floor((this.slots.get(key) ?? 0) / this.cols);
      if (groupOfPod.get(key) === this.owners[row]?.group) continue;
      const slot = this.slots.free(key);
      if (slot !== undefined && !groupOfPod.has(key))
        this.ghosts.set(slot, { label: this.labels.get(key) ?? "", at: now });
      this.labels.delete(key);
    }
    for (const key of [...this.small.keys()]) if (!groupOfPod.has(key)) this.small.free(key);
    this.owners.forEach((owner, row) => {
      if (owner.group !== "" && !groups.has(owner.group)) this.owners[row] = { group: "", isLine: false };
    });
  }

  /** Give each pod of a group a place. */
  private settle(key: string, group: AttachedGroup): void {
    const isFirst = this.owners.every((owner) => owner.group === "");
    if (!isFirst && !this.owners.some((owner) => owner.group === key)) this.claim(key, true);
    if (isFirst && group.pods.length === 0) this.claim(key, false);
    for (const pod of group.pods) {
      this.labels.set(pod.ns.key, namespaceLabel(pod.ns));
      if (this.slots.get(pod.ns.key) !== undefined || this.small.get(pod.ns.key) !== undefined) continue;
      const slot = this.freeSlot(key);
      if (slot !== null) {
        this.slots.put(pod.ns.key, slot);
        this.ghosts.delete(slot);
        continue;
      }
      const last = this.small.firstFree(m.MORE_MOST);
      if (last !== null) this.small.put(pod.ns.key, last);
    }
  }

  private get cols(): number {
    return this.density?.cols ?? 1;
  }

  private freeSlot(group: string): number | null {
    for (const [row, owner] of this.owners.entries()) {
      if (owner.group !== group || owner.isLine) continue;
      for (let slot = row * this.cols; slot < (row + 1) * this.cols; slot += 1)
        if (this.slots.at[slot] == null) return slot;
    }
    const row = this.claim(group, false);
    return row === null ? null : row * this.cols;
  }

  /** Take the first row that is nobody's. */
  private claim(group: string, isLine: boolean): number | null {
    const rows = this.density?.rows ?? 0;
    for (let row = 0; row < rows; row += 1) {
      if ((this.owners[row]?.group ?? "") !== "") continue;
      this.owners[row] = { group, isLine };
      return row;
    }
    return null;
  }

  private layGroup(key: string, group: AttachedGroup, index: number): Group {
    const lineRow = this.owners.findIndex((owner) => owner.group === key && owner.isLine);
    const line = {
      y: lineRow < 0 ? m.LINE_Y : this.rowY(lineRow) + (this.density?.tileH ?? 0),
      x0: m.PODS_X - 8,
      x1: m.PODS_X + m.PODS_W,
    };
    // A group for which there is no row has no line of its own either.
    const hasLine = lineRow >= 0 || this.owners.some((owner) => owner.group === key);
    const tiles: PodTile[] = [];
    for (const pod of group.pods) {
      const tile = this.tileOf(pod, index, group.kind === "detached" ? null : line.y);
      if (tile) tiles.push(tile);
    }
    const link = group.link;
    return {
      kind: group.kind,
      link: link?.key ?? null,
      ifname: link?.ifname ?? "",
      wireStep: wireStep(this.density as m.Density),
      wireMiddle: wireMiddle(this.density as m.Density),
      rowGap: m.pitchOf(this.density as m.Density).y - (this.density?.tileH ?? 0),
      line: hasLine ? line : { ...line, x1: line.x0 },
      tiles,
    };
  }

  private tileOf(pod: Attached, group: number, lineY: number | null): PodTile | null {
    const common = {
      key: pod.ns.key,
      node: this.name,
      group,
      hostLink: pod.hostLink?.key ?? null,
      podLink: pod.podLink?.key ?? null,
    };
    const slot = this.slots.get(pod.ns.key);
    if (slot !== undefined) {
      const rect = this.slotRect(slot);
      const wire = lineY === null ? [] : this.wireOf(slot, rect, lineY);
      return { ...common, ...rect, wire, isSmall: false };
    }
    const last = this.small.get(pod.ns.key);
    if (last === undefined) return null;
    const x = m.PODS_X + last * m.MORE_PITCH;
    return { ...common, x, y: m.MORE_Y, w: m.MORE_SIZE, h: m.MORE_SIZE, wire: [], isSmall: true };
  }

  private slotRect(slot: number): Rect {
    const density = this.density as m.Density;
    return {
      x: m.PODS_X + (slot % this.cols) * m.pitchOf(density).x + density.gutter,
      y: this.rowY(Math.floor(slot / this.cols)),
      w: density.tileW,
      h: density.tileH,
    };
  }

  private rowY(row: number): number {
    return m.PODS_Y + row * m.pitchOf(this.density as m.Density).y;
  }

  /** Right below the line a wire hangs straight; those of lower rows run down in the gutter, each in its own lane. */
  private wireOf(slot: number, rect: Rect, lineY: number): PodTile["wire"] {
    const density = this.density as m.Density;
    const row = Math.floor(slot / this.cols);
    const above = row === 0 ? m.LINE_Y : this.rowY(row - 1) + density.tileH;
    if (lineY === above) {
      const x = rect.x + rect.w / 2;
      return [
        { x, y: lineY },
        { x, y: rect.y },
      ];
    }
    // Around the middle between the tiles, so that a wire isn't taken for a tile's edge.
    const [lane, lanes] = [Math.max(0, row - 1), Math.max(1, density.rows - 1)];
    const x = rect.x - wireMiddle(density) + ((lanes - 1) / 2 - lane) * wireStep(density);
    const y = rect.y + rect.h / 2;
    return [
      { x, y: lineY },
      { x, y },
      { x: rect.x, y },
    ];
  }

  private ghostsAt(now: number): Ghost[] {
    const ghosts: Ghost[] = [];
    for (const [slot, ghost] of this.ghosts) {
      if (now - ghost.at > GHOST_MS) this.ghosts.delete(slot);
      else ghosts.push({ ...this.slotRect(slot), ...ghost });
    }
    return ghosts;
  }
}

/** Between a tile and the next one's gutter. */
const TILE_GAP = 4;

/** How far wires are apart that run side by side in a gutter. */
function wireStep(density: m.Density): number {
  return Math.min(5, (density.gutter - 3) / Math.max(1, density.rows - 1));
}

function wireMiddle(density: m.Density): number {
  return (density.gutter + TILE_GAP) / 2;
}

const MOST_CHIPS = 3;

function groupKey(group: AttachedGroup): string {
  return `${group.kind}:${group.link?.ifname ?? ""}`;
}

/** The first arrangement with room for a fifth more than there is, and for the lines of further groups. */
export function densityFor(count: number, groups: number): m.Density {
  const wanted = Math.ceil(count * 1.2) + 1;
  const fits = (density: m.Density) => density.cols * (density.rows - 2 * Math.max(0, groups - 1)) >= wanted;
  return m.DENSITIES.find(fits) ?? (m.DENSITIES.at(-1) as m.Density);
}

function deviceOf(link: { key: string; ifname: string; kind: string }, rect: Rect): Device {
  return { link: link.key, ifname: link.ifname, kind: link.kind, ...rect };
}

/** The square of a node's NIC, on the top edge. */
export function nicRect(i: number): Rect {
  const half = m.NIC_SIZE / 2;
  return { x: m.TRUNK_X - half + i * m.NIC_PITCH, y: -half, w: m.NIC_SIZE, h: m.NIC_SIZE };
}

/** Tunnels' ends are on the top edge, from the right. */
function tunnelRect(i: number): Rect {
  const r = m.TUNNEL_R;
  return { x: m.CELL_W - 168 - i * m.TUNNEL_PITCH - r, y: -r, w: 2 * r, h: 2 * r };
}

function chipAt(link: { key: string; ifname: string; kind: string }, i: number): Device {
  const x = m.CELL_W - 18 - (i + 1) * (m.CHIP_W + 8) + 8;
  return deviceOf(link, { x, y: m.CHIP_Y, w: m.CHIP_W, h: m.CHIP_H });
}

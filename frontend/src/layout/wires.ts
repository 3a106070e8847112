// The wiring of the picture, for following a packet along it. In a node everything is a tree: pod,
// port, line of its group, trunk, hub; NICs and tunnels hang off the hub. Between nodes there are the lines of the
// underlay and of the overlay, joined by a trunk at the left of each block. A path between two places goes up to where
// their branches meet and down again.

import * as m from "./metrics.js";
import type { Cell, Group, NodeBox, PodTile, Point, Scene } from "./scene.js";
import { laneX, laneY, rowTop } from "./scene.js";

/** A place that a packet can be at, named by what is there. */
export type Place =
  | { at: "pod"; node: string; key: string }
  | { at: "port"; node: string; key: string }
  | { at: "bridge"; node: string; group: number }
  | { at: "hub"; node: string }
  | { at: "nic"; node: string; link: string }
  | { at: "tunnel"; node: string; link: string }
  /** The way out of the cluster, above the node's block. */
  | { at: "outside"; node: string };

/** One wire element on the way up: its identity and the point where it is left for the next. */
interface Rung {
  id: string;
  point: Point;
}

/** Where a place is marked. */
export function placePoint(scene: Scene, place: Place): Point | undefined {
  return climb(scene, place)[0]?.point;
}

/** The way out of a block: above its first row, where its trunk ends. */
export function outsidePoint(cell: Cell): Point {
  return { x: cell.block.x + laneX(0), y: rowTop(cell.block, 0) - m.RAILS_H + 18 };
}

/** The way from a place up to its node's hub, the place first. */
function climb(scene: Scene, place: Place): Rung[] {
  const cell = scene.cells.get(place.node);
  if (!cell) return [];
  if (place.at === "outside") return [{ id: `outside:${cell.name}`, point: outsidePoint(cell) }];
  const box = scene.boxes.get(place.node);
  if (!box) return [{ id: `hub:${cell.name}`, point: { x: cell.x + m.CELL_W / 2, y: cell.y } }];
  return climbIn(box, place).map(({ id, point }) => ({
    id: `${cell.name} ${id}`,
    point: { x: cell.x + point.x, y: cell.y + point.y },
  }));
}

const HUB: Rung = { id: "hub", point: { x: m.TRUNK_X, y: m.HUB_Y } };

/** The same in the cell's own coordinates. */
function climbIn(box: NodeBox, place: Place): Rung[] {
  switch (place.at) {
    case "nic": {
      const nic = box.nics.find((item) => item.link === place.link);
      if (!nic) return [HUB];
      const x = nic.x + nic.w / 2;
      return [
        { id: `nic:${nic.link}`, point: { x, y: 0 } },
        { id: `below:${nic.link}`, point: { x, y: m.NICS_Y } },
        { id: "nics", point: { x: m.TRUNK_X, y: m.NICS_Y } },
        HUB,
      ];
    }
    case "tunnel": {
      const tunnel = box.tunnels.find((item) => item.link === place.link);
      if (!tunnel) return [HUB];
      const x = tunnel.x + tunnel.w / 2;
      return [
        { id: `tunnel:${tunnel.link}`, point: { x, y: 0 } },
        { id: `below:${tunnel.link}`, point: { x, y: m.TUNNELS_Y } },
        { id: "tunnels", point: { x: m.TRUNK_X, y: m.TUNNELS_Y } },
        HUB,
      ];
    }
    case "bridge": {
      const group = box.groups[place.group];
      return group ? [...climbLine(group, place.group), HUB] : [HUB];
    }
    case "pod":
    case "port":
      return climbTile(box, place);
    default:
      return [HUB];
  }
}

function climbTile(box: NodeBox, place: { at: string; key: string }): Rung[] {
  const tile = box.tileByKey.get(place.key);
  if (!tile) return [HUB];
  const pod: Rung = { id: `pod:${tile.key}`, point: tileEnd(tile) };
  const group = box.groups[tile.group];
  const port = tile.wire[0];
  if (!port || !group) return place.at === "pod" ? [pod, HUB] : [HUB];
  const onWay = tile.wire.slice(1, -1).map((point, i) => ({ id: `wire:${tile.key}:${i}`, point }));
  const rungs = [
    ...onWay.reverse(),
    { id: `port:${tile.key}`, point: port },
    { id: `line:${tile.group}`, point: port },
    ...climbLine(group, tile.group),
    HUB,
  ];
  return place.at === "pod" ? [pod, ...rungs] : rungs.slice(onWay.length);
}

/** Where a tile's wire ends; the middle of the top where none leads to it. */
export function tileEnd(tile: PodTile): Point {
  return tile.wire.at(-1) ?? { x: tile.x + tile.w / 2, y: tile.y };
}

/** The way off a tile, along its wire. */
export function offTile(tile: PodTile): Point {
  const [before, end] = [tile.wire.at(-2), tile.wire.at(-1)];
  return before && end && before.y === end.y ? { x: -1, y: 0 } : { x: 0, y: -1 };
}

/** From a group's line to the trunk. */
function climbLine(group: Group, index: number): Rung[] {
  return [
    { id: `foot:${index}`, point: { x: group.line.x0, y: group.line.y } },
    { id: `trunk:${index}`, point: { x: m.TRUNK_X, y: group.line.y } },
  ];
}

/** The points of the path between two places; empty when no wire is drawn between them. */
export function wirePath(scene: Scene, from: Place, to: Place): Point[] {
  if (from.at === "outside") return wirePath(scene, to, from).reverse();
  if (to.at === "outside") {
    const out = uplink(scene, from);
    return tidy([...within(scene, from, out), ...toOutside(scene, out)]);
  }
  if (from.node === to.node) return within(scene, from, to);
  const out = uplink(scene, from);
  const into = uplink(scene, to);
  return tidy([...within(scene, from, out), ...across(scene, out, into), ...within(scene, into, to)]);
}

/** What a packet leaves by: the place itself if it is a NIC or a tunnel, else the node's first NIC. */
function uplink(scene: Scene, near: Place): Place {
  if (near.at === "nic" || near.at === "tunnel") return near;
  const nic = scene.boxes.get(near.node)?.nics[0];
  return nic ? { at: "nic", node: near.node, link: nic.link } : { at: "hub", node: near.node };
}

function within(scene: Scene, from: Place, to: Place): Point[] {
  const up = climb(scene, from);
  const down = climb(scene, to);
  if (up.length === 0 || down.length === 0) return [];
  const seen = new Map(down.map((rung, i) => [rung.id, i]));
  const points: Point[] = [];
  for (const rung of up) {
    points.push(rung.point);
    const meet = seen.get(rung.id);
    if (meet === undefined) continue;
    for (let i = meet; i >= 0; i -= 1) points.push((down[i] as Rung).point);
    return tidy(points);
  }
  return [];
}

/** From a NIC up to its line, along it to the block's trunk, and up to where that ends. */
function toOutside(scene: Scene, from: Place): Point[] {
  const cell = scene.cells.get(from.node);
  const a = placePoint(scene, from);
  if (!cell || !a) return [];
  const lane = laneOf(scene, from);
  const y = cell.y + laneY(lane);
  const x = cell.block.x + laneX(lane);
  const end = outsidePoint(cell);
  return [a, { x: a.x, y }, { x, y }, { x, y: end.y }, end];
}

function across(scene: Scene, from: Place, to: Place): Point[] {
  const [cellA, cellB] = [scene.cells.get(from.node), scene.cells.get(to.node)];
  const [a, b] = [placePoint(scene, from), placePoint(scene, to)];
  if (!cellA || !cellB || !a || !b) return [];
  if (cellA.block !== cellB.block)
    return [...toOutside(scene, from), ...between(cellA, cellB), ...toOutside(scene, to).reverse()];
  // Where the ends are on two lines, something that isn't drawn leads from one to the other: above the far end.
  const lane = laneOf(scene, from);
  const [yA, yB] = [cellA.y + laneY(lane), cellB.y + laneY(lane)];
  const points: Point[] = [a, { x: a.x, y: yA }];
  if (cellA.row !== cellB.row) {
    const x = cellA.block.x + laneX(lane);
    points.push({ x, y: yA }, { x, y: yB });
  }
  points.push({ x: b.x, y: yB }, { x: b.x, y: cellB.y + laneY(laneOf(scene, to)) }, b);
  return points;
}

/** From block to block: over the space above them. */
function between(a: Cell, b: Cell): Point[] {
  const [from, to] = [outsidePoint(a), outsidePoint(b)];
  const y = Math.min(from.y, to.y);
  return [from, { x: from.x, y }, { x: to.x, y }, to];
}

/** A NIC's line; the overlay's are above those of the underlay. */
function laneOf(scene: Scene, place: Place): number {
  if (place.at === "tunnel") return scene.lanes.length;
  const nics = scene.boxes.get(place.node)?.nics;
  return (place.at === "nic" && nics?.find((nic) => nic.link === place.link)?.lane) || 0;
}

/** Drop repeated points and those in the middle of a straight run. */
export function tidy(points: Point[]): Point[] {
  const kept: Point[] = [];
  for (const point of points) {
    const last = kept[kept.length - 1];
    if (last && last.x === point.x && last.y === point.y) continue;
    const before = kept[kept.length - 2];
    if (last && before && isBetween(before, last, point)) kept.pop();
    kept.push(point);
  }
  return kept;
}

function isBetween(a: Point, b: Point, c: Point): boolean {
  const sameX = a.x === b.x && b.x === c.x && (b.y - a.y) * (c.y - b.y) >= 0;
  const sameY = a.y === b.y && b.y === c.y && (b.x - a.x) * (c.x - b.x) >= 0;
  return sameX || sameY;
}

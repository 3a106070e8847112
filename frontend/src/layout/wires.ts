// The wiring of the picture, for following a packet along it. In a node everything is a tree: pod,
// port, bar, the bridge's spine, trunk, hub; NICs and devices hang off the hub and the trunk. Between nodes there is the
// underlay. A path between two places goes up to where their branches meet and down again.

import * as m from "./metrics.js";
import type { Group, NodeBox, PodTile, Point, Scene } from "./scene.js";
import { laneOffset } from "./scene.js";

/** A place that a packet can be at, named by what is there. */
export type Place =
  | { at: "pod"; key: string }
  | { at: "port"; key: string }
  | { at: "bridge"; node: string; group: number }
  | { at: "hub"; node: string }
  | { at: "nic"; node: string; link: string }
  | { at: "device"; node: string; link: string };

/** One wire element on the way up: its identity and the point where it is left for the next. */
interface Rung {
  id: string;
  point: Point;
}

export function placeNode(scene: Scene, place: Place): string | undefined {
  return "node" in place ? place.node : scene.tileByKey.get(place.key)?.node;
}

/** Where a place is marked. */
export function placePoint(scene: Scene, place: Place): Point | undefined {
  return climb(scene, place)[0]?.point;
}

/** The way from a place up to its node's hub, the place first. */
function climb(scene: Scene, place: Place): Rung[] {
  const node = placeNode(scene, place);
  const box = node === undefined ? undefined : scene.nodeByName.get(node);
  if (!box) return [];
  const trunkX = box.x + m.TRUNK_X;
  const hub: Rung = { id: `hub:${box.name}`, point: { x: trunkX, y: box.y + m.HUB_Y } };
  switch (place.at) {
    case "hub":
      return [hub];
    case "nic": {
      const nic = box.nics.find((item) => item.link === place.link);
      if (!nic) return [hub];
      const x = nic.x + nic.w / 2;
      return [
        { id: `nic:${nic.link}`, point: { x, y: box.y } },
        { id: `hubrail:${box.name}`, point: { x, y: box.y + m.HUB_Y } },
        hub,
      ];
    }
    case "device": {
      const device = box.devices.find((item) => item.link === place.link);
      if (!device) return [hub];
      const y = device.y + device.h / 2;
      return [
        { id: `dev:${device.link}`, point: { x: device.x + device.w / 2, y } },
        { id: `trunk:${box.name}`, point: { x: trunkX, y } },
        hub,
      ];
    }
    case "bridge": {
      const group = box.groups[place.group];
      const row = group?.rows[0];
      return group && row ? [...climbBridge(box, group, place.group, row.y), hub] : [hub];
    }
    default:
      return climbTile(scene, place, box, hub);
  }
}

function climbTile(scene: Scene, place: Place & { key: string }, box: NodeBox, hub: Rung): Rung[] {
  const tile = scene.tileByKey.get(place.key);
  if (!tile) return [hub];
  const pod: Rung = { id: `pod:${tile.key}`, point: { x: tile.x + tile.w / 2, y: tile.y } };
  if (!tile.port) return [pod];
  const rungs: Rung[] = [
    { id: `port:${tile.key}`, point: tile.port },
    { id: `bar:${box.name}:${tile.group}:${tile.port.y}`, point: tile.port },
    ...climbFromBar(box, tile, tile.port),
    hub,
  ];
  return place.at === "pod" ? [pod, ...rungs] : rungs;
}

function climbFromBar(box: NodeBox, tile: PodTile, port: Point): Rung[] {
  const group = box.groups[tile.group];
  if (group?.kind === "bridge") return climbBridge(box, group, tile.group, port.y);
  return [{ id: `trunk:${box.name}`, point: { x: box.x + m.TRUNK_X, y: port.y } }];
}

/** From a row of a bridge's bar along its spine to the wire that joins it to the trunk. */
function climbBridge(box: NodeBox, group: Group, index: number, y: number): Rung[] {
  const x = box.x + m.SPINE_X + m.SPINE_W / 2;
  const first = group.rows[0]?.y ?? y;
  return [
    { id: `spine:${box.name}:${index}`, point: { x, y } },
    { id: `foot:${box.name}:${index}`, point: { x, y: first } },
    { id: `trunk:${box.name}`, point: { x: box.x + m.TRUNK_X, y: first } },
  ];
}

/** The points of the path between two places; empty when no wire is drawn between them. */
export function wirePath(scene: Scene, from: Place, to: Place): Point[] {
  const a = placeNode(scene, from);
  const b = placeNode(scene, to);
  if (a === undefined || b === undefined) return [];
  if (a === b) return within(scene, from, to);
  const out = uplink(scene, a, from);
  const into = uplink(scene, b, to);
  return tidy([...within(scene, from, out), ...across(scene, out, into), ...within(scene, into, to)]);
}

/** The NIC that a packet leaves by: the place itself if it is one, else the node's first. */
function uplink(scene: Scene, node: string, near: Place): Place {
  if (near.at === "nic") return near;
  const nic = scene.nodeByName.get(node)?.nics[0];
  return nic ? { at: "nic", node, link: nic.link } : { at: "hub", node };
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

function across(scene: Scene, from: Place, to: Place): Point[] {
  const a = placePoint(scene, from);
  const b = placePoint(scene, to);
  const boxA = scene.nodeByName.get(placeNode(scene, from) ?? "");
  const boxB = scene.nodeByName.get(placeNode(scene, to) ?? "");
  const railA = boxA && scene.rails[boxA.row];
  const railB = boxB && scene.rails[boxB.row];
  if (!a || !b || !railA || !railB) return [];
  // Where the ends are on two lines, something that isn't drawn leads from one to the other: above the far end.
  const lane = laneOffset(laneOf(boxA, from));
  const points: Point[] = [a, { x: a.x, y: railA.y - lane }];
  if (railA !== railB && scene.trunk) {
    const x = scene.trunk.x - lane;
    points.push({ x, y: railA.y - lane }, { x, y: railB.y - lane });
  }
  points.push({ x: b.x, y: railB.y - lane }, { x: b.x, y: railB.y - laneOffset(laneOf(boxB, to)) }, b);
  return points;
}

function laneOf(box: NodeBox, place: Place): number {
  return (place.at === "nic" && box.nics.find((nic) => nic.link === place.link)?.lane) || 0;
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

// From a trace's steps to places on the map, and from places to the line that is lit.

import type { NetnsObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import type { Point, Scene } from "../layout/scene.js";
import { type Place, placePoint, tidy, wirePath } from "../layout/wires.js";
import { podText } from "./format.js";
import type { Hop, Step } from "./types.js";

export interface LitPath {
  points: Point[];
  netns: Set<string>;
  nodes: Set<string>;
  /** Where each step happens, by its seq. */
  marks: Map<number, Point>;
  end: Point | null;
}

/** Steps that the node itself decides, not one of its links. */
const AT_HUB = new Set(["origin", "socket", "rule", "route", "local_in", "forward", "ttl", "rp_filter"]);

export function findNetns(graph: Graph, hop: Pick<Hop, "node" | "netns" | "pod">): NetnsObj | undefined {
  const byKey = graph.netns.get(hop.netns);
  if (byKey) return byKey;
  const pod = podText(hop.pod);
  const here = graph.netnsOf(hop.node);
  if (pod !== null) {
    const found = here.find((ns) => ns.pod && (podText(ns.pod) === pod || ns.pod.name === pod));
    if (found) return found;
  }
  return here.find((ns) => ns.name === hop.netns) ?? (pod === null ? graph.rootOf(hop.node) : undefined);
}

export function stepPlace(graph: Graph, scene: Scene, ns: NetnsObj, step: Step): Place | null {
  const { node } = ns;
  if (!ns.root) return { at: "pod", node, key: ns.key };
  const box = scene.boxes.get(node);
  const link = step.dev ? graph.linksOf(ns.key).find((item) => item.ifname === step.dev) : undefined;
  if (!scene.cells.has(node)) return null;
  if (!box || !link || AT_HUB.has(step.kind)) return { at: "hub", node };
  if (box.nics.some((nic) => nic.link === link.key)) return { at: "nic", node, link: link.key };
  if (box.tunnels.some((item) => item.link === link.key)) return { at: "tunnel", node, link: link.key };
  for (const [group, item] of box.groups.entries()) {
    if (item.link === link.key) return { at: "bridge", node, group };
    const tile = item.tiles.find((candidate) => candidate.hostLink === link.key);
    if (tile) return { at: "port", node, key: tile.key };
  }
  return { at: "hub", node };
}

/** Follow one direction of a trace over the drawn wires; a packet that `leaves` goes on to the way out. */
export function litPath(graph: Graph, scene: Scene, hops: Hop[], leaves = false): LitPath {
  const lit: LitPath = { points: [], netns: new Set(), nodes: new Set(), marks: new Map(), end: null };
  const visited: Place[] = [];
  const steps = hops.flatMap((hop) => {
    const ns = findNetns(graph, hop);
    return hop.steps.map((step) => ({ ns, step }));
  });
  steps.forEach(({ ns, step }, i) => {
    if (!ns) return;
    lit.netns.add(ns.key);
    lit.nodes.add(ns.node);
    const place = stepPlace(graph, scene, ns, step);
    if (!place) return;
    const mark = placePoint(scene, place);
    if (mark) lit.marks.set(step.seq, mark);
    // A bar is passed on the path between ports; it is a place of its own only where the path ends.
    const isPassing = place.at === "bridge" && i < steps.length - 1;
    if (!isPassing) visited.push(place);
  });
  const last = visited.at(-1);
  if (leaves && last) visited.push({ at: "outside", node: last.node });
  visited.forEach((place, i) => {
    const before = visited[i - 1];
    if (before) lit.points.push(...wirePath(scene, before, place));
    else lit.points.push(...[placePoint(scene, place)].filter((point) => point !== undefined));
  });
  lit.points = tidy(lit.points);
  lit.end = lit.points[lit.points.length - 1] ?? null;
  return lit;
}

/** Shift a line sideways (to the right of its direction), so that forward and return lie side by side. */
export function offsetPath(points: Point[], by: number): Point[] {
  if (points.length < 2) return points;
  const shifted: Point[] = [];
  for (let i = 0; i < points.length; i += 1) {
    const here = points[i] as Point;
    const into = normal(points[i - 1], here) ?? normal(here, points[i + 1]);
    const out = normal(here, points[i + 1]) ?? into;
    if (!into || !out) continue;
    if (into.x * out.x + into.y * out.y < -0.5) {
      shifted.push(move(here, into, by), move(here, out, by));
      continue;
    }
    const turn = into.x === out.x && into.y === out.y ? into : { x: into.x + out.x, y: into.y + out.y };
    shifted.push(move(here, turn, by));
  }
  return shifted;
}

function normal(a: Point | undefined, b: Point | undefined): Point | null {
  if (!a || !b) return null;
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  return length === 0 ? null : { x: -(b.y - a.y) / length, y: (b.x - a.x) / length };
}

function move(point: Point, direction: Point, by: number): Point {
  return { x: point.x + direction.x * by, y: point.y + direction.y * by };
}

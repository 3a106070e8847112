// What is lit on the map: a trace's paths and marks, or the routes of the selected node. Pure.

import type { NetnsObj, NodeRoute } from "./graph/model.js";
import type { Graph } from "./graph/store.js";
import * as m from "./layout/metrics.js";
import { findTile, type Point, type Rect, type Scene, tileRect } from "./layout/scene.js";
import { offTile, type Place, placePoint, wirePath } from "./layout/wires.js";
import type { Line, Mark, OverlayData } from "./map/overlay.js";
import type { TraceView } from "./route.js";
import { dispositionWords, failedStep, podText } from "./trace/format.js";
import { findNetns, type LitPath, litPath } from "./trace/path.js";
import type { Branch, Hop, Trace } from "./trace/types.js";
import { findEnd } from "./ui/names.js";

export interface Lit {
  overlay: OverlayData;
  netns: Set<string>;
  nodes: Set<string>;
  /** What the camera is to show: all branches, not the chosen one alone. */
  frame: { nodes: Set<string>; points: Point[] };
}

export function litTrace(graph: Graph, scene: Scene, trace: Trace, view: TraceView): Lit | null {
  const branch = trace.branches[view.branch] ?? trace.branches[0];
  if (!branch) return null;
  const forward = litPath(graph, scene, branch.forward.hops, branch.disposition === "LEFT_NETWORK");
  const others = otherWays(graph, scene, trace, branch);
  const reply = branch.reply
    ? litPath(graph, scene, branch.reply.hops, branch.reply.disposition === "LEFT_NETWORK")
    : null;
  const isReply = view.direction === "reply";
  const lines: Line[] = [{ kind: "forward", points: forward.points, active: !isReply }];
  if (reply) lines.push({ kind: "reply", points: reply.points, active: isReply });
  if (!isReply) lines.reverse();
  lines.unshift(...others.map((path): Line => ({ kind: "other", points: path.points, active: false })));
  const marks: Mark[] = [];
  const start = forward.points[0];
  const off = (hop: Hop | undefined) => offPod(scene, hop && findNetns(graph, hop));
  const [first] = branch.forward.hops;
  if (start) marks.push({ kind: "from", point: start, text: endText("from", first), off: off(first) });
  const to = endText("to", branch.forward.hops.at(-1));
  const goal = branch.disposition === "DELIVERED" ? undefined : findEnd(graph, trace.flow.dst);
  marks.push(
    ...ending(branch.disposition, branch.reason, forward, branch.forward.hops, off, to, goal !== undefined),
  );
  const goalPoint = goal && placePoint(scene, goalPlace(goal));
  if (goalPoint && !marks.some((mark) => isSamePoint(mark.point, goalPoint)))
    marks.push({
      kind: "goal",
      point: goalPoint,
      text: goal?.pod ? `to ${goal.pod.name}` : "to",
      off: offPod(scene, goal),
    });
  if (branch.reply && reply)
    marks.push(
      ...ending(branch.reply.disposition, branch.reply.reason, reply, branch.reply.hops, off, null, true),
    );
  const step = view.step === null ? undefined : (forward.marks.get(view.step) ?? reply?.marks.get(view.step));
  if (step) marks.push({ kind: "step", point: step, text: "" });
  const netns = union(forward.netns, reply?.netns, goal && [goal.key]);
  const nodes = union(forward.nodes, reply?.nodes, goal && [goal.node]);
  return {
    overlay: {
      lines,
      marks: joined(marks),
      keep: namesOf(scene, netns, nodes),
      spare: othersOf(scene, netns, nodes),
    },
    netns,
    nodes,
    frame: {
      nodes: union(forward.nodes, reply?.nodes, goal && [goal.node], ...others.map((path) => path.nodes)),
      points: [forward, reply, ...others].flatMap((path) => path?.points ?? []),
    },
  };
}

/** The way off a pod's tile, where that is drawn. */
function offPod(scene: Scene, ns: NetnsObj | undefined): Point | undefined {
  const found = ns && !ns.root ? findTile(scene, ns.key) : null;
  return found ? offTile(found.tile) : undefined;
}

/** A packet that comes back to where it came from has one mark there. */
function joined(marks: Mark[]): Mark[] {
  const from = marks.find((mark) => mark.kind === "from");
  const to = marks.find((mark) => mark.kind === "to");
  if (!from || !to || !isSamePoint(from.point, to.point)) return marks;
  to.text = from.text.replace(/^from/, "from and to");
  return marks.filter((mark) => mark !== from);
}

/** The space for a line's name, from where it is drawn. */
const NAME_H = 48;

/** Where the names of what is lit are written: the pods' tiles, and the nodes' heads. */
function namesOf(scene: Scene, netns: Set<string>, nodes: Set<string>): Rect[] {
  const rects: Rect[] = [];
  for (const name of nodes) {
    const cell = scene.cells.get(name);
    if (!cell) continue;
    rects.push({ x: cell.x + m.TRUNK_X + 20, y: cell.y + m.NICS_Y, w: m.CELL_W / 2, h: m.HUB_Y - m.NICS_Y });
    // Above it are its devices' names.
    rects.push({ x: cell.x + m.TRUNK_X, y: cell.y - m.RAIL_RISE, w: m.CELL_W / 3, h: m.RAIL_RISE });
    // And above each bridge its name.
    for (const { line } of scene.boxes.get(name)?.groups ?? [])
      rects.push({ x: cell.x + line.x0, y: cell.y + line.y - NAME_H, w: line.x1 - line.x0, h: NAME_H - 4 });
    for (const tile of scene.boxes.get(name)?.tileByKey.values() ?? [])
      if (netns.has(tile.key)) rects.push(tileRect(cell, tile));
  }
  return rects;
}

/** Where the names of pods are written that are on these nodes, and not lit. */
function othersOf(scene: Scene, netns: Set<string>, nodes: Set<string>): Rect[] {
  return [...nodes].flatMap((name) => {
    const cell = scene.cells.get(name);
    const tiles = [...(scene.boxes.get(name)?.tileByKey.values() ?? [])];
    return cell ? tiles.filter(({ key }) => !netns.has(key)).map((tile) => tileRect(cell, tile)) : [];
  });
}

/** Where a trace's goal is drawn. */
function goalPlace(ns: NetnsObj): Place {
  return ns.root ? { at: "hub", node: ns.node } : { at: "pod", node: ns.node, key: ns.key };
}

const MOST_OTHERS = 12;

/** The ways that the kernel could choose instead, each drawn once. */
function otherWays(graph: Graph, scene: Scene, trace: Trace, chosen: Branch): LitPath[] {
  const ways = new Map<string, LitPath>();
  for (const branch of trace.branches) {
    if (branch === chosen || ways.size >= MOST_OTHERS) continue;
    const path = litPath(graph, scene, branch.forward.hops);
    ways.set(JSON.stringify(path.points), path);
  }
  return [...ways.values()];
}

function isSamePoint(a: Point, b: Point): boolean {
  return a.x === b.x && a.y === b.y;
}

/** What to write at an end of the path: far away, the pod's tile has no name of its own. */
function endText(word: string, hop: Hop | undefined): string {
  const pod = hop && podText(hop.pod);
  return pod ? `${word} ${pod.split("/").at(-1)}` : word;
}

function ending(
  disposition: string,
  reason: string | null,
  path: LitPath,
  hops: Hop[],
  off: (hop: Hop | undefined) => Point | undefined,
  arrived: string | null,
  isGoalHere: boolean,
): Mark[] {
  const failed = failedStep(hops, disposition);
  if (!failed)
    return path.end && arrived ? [{ kind: "to", point: path.end, text: arrived, off: off(hops.at(-1)) }] : [];
  const place = hops.find((hop) => hop.steps.includes(failed));
  const point = path.marks.get(failed.seq) ?? path.end;
  const { tone, short } = dispositionWords(disposition, isGoalHere);
  if (!point || tone === "good") return [];
  const text = {
    good: "",
    out: "leaves the network",
    bad: markText(disposition, reason, short),
    warn: short,
  };
  return [{ kind: tone, point, text: text[tone], off: off(place) }];
}

/** On the map: the kernel's own name for a drop; else the plain word. */
function markText(disposition: string, reason: string | null, short: string): string {
  return disposition === "DROPPED" && reason ? reason : short;
}

/** What to look at for a trace: the nodes that it crosses and the path between them; and the nodes that are none of its. */
export function framing(scene: Scene, lit: Lit): { rect: Rect; others: Rect[] } {
  const boxes = [...lit.frame.nodes].flatMap((name) => scene.cells.get(name) ?? []);
  const corners = boxes.flatMap((box) => [
    { x: box.x, y: box.y },
    { x: box.x + box.w, y: box.y + box.h },
  ]);
  const points = [...lit.frame.points, ...corners];
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const margin = 16;
  const x = Math.min(...xs) - margin;
  const y = Math.min(...ys) - margin;
  const rect = { x, y, w: Math.max(...xs) - x + margin, h: Math.max(...ys) - y + margin };
  return { rect, others: [...scene.cells.values()].filter((cell) => !lit.frame.nodes.has(cell.name)) };
}

/** The lines from a node to the nodes that its routes name: along the overlay where the route's device is a tunnel. */
export function litRoutes(graph: Graph, scene: Scene, name: string): OverlayData {
  const lines: Line[] = [];
  const marks: Mark[] = [];
  const labelled = new Map<string, NodeRoute[]>();
  for (const route of graph.routes.get(name)?.routes ?? []) {
    if (!route.to_node || route.to_node === name) continue;
    labelled.set(route.to_node, [...(labelled.get(route.to_node) ?? []), route]);
  }
  for (const [to, routes] of labelled) {
    const dev = routes[0]?.dev ?? "";
    const points = wirePath(scene, endAt(graph, scene, name, dev), endAt(graph, scene, to, dev));
    const last = points[points.length - 1];
    if (!last || points.length < 2) continue;
    lines.push({ kind: "route", points, active: true });
    const more = routes.length > 1 ? ` +${routes.length - 1}` : "";
    if (labelled.size <= 40) marks.push({ kind: "label", point: last, text: `${routes[0]?.dst}${more}` });
  }
  return { lines, marks, keep: [], spare: namesOf(scene, new Set(), new Set([name, ...labelled.keys()])) };
}

/** Where a node's device is on its edge. */
function endAt(graph: Graph, scene: Scene, node: string, dev: string): Place {
  const box = scene.boxes.get(node);
  const link = box?.root ? graph.linksOf(box.root).find((item) => item.ifname === dev)?.key : undefined;
  if (link && box?.tunnels.some((item) => item.link === link)) return { at: "tunnel", node, link };
  const nic = box?.nics.find((item) => item.link === link) ?? box?.nics[0];
  return nic ? { at: "nic", node, link: nic.link } : { at: "hub", node };
}

function union(...parts: (Iterable<string> | undefined)[]): Set<string> {
  return new Set(parts.flatMap((part) => [...(part ?? [])]));
}

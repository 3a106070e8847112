import { expect, test } from "vitest";
import { makeCluster, podKey, rootKey } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import { Graph } from "../src/graph/store.js";
import { layoutScene } from "../src/layout/layout.js";
import { findTile, laneX, laneY, type Point, type Scene } from "../src/layout/scene.js";
import { outsidePoint, tidy, tileEnd, wirePath } from "../src/layout/wires.js";
import { litRoutes, litTrace } from "../src/lit.js";
import { FIRST_VIEW } from "../src/route.js";
import { findNetns, litPath, offsetPath } from "../src/trace/path.js";
import type { TraceRequest } from "../src/trace/types.js";
import { graphOf } from "./clusters.js";

const cluster = makeCluster({ nodes: 8, pods: 5, vxlan: true });
const graph = new Graph();
graph.apply(cluster);
const scene = layoutScene(graph);

const name = (key: string) => {
  const pod = graph.netns.get(key)?.pod;
  return `${pod?.namespace}/${pod?.name}`;
};
const request = (from: string, to: string): TraceRequest => ({
  from: name(from),
  to: name(to),
  proto: "tcp",
});
const forward = (from: string, to: string, fault: Parameters<typeof sampleTrace>[2] = "none") =>
  sampleTrace(cluster, request(from, to), fault).branches[0]?.forward.hops ?? [];

/** Where a pod's wire ends. */
function end(scene: Scene, key: string): Point {
  const found = findTile(scene, key);
  if (!found) throw new Error(`no tile ${key}`);
  const { x, y } = tileEnd(found.tile);
  return { x: found.cell.x + x, y: found.cell.y + y };
}

function expectOrthogonal(points: Point[]): void {
  points.slice(1).forEach((point, i) => {
    const before = points[i] as Point;
    expect(point.x === before.x || point.y === before.y).toBe(true);
  });
}

test("between pods of one bridge the path runs along the bridge and never up to the node's hub", () => {
  const lit = litPath(graph, scene, forward(podKey(1, 1), podKey(1, 2)));
  expect(lit.points[0]).toEqual(end(scene, podKey(1, 1)));
  expect(lit.end).toEqual(end(scene, podKey(1, 2)));
  const line = scene.boxes.get("node-1")?.groups[0]?.line;
  const cell = scene.cells.get("node-1");
  for (const point of lit.points) expect(point.y).toBeGreaterThanOrEqual((cell?.y ?? 0) + (line?.y ?? 0));
  expectOrthogonal(lit.points);
  expect([...lit.nodes]).toEqual(["node-1"]);
});

test("a pod of a lower row is reached through the gutter beside its column", () => {
  const box = scene.boxes.get("node-1");
  const lower = [...(box?.tileByKey.values() ?? [])].find((tile) => tile.wire.length === 3);
  if (!lower) throw new Error("no second row");
  const node = "node-1";
  const points = wirePath(scene, { at: "pod", node, key: podKey(1, 1) }, { at: "pod", node, key: lower.key });
  expect(points.at(-1)).toEqual(end(scene, lower.key));
  expectOrthogonal(points);
});

test("ways that the kernel may choose instead are drawn, and seen whole", () => {
  const trace = sampleTrace(cluster, request(podKey(1, 1), podKey(2, 3)), "branches");
  const lit = litTrace(graph, scene, trace, FIRST_VIEW);
  expect(lit?.overlay.lines.filter((line) => line.kind === "other")).not.toHaveLength(0);
  for (const line of lit?.overlay.lines ?? [])
    for (const point of line.points) expect(lit?.frame.points).toContainEqual(point);
});

test("between nodes the path leaves by the NIC, follows the rails and comes in by the NIC", () => {
  const lit = litPath(graph, scene, forward(podKey(1, 1), podKey(8, 3)));
  const [a, b] = [scene.cells.get("node-1"), scene.cells.get("node-8")];
  if (!a || !b) throw new Error("no cells");
  expect(a.row).not.toBe(b.row);
  for (const cell of [a, b]) expect(lit.points.some((point) => point.y === cell.y + laneY(0))).toBe(true);
  expect(lit.points.some((point) => point.x === a.block.x + laneX(0))).toBe(true);
  expect(lit.end).toEqual(end(scene, podKey(8, 3)));
  expectOrthogonal(lit.points);
  expect(lit.netns).toEqual(new Set([podKey(1, 1), rootKey(1), rootKey(8), podKey(8, 3)]));
});

test("a path never turns back on itself", () => {
  for (const [from, to] of [
    [podKey(1, 5), podKey(2, 4)],
    [podKey(1, 5), podKey(1, 1)],
    [podKey(7, 2), podKey(1, 3)],
  ] as const) {
    const { points } = litPath(graph, scene, forward(from, to));
    expectOrthogonal(points);
    for (let i = 2; i < points.length; i += 1) {
      const [a, b, c] = points.slice(i - 2, i + 1) as [Point, Point, Point];
      expect((b.x - a.x) * (c.x - b.x) + (b.y - a.y) * (c.y - b.y)).toBeCloseTo(0);
    }
  }
});

test("the reply's path is the forward path the other way", () => {
  const there = litPath(graph, scene, forward(podKey(1, 1), podKey(2, 3)));
  const back = litPath(graph, scene, forward(podKey(2, 3), podKey(1, 1)));
  expect([...back.points].reverse()).toEqual(there.points);
});

test("a failed trace is marked where its last step is", () => {
  const trace = sampleTrace(cluster, request(podKey(1, 1), podKey(2, 3)), "no-route");
  const lit = litTrace(graph, scene, trace, FIRST_VIEW);
  const failed = lit?.overlay.marks.filter((mark) => mark.kind === "bad") ?? [];
  const cell = scene.cells.get("node-1");
  expect(failed).toHaveLength(1);
  expect(failed[0]?.text).toBe("IP_OUTNOROUTES");
  expect(failed[0]?.point.x).toBeLessThan((cell?.x ?? 0) + (cell?.w ?? 0));
  expect(lit?.overlay.marks.some((mark) => mark.kind === "to")).toBe(false);
});

test("marks at pods stand off their names, and captions are told where names are", () => {
  const trace = sampleTrace(cluster, request(podKey(1, 1), podKey(2, 3)), "none");
  const lit = litTrace(graph, scene, trace, FIRST_VIEW);
  const ends = lit?.overlay.marks.filter((mark) => mark.kind === "from" || mark.kind === "to") ?? [];
  // Both hang from the gutter beside their column.
  expect(ends.map((mark) => mark.off)).toEqual([
    { x: -1, y: 0 },
    { x: -1, y: 0 },
  ]);
  for (const { point } of ends)
    expect(lit?.overlay.keep.some(({ x, y, h }) => x === point.x && y < point.y && point.y < y + h)).toBe(
      true,
    );
});

test("a packet that comes back to its own pod has one mark there", () => {
  const trace = sampleTrace(cluster, request(podKey(1, 1), podKey(2, 3)), "none");
  const [branch] = trace.branches;
  const [first] = branch?.forward.hops ?? [];
  if (!branch || !first) throw new Error("no branch");
  branch.forward.hops = [first, ...branch.forward.hops.slice(1, -1), { ...first }];
  const marks = litTrace(graph, scene, trace, FIRST_VIEW)?.overlay.marks ?? [];
  const ends = marks.filter((mark) => mark.kind === "from" || mark.kind === "to");
  expect(ends.map((mark) => mark.text)).toEqual([`from and to ${podName(graph, podKey(1, 1))}`]);
});

const podName = (of: typeof graph, key: string) => of.netns.get(key)?.pod?.name;

test("a packet that leaves the network goes to the way out", () => {
  const trace = sampleTrace(cluster, request(podKey(1, 1), podKey(2, 3)), "none");
  const branch = trace.branches[0];
  if (!branch) throw new Error("no branch");
  branch.disposition = "LEFT_NETWORK";
  branch.forward.hops = branch.forward.hops.slice(0, 2);
  branch.reply = null;
  const lit = litTrace(graph, scene, trace, FIRST_VIEW);
  const cell = scene.cells.get("node-1");
  expect(cell && lit?.overlay.lines.at(-1)?.points.at(-1)).toEqual(cell && outsidePoint(cell));
});

test("a chosen step is marked where its device is", () => {
  const trace = sampleTrace(cluster, request(podKey(1, 1), podKey(2, 3)), "none");
  const step = trace.branches[0]?.forward.hops[2]?.steps.find((item) => item.kind === "link_rx");
  const lit = litTrace(graph, scene, trace, {
    ...FIRST_VIEW,
    branch: 0,
    direction: "forward",
    step: step?.seq ?? -1,
    level: "steps",
  });
  const nic = scene.boxes.get("node-2")?.nics[0];
  const cell = scene.cells.get("node-2");
  const mark = lit?.overlay.marks.find((item) => item.kind === "step");
  expect(mark?.point.x).toBe((cell?.x ?? 0) + (nic?.x ?? 0) + (nic?.w ?? 0) / 2);
});

test("a namespace is found by its key, its pod or its name", () => {
  const ns = graph.netns.get(podKey(3, 2));
  expect(findNetns(graph, { node: "node-3", netns: podKey(3, 2), pod: null })).toBe(ns);
  expect(findNetns(graph, { node: "node-3", netns: "?", pod: name(podKey(3, 2)) })).toBe(ns);
  expect(findNetns(graph, { node: "node-3", netns: ns?.name ?? "", pod: null })).toBe(ns);
  expect(findNetns(graph, { node: "node-3", netns: "?", pod: null })).toBe(graph.rootOf("node-3"));
  expect(findNetns(graph, { node: "nowhere", netns: "?", pod: null })).toBeUndefined();
});

test("a hop that isn't on the map is left out of the path, not guessed", () => {
  const hops = forward(podKey(1, 1), podKey(2, 3)).map((hop, i) =>
    i === 3 ? { ...hop, node: "gone", netns: "gone", pod: null } : hop,
  );
  const lit = litPath(graph, scene, hops);
  expect(lit.nodes.has("gone")).toBe(false);
  expect(lit.end?.y).toBeLessThan(end(scene, podKey(2, 3)).y);
});

test("between two tunnels' ends the path runs along the overlay's rail", () => {
  const tunnel = (name: string) => scene.boxes.get(name)?.tunnels[0]?.link ?? "";
  const points = wirePath(
    scene,
    { at: "tunnel", node: "node-1", link: tunnel("node-1") },
    { at: "tunnel", node: "node-2", link: tunnel("node-2") },
  );
  const cell = scene.cells.get("node-1");
  expect(points[1]?.y).toBe((cell?.y ?? 0) + laneY(scene.lanes.length));
  expectOrthogonal(points);
});

test("nodes of two subnets are reached over the ways out of both", () => {
  const racks = graphOf({ nodes: 6, pods: 1, rack: 3 });
  const other = layoutScene(racks);
  const points = wirePath(other, { at: "hub", node: "node-1" }, { at: "hub", node: "node-6" });
  for (const name of ["node-1", "node-6"]) {
    const cell = other.cells.get(name);
    expect(cell && points.some((point) => point.x === outsidePoint(cell).x)).toBe(true);
  }
  expectOrthogonal(points);
});

test("routes of a node are drawn to each node that they name", () => {
  const data = litRoutes(graph, scene, "node-1");
  expect(data.lines).toHaveLength(7);
  expect(data.marks.map((mark) => mark.text)).toContain("10.244.5.0/24");
});

test("straight runs are one line; a way back over itself is kept", () => {
  const p = (x: number, y: number) => ({ x, y });
  expect(tidy([p(0, 0), p(0, 0), p(0, 5), p(0, 9), p(4, 9)])).toEqual([p(0, 0), p(0, 9), p(4, 9)]);
  expect(tidy([p(0, 0), p(0, 9), p(0, 4)])).toEqual([p(0, 0), p(0, 9), p(0, 4)]);
});

test("a line and its reverse are shifted to different sides", () => {
  const points = [
    { x: 0, y: 0 },
    { x: 10, y: 0 },
    { x: 10, y: 10 },
  ];
  expect(offsetPath(points, 2)).toEqual([
    { x: 0, y: 2 },
    { x: 8, y: 2 },
    { x: 8, y: 10 },
  ]);
  expect(offsetPath([...points].reverse(), 2).at(-1)).toEqual({ x: 0, y: -2 });
  expect(offsetPath([{ x: 0, y: 0 }], 2)).toEqual([{ x: 0, y: 0 }]);
});

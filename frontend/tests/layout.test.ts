import { expect, test } from "vitest";
import { makeCluster, podKey, rootKey } from "../dev/cluster.js";
import { Graph } from "../src/graph/store.js";
import { colsFor, commonStart } from "../src/layout/clusterplan.js";
import { groupOf, groupTitle, usefulGroupings } from "../src/layout/groups.js";
import { Layout, layoutScene } from "../src/layout/layout.js";
import * as m from "../src/layout/metrics.js";
import { naturalCompare } from "../src/layout/natural.js";
import { densityFor } from "../src/layout/nodeplan.js";
import { laneX, laneY, type Rect, type Scene } from "../src/layout/scene.js";
import { wirePath } from "../src/layout/wires.js";
import { graphOf } from "./clusters.js";

function overlap(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

const plain = (scene: Scene) => ({
  cells: [...scene.cells.values()].map(({ name, x, y }) => [name, x, y]).sort(),
  boxes: [...scene.boxes.entries()].sort(([a], [b]) => (a < b ? -1 : 1)),
});

test("natural order puts numbers in their order", () => {
  const names = ["web-10", "web-2", "api", "web-2a", "web-02", "node-1"];
  expect(names.sort(naturalCompare)).toEqual(["api", "node-1", "web-02", "web-2", "web-2a", "web-10"]);
});

test("the same cluster is drawn the same by every page that opens, in whatever order it arrives", () => {
  const cluster = makeCluster({ nodes: 7, pods: 9, troubled: true, vxlan: true, rack: 3 });
  const forward = new Graph();
  forward.apply(cluster);
  const backward = new Graph();
  backward.apply({
    ...cluster,
    nodes: [...cluster.nodes].reverse(),
    netns: [...cluster.netns].reverse(),
    links: [...cluster.links].reverse(),
  });
  expect(plain(layoutScene(backward))).toEqual(plain(layoutScene(forward)));
});

test.each([
  { nodes: 1, pods: 1 },
  { nodes: 3, pods: 5, vxlan: true },
  { nodes: 20, pods: 30, troubled: true },
  { nodes: 90, pods: 3, rack: 11 },
  { nodes: 4, pods: 110 },
  { nodes: 2, pods: 250 },
])("nothing overlaps, and pods lie inside their cells: %o", (options) => {
  const scene = layoutScene(graphOf(options));
  expect(scene.cells.size).toBe(options.nodes);
  const cells = [...scene.cells.values()];
  expect(pairsThatOverlap(cells)).toBe(0);
  for (const cell of cells) {
    const { block } = cell;
    expect(cell.x >= block.x && cell.x + cell.w <= block.x + block.w).toBe(true);
    expect(cell.y >= block.y + block.band && cell.y + cell.h <= block.y + block.h).toBe(true);
  }
  expect(pairsThatOverlap(scene.blocks)).toBe(0);
  for (const box of scene.boxes.values()) {
    const tiles = [...box.tileByKey.values()];
    expect(tiles).toHaveLength(options.pods);
    expect(pairsThatOverlap(tiles)).toBe(0);
    const outside = tiles.filter(
      (tile) =>
        tile.x < m.PODS_X || tile.y < m.LINE_Y || tile.x + tile.w > m.CELL_W || tile.y + tile.h > m.CELL_H,
    );
    expect(outside).toEqual([]);
    const turns = tiles.flatMap((tile) => tile.wire.slice(0, -1));
    const covered = turns.filter((point) => tiles.some((tile) => inside(point, tile)));
    expect(covered, "a wire crosses a tile").toEqual([]);
  }
});

function pairsThatOverlap(rects: Rect[]): number {
  let count = 0;
  rects.forEach((rect, i) => {
    for (let j = i + 1; j < rects.length; j += 1) if (overlap(rect, rects[j] as Rect)) count += 1;
  });
  return count;
}

function inside(point: { x: number; y: number }, rect: Rect): boolean {
  return point.x > rect.x && point.x < rect.x + rect.w && point.y > rect.y && point.y < rect.y + rect.h;
}

test("no two wires of a bridge run in one line but along the bridge", () => {
  for (const pods of [30, 110]) {
    const scene = layoutScene(graphOf({ nodes: 1, pods }));
    const ports = [...(scene.boxes.get("node-1")?.tileByKey.values() ?? [])].map((tile) => tile.wire[0]?.x);
    expect(new Set(ports).size).toBe(pods);
  }
});

test("what hangs where: bridge ports, routed veths, detached namespaces, tunnels, NICs", () => {
  const cluster = makeCluster({ nodes: 1, pods: 3, vxlan: true });
  const routed = cluster.links.find((link) => link.peer === `${podKey(1, 2)}/2`);
  const lonely = cluster.links.find((link) => link.key === `${podKey(1, 3)}/2`);
  if (!routed || !lonely) throw new Error("the fixture has changed");
  routed.master = null;
  lonely.peer = null;
  const graph = new Graph();
  graph.apply(cluster);
  const box = layoutScene(graph).boxes.get("node-1");
  expect(box?.groups.map((group) => [group.kind, group.tiles.map((tile) => tile.key)])).toEqual([
    ["bridge", [podKey(1, 1)]],
    ["routed", [podKey(1, 2)]],
    ["detached", [podKey(1, 3)]],
  ]);
  const lines = box?.groups.map((group) => group.line.y) ?? [];
  expect(new Set(lines).size).toBe(3);
  expect(box?.nics.map((nic) => nic.ifname)).toEqual(["eth0"]);
  expect(box?.tunnels.map((device) => device.ifname)).toEqual(["flannel.1"]);
  expect(box?.devices).toEqual([]);
  expect(box?.root).toBe(rootKey(1));
});

test("pods whose links lie over a device of the node hang at that device", () => {
  const cluster = makeCluster({ nodes: 1, pods: 2 });
  const eth0 = `${rootKey(1)}/2`;
  const inner = cluster.links.find((link) => link.key === `${podKey(1, 2)}/2`);
  if (!inner) throw new Error("the fixture has changed");
  Object.assign(inner, { kind: "macvlan", peer: null, peer_state: null, lower: eth0 });
  const graph = new Graph();
  graph.apply(cluster);
  const box = layoutScene(graph).boxes.get("node-1");
  const over = box?.groups.find((group) => group.kind === "over");
  expect([over?.link, over?.ifname, over?.tiles.map((tile) => tile.key)]).toEqual([
    eth0,
    "eth0",
    [podKey(1, 2)],
  ]);
  expect(over?.tiles[0]?.wire).not.toEqual([]);
  expect(box?.groups.some((group) => group.kind === "detached")).toBe(false);
  expect(box?.nics.map((nic) => nic.link)).toContain(eth0);
});

test("links that lead nowhere else are devices without a wire, not uplinks", () => {
  const cluster = makeCluster({ nodes: 1, pods: 1 });
  const eth0 = cluster.links.find((link) => link.key === `${rootKey(1)}/2`);
  if (!eth0) throw new Error("the fixture has changed");
  const extra = { addrs: [], master: null, peer: null, peer_state: null };
  const add = (ifname: string, kind: string, ifindex: number) =>
    cluster.links.push({ ...eth0, ...extra, key: `${rootKey(1)}/${ifindex}`, ifname, kind, ifindex });
  add("ifb0", "ifb", 40);
  add("ifb1", "ifb", 41);
  add("idle0", "", 42);
  add("dummy0", "dummy", 43);
  add("tap7", "tun", 44);
  const graph = new Graph();
  graph.apply(cluster);
  const box = layoutScene(graph).boxes.get("node-1");
  expect(box?.nics.map((nic) => nic.ifname)).toEqual(["eth0"]);
  expect(box?.tunnels.map((device) => device.ifname)).toEqual(["tap7"]);
  expect(box?.devices.map((device) => device.ifname)).toEqual(["dummy0", "idle0", "ifb0"]);
  expect(box?.moreDevices).toBe(1);
});

test("few nodes stand in a row, and many fill a shape like the window's", () => {
  expect(colsFor(3, true)).toBe(4);
  expect(colsFor(5, true)).toBe(3);
  const scene = layoutScene(graphOf({ nodes: 20, pods: 1 }));
  const aspect = scene.bounds.w / scene.bounds.h;
  expect(aspect).toBeGreaterThan(1);
  expect(aspect).toBeLessThan(2.2);
});

test("pods have room for a fifth more before any is only a small tile", () => {
  for (const count of [0, 1, 5, 30, 110, 250]) {
    const { cols, rows } = densityFor(count, 1);
    expect(cols * rows).toBeGreaterThanOrEqual(count * 1.2);
  }
  expect(densityFor(5, 1).tileH).toBeGreaterThan(densityFor(30, 1).tileH);
});

test("a cluster without nodes has an empty scene", () => {
  expect(layoutScene(new Graph()).cells.size).toBe(0);
});

test("nodes are put together by subnet, by the stem of their names, or not at all", () => {
  const graph = graphOf({ nodes: 9, pods: 1, rack: 3 });
  const scene = layoutScene(graph);
  expect(scene.blocks.map((block) => block.titles)).toEqual([
    ["10.31.1.0/24", "1.0/24", "1"],
    ["10.31.2.0/24", "2.0/24", "2"],
    ["10.31.3.0/24", "3.0/24", "3"],
  ]);
  expect(layoutScene(graph, "none").blocks).toHaveLength(1);
  const node = graph.nodes.get("node-1");
  if (!node) throw new Error("no node-1");
  const stem = (name: string) => groupOf({ ...node, name }, "name");
  expect(stem("worker-0641")).toBe("worker-");
  expect(stem("ip-10-0-1-4.ec2.internal")).toBe("ip-10-0-1-");
  expect(stem("pool-a-x7kq")).toBe("pool-a-");
  expect(groupOf({ ...node, subnets: [] }, "subnet")).toBe("");
});

test("what all titles begin with ends at a sign", () => {
  expect(commonStart(["10.31.1.0", "10.31.12.0"])).toBe(6);
  expect(commonStart(["alpha", "beta"])).toBe(0);
  expect(commonStart(["alone"])).toBe(0);
});

/** Every node of the cluster has a second NIC on the subnet that `subnetOf` gives it. */
function twoNics(nodes: number, subnetOf: (node: number) => string): Graph {
  const cluster = makeCluster({ nodes, pods: 2 });
  for (let n = 1; n <= nodes; n += 1) {
    const eth0 = cluster.links.find((link) => link.key === `${rootKey(n)}/2`);
    const node = cluster.nodes[n - 1];
    if (!eth0 || !node) throw new Error("the fixture has changed");
    const addr = `${subnetOf(n).replace("0/24", String(n + 1))}/24`;
    cluster.links.push({ ...eth0, key: `${rootKey(n)}/5`, ifname: "eth1", ifindex: 5, addrs: [addr] });
    node.addrs = [...node.addrs, addr];
    node.subnets = [...node.subnets, { dev: "eth1", subnet: subnetOf(n) }];
  }
  const graph = new Graph();
  graph.apply(cluster);
  return graph;
}

test("each subnet of nodes with two NICs has a line of its own, and a path stays on it", () => {
  const scene = layoutScene(twoNics(8, () => "172.31.0.0/24"));
  expect(scene.lanes).toEqual(["172.18.0.0/24", "172.31.0.0/24"]);
  for (const box of scene.boxes.values())
    expect(box.nics.map((nic) => [nic.ifname, nic.lane])).toEqual([
      ["eth0", 0],
      ["eth1", 1],
    ]);
  const [a, b] = [scene.cells.get("node-1"), scene.cells.get("node-8")];
  if (!a || !b) throw new Error("no cells");
  expect(a.row).not.toBe(b.row);
  const nic = (name: string) => scene.boxes.get(name)?.nics[1]?.link ?? "";
  const points = wirePath(
    scene,
    { at: "nic", node: "node-1", link: nic("node-1") },
    { at: "nic", node: "node-8", link: nic("node-8") },
  );
  const [yA, yB] = [a.y + laneY(1), b.y + laneY(1)];
  expect(points.slice(1, -1).map((point) => point.y)).toEqual([yA, yA, yB, yB]);
  expect(points[2]?.x).toBe(a.block.x + laneX(1));
});

test("subnets that no node is on both of share a line, and many subnets don't make many lines", () => {
  const zones = layoutScene(twoNics(4, (n) => `172.31.${n % 2}.0/24`));
  expect(zones.lanes).toEqual(["172.18.0.0/24", "underlay"]);
  const graph = graphOf({ nodes: 2, pods: 1 });
  const node = graph.nodes.get("node-1");
  const subnets = Array.from({ length: 9 }, (_, i) => ({ dev: `eth${i}`, subnet: `10.${i}.0.0/16` }));
  if (node) node.subnets = subnets;
  expect(layoutScene(graph).lanes).toHaveLength(m.MAX_LANES);
  expect(layoutScene(graphOf({ nodes: 3, pods: 1 })).lanes).toEqual(["underlay"]);
});

test("nodes are put together by zone, by a label, by their pods' namespace; what isn't known is a group of its own", () => {
  const graph = graphOf({ nodes: 12, pods: 2, zones: 3 });
  expect(usefulGroupings(graph.nodes.values())).toEqual(["zone", "namespace", "none", "label:role"]);
  const lost = graph.nodes.get("node-5");
  if (!lost?.kube) throw new Error("the fixture has changed");
  lost.kube = { ...lost.kube, zone: "" };
  const scene = layoutScene(graph, "zone");
  expect(scene.blocks.map((block) => block.titles[0])).toEqual([
    "zone-1",
    "zone-2",
    "zone-3",
    "Zone not known",
  ]);
  expect(scene.cells.get("node-5")?.block.key).toBe("");
  expect(layoutScene(graph, "label:role").blocks.map((block) => block.key)).toEqual(["edge", "worker"]);
  expect(groupTitle("shop", "namespace")).toBe("mostly shop");
});

test("a node stays where it is though most of its pods are in another namespace now", () => {
  const graph = graphOf({ nodes: 6, pods: 2 });
  const layout = new Layout(graph, "namespace");
  layout.update({ nodes: true, details: new Set() }, 0);
  const before = { ...layout.scene.cells.get("node-2") };
  Object.assign(graph.nodes.get("node-2") ?? {}, { namespace: "elsewhere" });
  layout.update({ nodes: true, details: new Set() }, 0);
  expect(layout.scene.cells.get("node-2")).toEqual(before);
});

test("what all nodes' names begin with is known, and of a single node nothing is", () => {
  expect(layoutScene(graphOf({ nodes: 12, pods: 1 })).common).toBe("node-".length);
  expect(layoutScene(graphOf({ nodes: 1, pods: 1 })).common).toBe(0);
});

import { expect, test } from "vitest";
import { makeCluster, makePod, podKey, rootKey } from "../dev/cluster.js";
import type { Delta } from "../src/graph/model.js";
import { Graph } from "../src/graph/store.js";
import { columnsFor } from "../src/layout/box.js";
import { commonStart, layoutScene, nodesPerRow } from "../src/layout/layout.js";
import { LANE_STEP } from "../src/layout/metrics.js";
import { naturalCompare } from "../src/layout/natural.js";
import type { Rect, Scene } from "../src/layout/scene.js";
import { wirePath } from "../src/layout/wires.js";
import { graphOf } from "./clusters.js";

function places(scene: Scene): Map<string, Rect> {
  return new Map([...scene.tileByKey].map(([key, { x, y, w, h }]) => [key, { x, y, w, h }]));
}

function overlap(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

test("natural order puts numbers in their order", () => {
  const names = ["web-10", "web-2", "api", "web-2a", "web-02", "node-1"];
  expect(names.sort(naturalCompare)).toEqual(["api", "node-1", "web-02", "web-2", "web-2a", "web-10"]);
});

test("the same cluster is drawn the same, in whatever order it arrives", () => {
  const cluster = makeCluster({ nodes: 7, pods: 9, troubled: true, vxlan: true });
  const forward = new Graph();
  forward.apply(cluster);
  const backward = new Graph();
  backward.apply({
    ...cluster,
    nodes: [...cluster.nodes].reverse(),
    netns: [...cluster.netns].reverse(),
    links: [...cluster.links].reverse(),
  });
  expect(layoutScene(backward)).toEqual(layoutScene(forward));
});

test("a pod added and removed leaves the picture as it was", () => {
  const graph = graphOf({ nodes: 3, pods: 5 });
  const before = layoutScene(graph);
  const { ns, links } = makePod(2, 9, 50, false);
  const message: Delta = { type: "delta", base: 1, revision: 2, upsert: { netns: [ns], links }, remove: {} };
  graph.apply(message);
  const during = layoutScene(graph);
  expect(during.tileByKey.has(ns.key)).toBe(true);
  const keys = links.map((link) => link.key);
  graph.apply({ ...message, base: 2, revision: 3, upsert: {}, remove: { netns: [ns.key], links: keys } });
  expect(layoutScene(graph)).toEqual(before);
});

test("a new pod moves only the pods that follow it in its own box", () => {
  const graph = graphOf({ nodes: 3, pods: 5 });
  const before = places(layoutScene(graph));
  const { ns, links } = makePod(2, 9, 3, false);
  ns.pod = { namespace: "shop", name: "d-between" };
  graph.apply({ type: "delta", base: 1, revision: 2, upsert: { netns: [ns], links }, remove: {} });
  const after = layoutScene(graph);
  const nameOf = (key: string) => graph.netns.get(key)?.pod?.name ?? "";
  for (const [key, place] of before) {
    const tile = after.tileByKey.get(key);
    const follows = tile?.node === "node-2" && naturalCompare(nameOf(key), "d-between") > 0;
    const { x, y, w, h } = tile as Rect;
    if (follows) expect({ x, y, w, h }, key).not.toEqual(place);
    else expect({ x, y, w, h }, key).toEqual(place);
  }
});

test.each([
  { nodes: 1, pods: 1 },
  { nodes: 3, pods: 5, vxlan: true },
  { nodes: 20, pods: 30, troubled: true },
])("nothing overlaps, and pods lie inside their boxes: %o", (options) => {
  const scene = layoutScene(graphOf(options));
  expect(scene.tileByKey.size).toBe(options.nodes * options.pods);
  scene.nodes.forEach((box, i) => {
    for (const other of scene.nodes.slice(i + 1)) expect(overlap(box, other)).toBe(false);
    const tiles = box.groups.flatMap((group) => group.tiles);
    tiles.forEach((tile, j) => {
      for (const other of tiles.slice(j + 1)) expect(overlap(tile, other)).toBe(false);
      expect(tile.x >= box.x && tile.y >= box.y).toBe(true);
      expect(tile.x + tile.w <= box.x + box.w && tile.y + tile.h <= box.y + box.h).toBe(true);
    });
    for (const device of box.devices) for (const tile of tiles) expect(overlap(device, tile)).toBe(false);
  });
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
  const [box] = layoutScene(graph).nodes;
  expect(box?.groups.map((group) => [group.kind, group.tiles.map((tile) => tile.key)])).toEqual([
    ["bridge", [podKey(1, 1)]],
    ["routed", [podKey(1, 2)]],
    ["detached", [podKey(1, 3)]],
  ]);
  expect(box?.nics.map((nic) => nic.ifname)).toContain("eth0");
  expect(box?.devices.map((device) => device.ifname)).toEqual(["flannel.1"]);
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
  const [box] = layoutScene(graph).nodes;
  const over = box?.groups.find((group) => group.kind === "over");
  expect([over?.link, over?.ifname, over?.tiles.map((tile) => tile.key)]).toEqual([
    eth0,
    "eth0",
    [podKey(1, 2)],
  ]);
  expect(over?.tiles[0]?.port).not.toBeNull();
  expect(box?.groups.some((group) => group.kind === "detached")).toBe(false);
  expect(box?.nics.map((nic) => nic.link)).toContain(eth0);
});

test("links that lead nowhere else are devices in the box, not uplinks", () => {
  const cluster = makeCluster({ nodes: 1, pods: 1 });
  const eth0 = cluster.links.find((link) => link.key === `${rootKey(1)}/2`);
  if (!eth0) throw new Error("the fixture has changed");
  const extra = { addrs: [], peer: null, peer_state: null };
  cluster.links.push(
    { ...eth0, ...extra, key: "d", ifname: "idle0", ifindex: 43, kind: "" },
    { ...eth0, ...extra, key: "a", ifname: "tap7", ifindex: 40, kind: "tun" },
    {
      ...eth0,
      ...extra,
      key: "b",
      ifname: "pair0",
      ifindex: 41,
      kind: "veth",
      peer: "c",
      peer_state: "proved",
    },
    {
      ...eth0,
      ...extra,
      key: "c",
      ifname: "pair1",
      ifindex: 42,
      kind: "veth",
      peer: "b",
      peer_state: "proved",
    },
  );
  const graph = new Graph();
  graph.apply(cluster);
  const [box] = layoutScene(graph).nodes;
  expect(box?.nics.map((nic) => nic.ifname)).toEqual(["eth0"]);
  expect(box?.devices.map((device) => device.ifname)).toEqual(["idle0", "pair0", "pair1", "tap7"]);
});

test("a grid is full rather than lopsided, and few nodes stand in a row", () => {
  const boxes = (count: number) => Array.from({ length: count }, () => ({ h: 700 }));
  expect(nodesPerRow(boxes(20), 660)).toBe(5);
  expect(nodesPerRow(boxes(1), 660)).toBe(1);
  expect(layoutScene(graphOf({ nodes: 3, pods: 5 })).rails).toHaveLength(1);
});

test("boxes change their shape in steps", () => {
  expect(columnsFor(5)).toBe(columnsFor(6));
  expect(columnsFor(25)).toBe(columnsFor(30));
  expect(columnsFor(300)).toBeGreaterThan(columnsFor(30));
});

test("a cluster without nodes has an empty scene", () => {
  expect(layoutScene(new Graph()).nodes).toEqual([]);
});

test("what all names begin with ends at a sign or at a digit", () => {
  expect(commonStart(["node-1", "node-12", "node-2"])).toBe(5);
  expect(commonStart(["ip-10-0-1-4.ec2", "ip-10-0-1-17.ec2"])).toBe(10);
  expect(commonStart(["node1", "node12"])).toBe(4);
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
  for (const box of scene.nodes)
    expect(box.nics.map((nic) => [nic.ifname, nic.lane])).toEqual([
      ["eth0", 0],
      ["eth1", 1],
    ]);
  const [a, b] = [scene.nodes[0], scene.nodes.at(-1)];
  const [nicA, nicB] = [a?.nics[1], b?.nics[1]];
  if (!a || !b || !nicA || !nicB || !scene.trunk) throw new Error("no second row");
  const points = wirePath(
    scene,
    { at: "nic", node: a.name, link: nicA.link },
    { at: "nic", node: b.name, link: nicB.link },
  );
  const rails = [a, b].map((box) => (scene.rails[box.row]?.y ?? 0) - LANE_STEP);
  expect(points.slice(1, -1).map((point) => point.y)).toEqual([rails[0], rails[0], rails[1], rails[1]]);
  expect(points[2]?.x).toBe(scene.trunk.x - LANE_STEP);
  expect(Math.min(...rails)).toBeGreaterThan(scene.bounds.y);
});

test("subnets that no node is on both of share a line, and many subnets don't make many lines", () => {
  const zones = layoutScene(twoNics(4, (n) => `172.31.${n % 2}.0/24`));
  expect(zones.lanes).toEqual(["172.18.0.0/24", "underlay"]);
  const graph = graphOf({ nodes: 2, pods: 1 });
  const node = graph.nodes.get("node-1");
  const subnets = Array.from({ length: 9 }, (_, i) => ({ dev: `eth${i}`, subnet: `10.${i}.0.0/16` }));
  if (node) node.subnets = subnets;
  expect(layoutScene(graph).lanes).toHaveLength(4);
  expect(layoutScene(graphOf({ nodes: 3, pods: 1 })).lanes).toEqual(["underlay"]);
});

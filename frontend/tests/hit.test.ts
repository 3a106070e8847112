import { expect, test } from "vitest";
import { layoutScene } from "../src/layout/layout.js";
import { findTile } from "../src/layout/scene.js";
import { fitTransform } from "../src/map/camera.js";
import { hitAt, nodeAt, type Target } from "../src/map/hit.js";
import { nextTarget } from "../src/map/keys.js";
import { graphOf } from "./clusters.js";

const graph = graphOf({ nodes: 3, pods: 5, vxlan: true });
const scene = layoutScene(graph);

test("every pod is found at its middle, its port at the bridge, the wire between them, its node beside them", () => {
  for (const box of scene.boxes.values())
    for (const tile of box.tileByKey.values()) {
      const cell = scene.cells.get(tile.node);
      const [port, next] = tile.wire;
      if (!cell || !port || !next) throw new Error("a pod without a wire");
      const middle = [cell.x + tile.x + tile.w / 2, cell.y + tile.y + tile.h / 2] as const;
      expect(hitAt(scene, ...middle, "pods", 4)).toEqual({ type: "pod", key: tile.key });
      expect(hitAt(scene, ...middle, "card", 4)).toEqual({ type: "node", name: tile.node });
      const at = [cell.x + port.x, cell.y + port.y] as const;
      expect(hitAt(scene, ...at, "pods", 4)).toEqual({ type: "link", key: tile.hostLink });
      const below = cell.y + (port.y + next.y) / 2 + 2;
      expect(hitAt(scene, at[0], below, "pods", 4)).toEqual({ type: "link", key: tile.podLink });
    }
  const cell = scene.cells.get("node-2");
  const corner = [(cell?.x ?? 0) + 3, (cell?.y ?? 0) + (cell?.h ?? 0) - 3] as const;
  expect(hitAt(scene, ...corner, "pods", 2)).toEqual({ type: "node", name: "node-2" });
  expect(hitAt(scene, -500, -500, "pods", 4)).toBeNull();
});

test("NICs, tunnels and bridges are found where they are drawn", () => {
  const cell = scene.cells.get("node-1");
  const box = scene.boxes.get("node-1");
  const [nic, tunnel, line] = [box?.nics[0], box?.tunnels[0], box?.groups[0]?.line];
  if (!cell || !nic || !tunnel || !line) throw new Error("the fixture has changed");
  expect(hitAt(scene, cell.x + nic.x + 2, cell.y, "pods", 2)).toEqual({ type: "link", key: nic.link });
  expect(hitAt(scene, cell.x + tunnel.x + 2, cell.y, "pods", 2)).toEqual({ type: "link", key: tunnel.link });
  expect(hitAt(scene, cell.x + line.x1 - 1, cell.y + line.y + 1, "pods", 2)).toEqual({
    type: "link",
    key: box?.groups[0]?.link,
  });
});

test("in a large cluster the node at a point is the one whose cell is there", () => {
  const large = layoutScene(graphOf({ nodes: 300, pods: 1, rack: 40 }));
  for (const cell of large.cells.values()) expect(nodeAt(large, cell.x + 9, cell.y + 9)).toBe(cell.name);
});

test("the arrow keys reach every pod, and every node from far", () => {
  for (const [amongPods, count] of [
    [true, 15],
    [false, 3],
  ] as const) {
    const reached = new Map<string, Target>();
    const queue = [nextTarget(scene, null, "ArrowRight", amongPods)];
    while (queue.length > 0) {
      const stop = queue.pop();
      const id = JSON.stringify(stop?.target);
      if (!stop || reached.has(id)) continue;
      reached.set(id, stop.target);
      for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"])
        queue.push(nextTarget(scene, stop.target, key, amongPods));
    }
    expect(reached.size).toBe(count);
  }
});

test("from a pod one comes to the next node, where only nodes are drawn", () => {
  const key = [...(scene.boxes.get("node-1")?.tileByKey.keys() ?? [])][0] ?? "";
  expect(findTile(scene, key)?.cell.name).toBe("node-1");
  expect(nextTarget(scene, { type: "pod", key }, "ArrowRight", false)?.target).toEqual({
    type: "node",
    name: "node-2",
  });
});

test("fitting shows the whole rectangle, centred", () => {
  const rect = { x: -50, y: 20, w: 1000, h: 400 };
  const { k, x, y } = fitTransform(rect, 1200, 800, 4);
  expect(rect.x * k + x).toBeGreaterThanOrEqual(0);
  expect((rect.x + rect.w) * k + x).toBeLessThanOrEqual(1200);
  expect(rect.y * k + y).toBeGreaterThanOrEqual(0);
  expect((rect.y + rect.h) * k + y).toBeLessThanOrEqual(800);
  expect((rect.x + rect.w / 2) * k + x).toBeCloseTo(600);
});

import { expect, test } from "vitest";
import { podKey } from "../dev/cluster.js";
import { layoutScene } from "../src/layout/layout.js";
import { fitTransform } from "../src/map/camera.js";
import { HitIndex } from "../src/map/hit.js";
import { nextTile } from "../src/map/keys.js";
import { graphOf } from "./clusters.js";

const graph = graphOf({ nodes: 3, pods: 5, vxlan: true });
const scene = layoutScene(graph);
const hits = new HitIndex(scene);

test("every pod is found at its middle, its port at the bar, its node beside them", () => {
  for (const tile of scene.tileByKey.values()) {
    expect(hits.at(tile.x + tile.w / 2, tile.y + tile.h / 2)).toEqual({ type: "pod", key: tile.key });
    if (!tile.port) throw new Error("a pod without a port");
    expect(hits.at(tile.port.x, tile.port.y)).toEqual({ type: "link", key: tile.hostLink });
    expect(hits.at(tile.port.x, tile.port.y, true)).toEqual({ type: "node", name: tile.node });
  }
  const box = scene.nodes[1];
  expect(hits.at((box?.x ?? 0) + 3, (box?.y ?? 0) + (box?.h ?? 0) - 3)).toEqual({
    type: "node",
    name: "node-2",
  });
  expect(hits.at(-500, -500)).toBeNull();
});

test("the arrow keys reach every pod", () => {
  const reached = new Set<string>();
  const queue = [nextTile(scene, null, "ArrowRight")];
  while (queue.length > 0) {
    const tile = queue.pop();
    if (!tile || reached.has(tile.key)) continue;
    reached.add(tile.key);
    for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"])
      queue.push(nextTile(scene, tile.key, key));
  }
  expect(reached.size).toBe(15);
  expect(reached.has(podKey(3, 5))).toBe(true);
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

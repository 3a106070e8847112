import { expect, test } from "vitest";
import { CELL_W } from "../src/layout/metrics.js";
import type { Rect } from "../src/layout/scene.js";
import { Labels } from "../src/map/labels.js";
import { LEVELS, levelAt } from "../src/map/level.js";

test("a label takes the first place that is free, and none that is taken", () => {
  const labels = new Labels();
  const rect = (x: number, y = 0) => ({ x, y, w: 50, h: 14 });
  labels.block(rect(0));
  expect(labels.place([rect(20), rect(60)])).toEqual(rect(60));
  expect(labels.place([rect(20), rect(90)])).toBeNull();
  expect(labels.place([rect(0, 14)])).toEqual(rect(0, 14));
});

test("of many labels at random places no two cover each other", () => {
  const labels = new Labels();
  const placed: Rect[] = [];
  let state = 7;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * below;
  };
  for (let i = 0; i < 500; i += 1) {
    const rect = labels.place([{ x: random(900) - 100, y: random(500) - 50, w: 20 + random(90), h: 14 }]);
    if (rect) placed.push(rect);
  }
  expect(placed.length).toBeGreaterThan(50);
  placed.forEach((a, i) => {
    for (const b of placed.slice(i + 1))
      expect(a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h).toBe(false);
  });
});

test("each level follows the width of a node, and is left only a tenth beyond its border", () => {
  const at = (width: number, before: (typeof LEVELS)[number] | null) => levelAt(width / CELL_W, before);
  expect([10, 52, 120, 260, 480].map((width) => at(width, null))).toEqual([...LEVELS]);
  expect(at(270, "card")).toBe("card");
  expect(at(290, "card")).toBe("pods");
  expect(at(250, "pods")).toBe("pods");
  expect(at(230, "pods")).toBe("card");
  expect(at(10, "links")).toBe("tile");
});

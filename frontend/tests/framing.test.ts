import { expect, test } from "vitest";
import { fitAlone } from "../src/map/camera.js";
import { windowStart } from "../src/map/framing.js";

const COLUMNS = [0, 640, 1280, 1920].map((from) => ({ from, to: from + 600 }));

/** The columns that are seen in part, with how much of them. */
function cut(start: number, length: number): number[] {
  return COLUMNS.map(({ from, to }) => (Math.min(to, start + length) - Math.max(from, start)) / 600).filter(
    (part) => part > 0.01 && part < 0.99,
  );
}

test("of what is beside a node no sliver is left at the window's edge, if that can be", () => {
  for (const length of [640, 670, 900, 1200, 1280, 1500, 2000]) {
    const others = COLUMNS.filter(({ from }) => from !== 640);
    const start = windowStart({ from: 624, to: 1256 }, others, length);
    expect(start <= 624 && start + length >= 1256, "what is wanted is shown").toBe(true);
    expect(
      cut(start, length).filter((part) => part < 0.3),
      `${length}`,
    ).toEqual([]);
  }
});

test("without others it is in the middle, and the window holds it with room for the hint below", () => {
  expect(windowStart({ from: 100, to: 300 }, [], 400)).toBe(0);
  const rect = { x: 0, y: 0, w: 1240, h: 560 };
  const { k, x, y } = fitAlone(rect, [], 1000, 700, 2);
  expect(rect.x * k + x).toBeCloseTo(0);
  expect((rect.x + rect.w) * k + x).toBeCloseTo(1000);
  expect(rect.y * k + y).toBeGreaterThanOrEqual(20);
  expect((rect.y + rect.h) * k + y).toBeLessThanOrEqual(700 - 58);
});

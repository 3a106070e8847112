import { expect, test } from "vitest";
import type { Rect } from "../src/layout/scene.js";
import { type Captioned, placeCaptions } from "../src/map/captions.js";

const SIZE = { width: 600, height: 400 };
const mark = (x: number, y: number, width = 90): Captioned => ({
  at: { x, y },
  r: 10,
  width,
  isOptional: false,
});
const isApart = (a: Rect, b: Rect) =>
  a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
const disc = ({ at, r }: Captioned): Rect => ({ x: at.x - r, y: at.y - r, w: 2 * r, h: 2 * r });

test.each([
  ["one place, as a packet that is lost where it starts", [mark(300, 200), mark(300, 200)]],
  ["the left edge", [mark(6, 200), mark(6, 200, 140)]],
  ["the right edge", [mark(594, 200), mark(590, 214)]],
  ["the upper corner", [mark(4, 4), mark(30, 8)]],
  ["a crowd", [mark(300, 200), mark(310, 205), mark(320, 195), mark(305, 215)]],
])("captions at %s cover nothing and aren't cut off", (_, marks) => {
  const keep = [{ x: 260, y: 212, w: 120, h: 60 }];
  const found = placeCaptions(marks, keep, [], SIZE).map((rect) => rect as Rect);
  found.forEach((rect, i) => {
    expect(rect.x >= 0 && rect.y >= 0 && rect.x + rect.w <= 600 && rect.y + rect.h <= 400).toBe(true);
    for (const other of [...marks.map(disc), ...keep, ...found.slice(i + 1)])
      expect(isApart(rect, other)).toBe(true);
  });
});

test("where names are everywhere a caption that matters is shown, and another is left out", () => {
  const keep = [{ x: 0, y: 0, w: 600, h: 400 }];
  const [matters, optional] = placeCaptions(
    [mark(300, 200), { ...mark(100, 200), isOptional: true }],
    keep,
    [],
    SIZE,
  );
  expect(matters).not.toBeNull();
  expect(optional).toBeNull();
});

test("a caption stays off the names of what isn’t lit, unless there is no other room", () => {
  const tiles = [{ x: 305, y: 150, w: 120, h: 100 }];
  const [beside] = placeCaptions([mark(300, 200)], [], tiles, SIZE);
  expect(beside && isApart(beside, tiles[0] as Rect)).toBe(true);
  const [anywhere] = placeCaptions([mark(300, 200)], [], [{ x: 0, y: 0, w: 600, h: 400 }], SIZE);
  expect(anywhere).not.toBeNull();
});

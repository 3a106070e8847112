import { describe, expect, it } from "vitest";
import type { Zone } from "../src/kube.js";
import { fieldOf, MOST_MARKS, nodeAt } from "../src/layout/field.js";
import { fieldWords } from "../src/ui/field.js";

const LARGE: Zone[] = ["a", "b", "c"].map((zone) => ({
  zone,
  runs: [
    ["programmed", 700],
    ["missing", 2],
    ["programmed", 900],
    ["unknown", 1],
    ["programmed", 64],
  ],
}));

describe("the field of nodes", () => {
  it("gives each node one tile or one sign, and finds it again by its place", () => {
    const [field] = fieldOf(LARGE);
    if (!field) throw new Error("no field");
    expect(field.nodes).toBe(1667);
    expect(field.counts).toEqual({ programmed: 1664, missing: 2, unknown: 1 });
    expect(field.tiles.programmed?.match(/M/g)?.length).toBe(1664);
    expect(field.marks.map((mark) => [mark.index, mark.state])).toEqual([
      [700, "missing"],
      [701, "missing"],
      [1602, "unknown"],
    ]);
    for (const mark of field.marks) expect(nodeAt(field, mark.x, mark.y)).toBe(mark.index);
    const places = field.tiles.programmed?.matchAll(/M(\d+) (\d+)/g) ?? [];
    const found = [...places].map(([, x, y]) => nodeAt(field, Number(x) + 1, Number(y) + 1));
    expect(new Set(found).size).toBe(1664);
    expect(field.width).toBeLessThan(260);
    expect(field.height).toBeLessThan(150);
    expect(nodeAt(field, 0, 0)).toBe(-1);
    expect(nodeAt(field, field.width, field.height)).toBe(-1);
    expect(fieldWords(field)).toBe("1,667 nodes in a: 1,664 programmed, 2 missing, 1 not known");
  });

  it("colours tiles in the place of signs where many aren't as they should be", () => {
    const [field] = fieldOf([
      {
        zone: null,
        runs: [
          ["unknown", MOST_MARKS + 1],
          ["programmed", 1],
        ],
      },
    ]);
    expect(field?.marks).toEqual([]);
    expect(field?.tiles.unknown?.match(/M/g)?.length).toBe(MOST_MARKS + 1);
  });

  it("has large tiles for a few nodes", () => {
    const [field] = fieldOf([{ zone: null, runs: [["programmed", 3]] }]);
    expect([field?.tile, field?.rows, field?.nodes]).toEqual([18, 1, 3]);
  });
});

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { LINKS, STEPS, TABLES, THINGS, thingText } from "../src/learn/texts.js";
import { STEP_KINDS } from "../src/trace/format.js";

test("each kind of step has an explanation, and none is of a kind that there isn't", () => {
  expect(Object.keys(STEPS).sort()).toEqual([...STEP_KINDS].sort());
});

test("each of a namespace's tables has one", () => {
  const source = readFileSync(new URL("../src/ui/detail.ts", import.meta.url), "utf8");
  const tabs = [...source.matchAll(/^ {2}tab\("(\w+)"|^ {4}id: "(\w+)"/gm)].map(
    (found) => found[1] ?? found[2],
  );
  expect(tabs.length).toBeGreaterThan(6);
  expect(Object.keys(TABLES).sort()).toEqual(tabs.sort());
});

test("they are short sentences", () => {
  for (const texts of [THINGS, LINKS, TABLES, STEPS])
    for (const [kind, text] of Object.entries(texts)) {
      expect(text.length, kind).toBeLessThan(190);
      expect(text, kind).toMatch(/^[A-Z].*[.?]$/);
    }
  expect(thingText("link", "veth")).toContain("virtual cable");
  expect(thingText("link", "something new")).toBe("");
});

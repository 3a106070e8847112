// A style sheet is one part's, and its classes are used by that part's modules alone: a name that two parts use has
// broken the one's look by the other's rule before. What all parts share is in page.css and shared.css.

import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const SRC = new URL("../src/", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, SRC), "utf8");

/** The modules of each sheet's part, by the beginning of their paths. */
const PARTS: Record<string, string[]> = {
  "map.css": ["map/", "mappane", "share/picture", "ui/chrome", "ui/keyhelp"],
  "stage.css": ["map/stage", "map/bar"],
  "problems.css": ["ui/problem", "ui/strip", "ui/tracestrip", "ui/reach", "ui/chrome"],
  "faults.css": ["ui/faultspanel"],
  "arrivals.css": ["ui/arrivalsnote"],
  "kube.css": [
    ...["ui/field", "ui/kube", "ui/matrix", "ui/narrow", "ui/policy", "ui/programming", "ui/tracetable"],
    "ui/traffic",
  ],
  "observe.css": [
    ...["ui/observepart", "ui/capturepart", "ui/connections", "ui/dropspart", "ui/playback", "ui/steps"],
    "mappane",
  ],
  "panels.css": [
    ...[
      "app",
      "ui/answer",
      "ui/chains",
      "ui/compose",
      "ui/currency",
      "ui/datatable",
      "ui/detail",
      "ui/errors",
      "ui/faultspanel",
    ],
    ...["ui/heading", "ui/inspector", "ui/kubefacts", "ui/observepart", "ui/podfilterbox", "ui/rateview"],
    ...["ui/sparkline", "ui/steps", "ui/traceform", "ui/tracepanel"],
  ],
};
const SHARED = ["page.css", "shared.css"];
const sheets = readdirSync(new URL("style/", SRC)).filter((name) => name.endsWith(".css"));

/** The first class of each selector that isn't within something else. */
function classesOf(sheet: string): Set<string> {
  const css = read(`style/${sheet}`).replace(/\/\*[\s\S]*?\*\//g, "");
  const selectors = [...css.matchAll(/([^{}]+)\{/g)].flatMap(([, list = ""]) => list.split(/,(?![^(]*\))/));
  const firsts = selectors.map((one) => /^[a-z]*\.([\w-]+)/.exec(one.trim())?.[1]);
  return new Set(firsts.filter((name) => name !== undefined));
}

/** What modules call their elements: the words in `class: …`, also where they are put together. */
function usesOf(module: string): Set<string> {
  const texts = [...read(module).matchAll(/class(?:Name)?\b"?\s*[:=]\s*(?:"([^"]*)"|`([^`]*)`)/g)];
  return new Set(
    texts.flatMap(([, plain, made]) => (plain ?? made ?? "").replace(/\$\{[^}]*\}/g, " ").split(/\s+/)),
  );
}

const modules = (readdirSync(SRC, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".ts"))
  .map((name) => ({ name, uses: usesOf(name) }));

test("every style sheet is a part’s, or shared", () => {
  expect([...Object.keys(PARTS), ...SHARED].sort()).toEqual(sheets.sort());
});

test.each(Object.keys(PARTS))("no other part uses a class of %s", (sheet) => {
  const own = PARTS[sheet] as string[];
  const found = modules
    .filter(({ name }) => !own.some((start) => name.startsWith(start)))
    .flatMap(({ name, uses }) =>
      [...classesOf(sheet)].filter((one) => uses.has(one)).map((one) => `${one} in ${name}`),
    );
  expect(found).toEqual([]);
});

test("no two sheets look after one class", () => {
  const found = sheets.flatMap((sheet, i) =>
    sheets.slice(i + 1).flatMap((other) => {
      const theirs = classesOf(other);
      return [...classesOf(sheet)]
        .filter((one) => theirs.has(one))
        .map((one) => `${one}: ${sheet}, ${other}`);
    }),
  );
  expect(found).toEqual([]);
});

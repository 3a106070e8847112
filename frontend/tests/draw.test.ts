// What is drawn, by a recorded pen: sixteen scenes.

import { describe, expect, test } from "vitest";
import { makeCluster, podKey, rootKey } from "../dev/cluster.js";
import { Graph } from "../src/graph/store.js";
import { cellGrid } from "../src/map/drawcard.js";
import type { Level } from "../src/map/level.js";
import { graphOf } from "./clusters.js";
import { type Drawn, drawGraph, SIZE, type Text } from "./pen.js";

function pairsThatOverlap(texts: Text[]): string[] {
  const found: string[] = [];
  texts.forEach((a, i) => {
    for (const b of texts.slice(i + 1)) {
      const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
      if (!apart) found.push(`${a.text} over ${b.text}`);
    }
  });
  return found;
}

/** Texts that a line runs through which nothing was drawn over before them. */
function struck({ texts, lines, rects }: Pick<Drawn, "texts" | "lines" | "rects">): string[] {
  return texts.flatMap((text) => {
    const [top, bottom] = [text.y + 1, text.y + text.h - 1];
    const plates = rects.filter(
      ({ rect, order }) =>
        order < text.order &&
        rect.x <= text.x &&
        rect.y <= text.y &&
        rect.x + rect.w >= text.x + text.w &&
        rect.y + rect.h >= text.y + text.h,
    );
    const ground = Math.max(0, ...plates.map((plate) => plate.order));
    const through = lines.some(
      ({ from, to, order }) =>
        order > ground &&
        Math.min(from.x, to.x) < text.x + text.w - 1 &&
        Math.max(from.x, to.x) > text.x + 1 &&
        Math.min(from.y, to.y) < bottom &&
        Math.max(from.y, to.y) > top,
    );
    return through ? [text.text] : [];
  });
}

const SCENES: [name: string, options: Parameters<typeof graphOf>[0], at: Level | "whole" | number][] = [
  ["three nodes whole", { nodes: 3, pods: 5, vxlan: true, troubled: true }, "whole"],
  ["one node whole", { nodes: 1, pods: 1 }, "whole"],
  ["20 nodes whole", { nodes: 20, pods: 30, troubled: true }, "whole"],
  ["racks of seven whole", { nodes: 20, pods: 30, rack: 7 }, "whole"],
  ["1,000 nodes in racks whole", { nodes: 1000, pods: 1, rack: 40, troubled: true }, "whole"],
  ["names in tiles", { nodes: 80, pods: 3, rack: 40 }, "name"],
  ["cards with tunnels", { nodes: 20, pods: 30, vxlan: true, troubled: true }, "card"],
  ["pods, near", { nodes: 20, pods: 30, vxlan: true, troubled: true }, "pods"],
  ["links, nearest", { nodes: 20, pods: 30, vxlan: true, troubled: true }, "links"],
  ["pods, as far as they are drawn", { nodes: 3, pods: 5, vxlan: true, troubled: true }, 262],
  ["links, as far as they are drawn", { nodes: 3, pods: 5, vxlan: true, troubled: true }, 482],
  ["two NICs with links, as far as they are drawn", { nodes: 3, pods: 5, twoNics: true }, 482],
  ["few pods, nearest", { nodes: 3, pods: 5, vxlan: true }, "links"],
  ["two NICs, near", { nodes: 3, pods: 5, twoNics: true, troubled: true }, "pods"],
  ["two NICs and a tunnel, whole", { nodes: 9, pods: 12, twoNics: true, vxlan: true }, "whole"],
  ["30 pods on each of three nodes", { nodes: 3, pods: 30, vxlan: true, troubled: true }, 286],
  ["110 pods on a node", { nodes: 4, pods: 110 }, "pods"],
  ["250 pods on a node", { nodes: 2, pods: 250 }, "links"],
];

describe.each(SCENES)("%s", (_, options, at) => {
  const drawn = drawGraph(graphOf(options), at);

  test("no text lies over another, and none is empty or of a fourth size", () => {
    expect(pairsThatOverlap(drawn.texts)).toEqual([]);
    expect(drawn.texts.filter((text) => text.text.trim() === "")).toEqual([]);
    expect(
      [...new Set(drawn.texts.map((text) => text.h))].filter((size) => size !== 11 && size !== 13),
    ).toEqual([]);
  });

  test("no line runs through a text", () => {
    expect(struck(drawn)).toEqual([]);
  });

  test("nothing is written where nobody can see it, and no far tile is written on", () => {
    const margin = 400;
    const seen = drawn.texts.filter(
      (text) => text.x < SIZE.width + margin && text.x + text.w > -margin && text.y < SIZE.height + margin,
    );
    expect(seen).toHaveLength(drawn.texts.length);
    if (drawn.level !== "tile") return;
    const tiles = drawn.rects.filter(({ colour }) => colour === "tile").map(({ rect }) => rect);
    const covered = drawn.texts.filter((text) =>
      tiles.some(
        (r) =>
          text.x < r.x + r.w && r.x < text.x + text.w && text.y + 2 < r.y + r.h && r.y < text.y + text.h - 2,
      ),
    );
    expect(covered).toEqual([]);
  });
});

const texts = (drawn: { texts: Text[] }) => drawn.texts.map((text) => text.text);

test("a bridge is one thin line with a port for each pod", () => {
  const drawn = drawGraph(graphOf({ nodes: 1, pods: 5 }), "pods");
  const ports = drawn.rects.filter(({ rect, colour }) => colour === "text" && rect.w <= 4 && rect.h <= 8);
  expect(ports).toHaveLength(5);
  expect(texts(drawn)).toEqual(expect.arrayContaining(["cni0", "10.244.1.1/24", "MTU 1500"]));
});

test("each state has its own shape: a cross, a diagonal, a dashed outline", () => {
  const graph = graphOf({ nodes: 1000, pods: 1, rack: 40, troubled: true });
  const states = [...graph.nodes.values()];
  const drawn = drawGraph(graph, "whole");
  const errors = states.filter((node) => node.connected && node.health === "error").length;
  const warnings = states.filter((node) => node.connected && node.health === "warning").length;
  const marked = (colour: string) =>
    drawn.rects.filter((one) => one.colour === colour && one.rect.w > 8).length;
  expect(errors).toBeGreaterThan(0);
  expect(marked("bad-fill")).toBe(errors);
  expect(marked("warn-fill")).toBeGreaterThanOrEqual(warnings);
  expect(drawn.strokes.get("on-bad")).toBeGreaterThanOrEqual(errors);
  expect(drawn.strokes.get("on-warn")).toBeGreaterThanOrEqual(warnings);
  expect(drawn.dashes).toBeGreaterThan(0);
});

test("a problem at the node's end of a pod's link marks its port, with a bridge and without", () => {
  const cluster = makeCluster({ nodes: 3, pods: 5, troubled: true });
  const [problem] = cluster.problems;
  const ports = cluster.links.filter((one) => one.netns === rootKey(3) && one.ifname.startsWith("veth"));
  const [link] = ports;
  if (!link || !problem) throw new Error("the fixture has changed");
  problem.where = { node: "node-3", netns: "", dev: link.ifname, key: rootKey(3) };
  const marked = (snapshot: typeof cluster) => {
    const graph = new Graph();
    graph.apply(snapshot);
    const { rects } = drawGraph(graph, "pods");
    return rects.filter(({ rect, colour }) => colour === "bad-fill" && rect.w <= 4 && rect.h <= 8).length;
  };
  const without = marked({ ...cluster, problems: [] });
  expect(marked(cluster)).toBe(without + 1);
  for (const port of ports) Object.assign(port, { master: null, port_state: null });
  expect(marked(cluster)).toBe(without + 1);
});

test("what is down is dashed in red, and an error at a link that is up is not", () => {
  const redWires = (adjust: (cluster: ReturnType<typeof makeCluster>) => void) => {
    const cluster = makeCluster({ nodes: 3, pods: 5 });
    adjust(cluster);
    const graph = new Graph();
    graph.apply(cluster);
    const { lines } = drawGraph(graph, "pods");
    return lines.filter((line) => line.colour === "bad" && line.from.x === line.to.x);
  };
  expect(redWires(() => {})).toEqual([]);
  const [erring] = makeCluster({ nodes: 3, pods: 5, troubled: true }).problems;
  const atNic = redWires((cluster) => {
    if (erring)
      cluster.problems = [{ ...erring, where: { node: "node-1", netns: "", dev: "eth0", key: rootKey(1) } }];
  });
  expect(atNic.map((line) => line.isDashed)).toEqual([false]);
  const down = redWires((cluster) => {
    const nic = cluster.links.find((link) => link.netns === rootKey(1) && link.ifname === "eth0");
    if (nic) nic.up = false;
  });
  expect(down.map((line) => line.isDashed)).toEqual([true]);
});

test("a wire to a pod of a second row runs between the tiles, and ends in a mark", () => {
  const drawn = drawGraph(graphOf({ nodes: 1, pods: 5 }), "pods");
  const box = drawn.layout.scene.boxes.get("node-1");
  const tiles = box?.groups.flatMap((group) => group.tiles) ?? [];
  const beside = tiles.filter((tile) => tile.wire.length > 2);
  expect(beside.length).toBeGreaterThan(0);
  for (const { wire } of beside) {
    const x = wire[1]?.x ?? 0;
    for (const tile of tiles)
      expect(Math.min(Math.abs(tile.x - x), Math.abs(tile.x + tile.w - x))).toBeGreaterThan(6);
  }
  const ends = drawn.rects.filter(({ rect, colour }) => colour === "wire" && Math.min(rect.w, rect.h) === 2);
  expect(ends).toHaveLength(tiles.length);
});

test("a node with a problem says how many pods it has all the same", () => {
  for (const at of ["name", "card", "pods", "links"] as const) {
    const drawn = drawGraph(graphOf({ nodes: 3, pods: 5, troubled: true }), at);
    expect(texts(drawn), at).toContain("5 pods");
  }
});

test("all groups say how many they are, or none; what their titles leave out is told", () => {
  const drawn = drawGraph(graphOf({ nodes: 1000, pods: 1, rack: 40, troubled: true }), "whole");
  const counts = texts(drawn).filter((text) => /^\d+$/.test(text));
  expect([0, 25]).toContain(counts.length);
  const titles = texts(drawn).filter((text) => /^\d/.test(text) && !counts.includes(text));
  expect(titles).toHaveLength(25);
  expect(new Set(titles.map((title) => title.split(".").length)).size).toBe(1);
  if (!titles[0]?.startsWith("10.31.")) expect(drawn.told.leftOut).toMatch(/^10\.31\.…/);
});

test("far away there is room between all tiles, those of the first row too", () => {
  const { rects } = drawGraph(graphOf({ nodes: 1000, pods: 1, rack: 40 }), "whole");
  const tiles = rects.filter(({ colour }) => colour === "tile").map(({ rect }) => rect);
  expect(tiles.length).toBe(1000);
  for (const x of new Set(tiles.map((tile) => tile.x))) {
    const sorted = tiles.filter((tile) => tile.x === x).sort((a, b) => a.y - b.y);
    sorted.slice(1).forEach((tile, i) => {
      const before = sorted[i] as (typeof sorted)[0];
      expect(tile.y - before.y - before.h).toBeGreaterThanOrEqual(1);
    });
  }
});

test("a card shows a cell for each pod, those with problems first", () => {
  const drawn = drawGraph(graphOf({ nodes: 20, pods: 30 }), "card");
  const cells = drawn.rects.filter(({ rect, colour }) => colour === "tile" && rect.w < 12);
  expect(cells.length % 30).toBe(0);
  expect(cells.length).toBeGreaterThan(0);
  expect(cellGrid(100, 60, 30)).toEqual({ pitch: 12, cols: 8 });
  expect(cellGrid(100, 10, 300)).toBeNull();
});

test("what is lit is drawn full and the rest is dimmed; what is selected has a ring", () => {
  const graph = graphOf({ nodes: 3, pods: 5 });
  const ring = (drawn: ReturnType<typeof drawGraph>) => drawn.strokes.get("text") ?? 0;
  const plain = drawGraph(graph, "pods");
  const selected = drawGraph(graph, "pods", (picture) => {
    picture.selected = { type: "pod", key: podKey(1, 1) };
  });
  expect(ring(selected)).toBe(ring(plain) + 1);
  const lit = drawGraph(graph, "whole", (picture) => {
    picture.lit = { nodes: new Set(["node-1"]), netns: new Set([podKey(1, 1)]) };
  });
  expect(texts(lit)).toContain("node-3");
});

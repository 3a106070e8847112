import { describe, expect, test } from "vitest";
import { makeCluster, podKey, rootKey } from "../dev/cluster.js";
import { Graph } from "../src/graph/store.js";
import { FIRST_LOOK, lookIn, withLook } from "../src/look.js";
import type { Target } from "../src/map/hit.js";
import { findClashes } from "../src/overlays/addresses.js";
import { makeOverlay } from "../src/overlays/all.js";
import { OVERLAYS, type OverlayId } from "../src/overlays/overlay.js";
import { contains, parsePrefix } from "../src/overlays/prefix.js";
import { saysOf } from "../src/overlays/says.js";
import { bitsText, KEPT_MS, Rates } from "../src/rates.js";
import { formatRoute, parseRoute } from "../src/route.js";
import { sparkOf } from "../src/ui/sparkline.js";
import { graphOf } from "./clusters.js";
import { drawGraph } from "./pen.js";

type Counted = { rate: number[] | null; dropped: number; errors: number };

function ratesOf(links: Record<string, Counted>): Rates {
  return new Rates(async () => ({ nodes: { "node-1": { every_s: 10, links } } }));
}

const noRates = () => ratesOf({});
const on = (graph: Graph, id: OverlayId, rates = noRates()) => makeOverlay(id, graph, rates);
const node = (graph: Graph, name: string) => {
  const found = graph.nodes.get(name);
  if (!found) throw new Error(`no ${name}`);
  return found;
};
const link = (graph: Graph, key: string) => {
  const found = graph.links.get(key);
  if (!found) throw new Error(`no ${key}`);
  return found;
};

/** A page of a large cluster: it holds the details of no node. */
function withoutDetails(): Graph {
  const graph = new Graph();
  graph.apply({ ...makeCluster({ nodes: 3, pods: 5 }), netns: [], links: [], routes: [] });
  return graph;
}

test.each(OVERLAYS)("%s: what isn't held isn't spoken of, and every tone is in the legend", (id) => {
  const far = withoutDetails();
  const overlay = on(far, id);
  const isOfNodes = id === "problems" || id === "staleness" || id === "addresses";
  expect(overlay.node(node(far, "node-1")).tone === "unknown").toBe(!isOfNodes);
  expect(overlay.gap() === "").toBe(isOfNodes);
  const near = graphOf({ nodes: 5, pods: 5, troubled: true, vxlan: true, twoNics: true });
  const shown = on(near, id);
  const tones = [
    ...[...near.nodes.values()].map((one) => shown.node(one).tone),
    ...[...near.links.values()].map((one) => shown.link(one).tone),
  ].filter((tone) => tone !== "none" && tone !== "ok");
  const legend = new Set(shown.legend.map(([tone]) => tone));
  for (const tone of tones) expect(legend).toContain(tone);
});

test.each(OVERLAYS)("%s: no label lies over another", (id) => {
  const graph = graphOf({ nodes: 9, pods: 12, troubled: true, vxlan: true });
  for (const at of ["name", "card", "pods", "links"] as const) {
    const { texts } = drawGraph(graph, at, (picture) => {
      picture.overlay = on(graph, id);
    });
    const over = texts.flatMap((a, i) =>
      texts
        .slice(i + 1)
        .filter((b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h)
        .map((b) => `${a.text} over ${b.text}`),
    );
    expect(over, at).toEqual([]);
  }
});

describe("traffic", () => {
  const graph = graphOf({ nodes: 2, pods: 2 });
  const [nic, port, inside] = [`${rootKey(1)}/2`, `${rootKey(1)}/11`, `${podKey(1, 1)}/2`];
  const pod = graph.netns.get(podKey(1, 1));
  if (!pod) throw new Error("no pod");

  test("a rate that isn't known is never none, and none is never unknown", async () => {
    const rates = ratesOf({
      [nic]: { rate: [250_000, 1_000, 1, 1, 0, 0], dropped: 0, errors: 0 },
      [port]: { rate: [0, 0, 0, 0, 0, 0], dropped: 0, errors: 0 },
      [inside]: { rate: null, dropped: 0, errors: 0 },
    });
    const traffic = on(graph, "traffic", rates);
    expect(traffic.link(link(graph, nic))).toEqual({ tone: "unknown", label: "" });
    await rates.poll();
    traffic.forget();
    expect(traffic.link(link(graph, nic))).toEqual({ tone: "r2", label: "in 2 Mb/s, out 8 kb/s" });
    expect(traffic.link(link(graph, port))).toEqual({ tone: "none", label: "no traffic" });
    expect(traffic.link(link(graph, inside)).tone).toBe("unknown");
    expect(traffic.node(node(graph, "node-1")).label).toBe("in 2 Mb/s, out 8 kb/s");
    expect(traffic.node(node(graph, "node-2")).tone).toBe("unknown");
  });

  test("a pod's in and out are its own, also where only the node's end was read", async () => {
    const rates = ratesOf({ [port]: { rate: [1_000, 500, 1, 1, 0, 0], dropped: 0, errors: 0 } });
    await rates.poll();
    const shade = on(graph, "traffic", rates).pod(pod, link(graph, port), link(graph, inside));
    expect(shade.label).toBe("in 4 kb/s, out 8 kb/s");
  });

  test("what was dropped before isn't dropped now", async () => {
    const rates = ratesOf({
      [nic]: { rate: [0, 0, 0, 0, 0, 0], dropped: 12, errors: 1 },
      [port]: { rate: [0, 0, 0, 0, 2.5, 0], dropped: 80, errors: 0 },
      [inside]: { rate: null, dropped: 3, errors: 0 },
    });
    await rates.poll();
    const drops = on(graph, "drops", rates);
    expect(drops.link(link(graph, nic))).toEqual({ tone: "r2", label: "12 dropped, 1 errors before" });
    expect(drops.link(link(graph, port))).toEqual({ tone: "warn", label: "2.5 dropped/s" });
    expect(drops.link(link(graph, inside)).tone).toBe("unknown");
    expect(drops.node(node(graph, "node-1"))).toEqual({ tone: "warn", label: "drops on 1 link" });
  });
});

test("rates: what was known is known no more when nobody follows it or the server doesn't answer", async () => {
  let fails = false;
  let at = 0;
  const rates = new Rates(
    async (nodes) => {
      if (fails) throw new Error("away");
      const rate = [8, 0, 0, 0, 0, 0];
      return { nodes: { [nodes[0] ?? ""]: { every_s: 10, links: { a: { rate, dropped: 0, errors: 0 } } } } };
    },
    () => at,
  );
  await rates.poll();
  expect(rates.get("a")?.rate?.rxBytes).toBe(8);
  fails = true;
  await rates.poll();
  expect(rates.get("a")).toBeUndefined();
  expect(rates.history("a")).toHaveLength(1);
  fails = false;
  at = KEPT_MS + 1;
  await rates.poll();
  expect(rates.history("a").map((sample) => sample.at)).toEqual([at]);
  rates.want("map", []);
  expect(rates.get("a")).toBeUndefined();
});

test("three figures and a unit", () => {
  expect([0, 0.1, 12, 125, 12_500, 1_250_000, 124_990_000, 1.25e10].map(bitsText)).toEqual([
    "0 b/s",
    "0 b/s",
    "96 b/s",
    "1 kb/s",
    "100 kb/s",
    "10 Mb/s",
    "1 Gb/s",
    "100 Gb/s",
  ]);
});

test("MTU: what differs from its other end, its bridge, or most on its subnet", () => {
  const graph = graphOf({ nodes: 3, pods: 2 });
  const mtu = on(graph, "mtu");
  expect(mtu.node(node(graph, "node-1"))).toEqual({ tone: "ok", label: "MTU 1500" });
  Object.assign(link(graph, `${podKey(1, 1)}/2`), { mtu: 1400 });
  Object.assign(link(graph, `${rootKey(2)}/2`), { mtu: 9000 });
  mtu.forget();
  expect(mtu.link(link(graph, `${rootKey(1)}/11`)).label).toBe("MTU 1500, other end 1400");
  expect(mtu.link(link(graph, `${podKey(1, 1)}/2`)).tone).toBe("warn");
  expect(mtu.link(link(graph, `${rootKey(1)}/12`)).tone).toBe("ok");
  expect(mtu.link(link(graph, `${rootKey(2)}/2`)).label).toBe("MTU 9000, most on 172.18.0.0/24 1500");
  expect(mtu.node(node(graph, "node-1")).tone).toBe("warn");
});

test("addresses: ranges that overlap or are shared, and pods outside their node's", () => {
  const graph = graphOf({ nodes: 4, pods: 5 });
  expect(on(graph, "addresses").node(node(graph, "node-1"))).toEqual({ tone: "r1", label: "5 pods in 253" });
  Object.assign(node(graph, "node-1"), { pod_cidrs: ["10.244.0.0/16"] });
  Object.assign(node(graph, "node-3"), { pod_cidrs: ["10.9.0.0/24", "fd00:1::/64"] });
  Object.assign(node(graph, "node-4"), { pod_cidrs: ["fd00:1::/64"] });
  const clashes = findClashes(graph);
  expect(clashes.get("node-2")).toEqual({ tone: "bad", label: "overlaps node-1" });
  expect(clashes.get("node-1")?.tone).toBe("bad");
  expect(clashes.get("node-3")).toEqual({ tone: "warn", label: "shared with node-4" });
  const ns = graph.netns.get(podKey(3, 1));
  expect(ns && on(graph, "addresses").pod(ns, undefined, undefined).tone).toBe("warn");
  Object.assign(node(graph, "node-2"), { pod_cidrs: [] });
  expect(on(graph, "addresses").node(node(graph, "node-2")).tone).toBe("unknown");
});

test("prefixes of both families", () => {
  const inside = (prefix: string, addr: string) => {
    const [range, one] = [parsePrefix(prefix), parsePrefix(addr)];
    return range && one && range.bits === one.bits && contains(range, one.value);
  };
  expect(inside("10.0.0.0/8", "10.255.1.2")).toBe(true);
  expect(inside("10.0.0.0/9", "10.255.1.2")).toBe(false);
  expect(inside("fd00::/16", "fd00:1:2::3")).toBe(true);
  expect(inside("::/0", "10.0.0.1")).toBe(false);
  for (const text of ["", "10.0.0", "10.0.0.256", "10.0.0.0/33", "fd00:::1", "g::1", "1:2:3"])
    expect(parsePrefix(text), text).toBeNull();
});

test("staleness: late is not silent, and silent is not unheard", () => {
  const graph = graphOf({ nodes: 3, pods: 1 });
  const label = (part: object) => {
    Object.assign(node(graph, "node-1"), part);
    return on(graph, "staleness").node(node(graph, "node-1"));
  };
  expect(label({ age_s: 0.4 })).toEqual({ tone: "r1", label: "current" });
  expect(label({ age_s: 12 })).toEqual({ tone: "r3", label: "12 s late" });
  expect(label({ age_s: 312, connected: false })).toEqual({ tone: "warn", label: "silent for 5 min" });
  expect(label({ age_s: 0 })).toEqual({ tone: "unknown", label: "never heard" });
});

test("the look at the map is kept in the address, beside whatever is shown", () => {
  for (const hash of ["#/", "#/node/a%2Fb", "#/trace/7?branch=1&dir=reply", "#/problems?list=resolved"]) {
    expect(withLook(hash, FIRST_LOOK)).toBe(hash);
    const look = { colour: "mtu", group: "label:example.org/rack" } as const;
    const looked = withLook(hash, look);
    expect(lookIn(looked)).toEqual(look);
    expect(formatRoute(parseRoute(looked))).toBe(hash);
    expect(withLook(looked, FIRST_LOOK)).toBe(hash);
  }
  expect(lookIn("#/?colour=nonsense&group=shoe")).toEqual(FIRST_LOOK);
});

test("a sparkline has a gap where nothing was known, and ends where it was asked last", () => {
  const rate = (rxBytes: number) => ({
    rxBytes,
    txBytes: 0,
    rxPackets: 0,
    txPackets: 0,
    dropped: 0,
    errors: 0,
  });
  const samples = [
    { at: 0, rate: null },
    { at: 10_000, rate: rate(50) },
    { at: 20_000, rate: rate(100) },
    { at: 30_000, rate: null },
    { at: 40_000, rate: rate(0) },
    { at: 200_000, rate: rate(100) },
  ];
  const spark = sparkOf(samples, 200_000, 100, (sample) => sample.rate?.rxBytes ?? null);
  expect(spark.pieces.map((piece) => piece.length)).toEqual([2, 1, 1]);
  expect(spark.since).toBe(10_000);
  expect(spark.pieces.at(-1)?.[0]).toEqual({ x: 240, y: 2 });
  expect(spark.pieces[1]?.[0]?.y).toBe(30);
});

test("what the colours say of a thing is there in words, too, and nothing is said of what isn't there", () => {
  const graph = graphOf({ nodes: 2, pods: 2, vxlan: true });
  const says = (id: OverlayId, target: Target) => saysOf(graph, on(graph, id), target);
  expect(says("staleness", { type: "node", name: "node-1" })).toMatch(/^current/);
  expect(says("mtu", { type: "pod", key: podKey(1, 1) })).toMatch(/^MTU \d+/);
  expect(says("tunnels", { type: "node", name: "node-1" })).toMatch(/^VXLAN/);
  expect(says("traffic", { type: "node", name: "node-1" })).toBe("not known");
  expect(says("mtu", { type: "link", key: `${rootKey(1)}/2` })).toMatch(/^MTU \d+/);
  for (const target of [
    { type: "node", name: "nobody" },
    { type: "pod", key: "nothing" },
    { type: "link", key: "none" },
  ] as const)
    expect(says("mtu", target)).toBe("");
});

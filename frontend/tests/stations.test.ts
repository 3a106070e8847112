import { expect, test } from "vitest";
import { makeCluster, podKey } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import { laneAt, laneLine, layoutStage, stopsOf } from "../src/layout/stage.js";
import { withGoal } from "../src/map/stagerows.js";
import { columnsOf, seenAt, shortWords, tellingStep } from "../src/trace/stations.js";
import type { Branch, Step } from "../src/trace/types.js";

const cluster = makeCluster({ nodes: 3, pods: 5 });
const name = (key: string) => {
  const pod = cluster.netns.find((ns) => ns.key === key)?.pod;
  return `${pod?.namespace}/${pod?.name}`;
};

function branch(from: string, to: string, fault: Parameters<typeof sampleTrace>[2] = "none"): Branch {
  const trace = sampleTrace(cluster, { from: name(from), to: name(to), proto: "tcp" }, fault);
  return trace.branches[0] as Branch;
}

const far = branch(podKey(1, 1), podKey(3, 2));

test("two nodes are two columns, each with its pod and itself; a place that both ways come by is one station", () => {
  const columns = columnsOf(far);
  expect(columns.map((column) => [column.node, column.places.map((place) => place.isPod)])).toEqual([
    ["node-1", [true, false]],
    ["node-3", [false, true]],
  ]);
  const node = columns[0]?.places[1];
  expect(node?.stations.map((station) => station.kind)).toEqual([
    "link",
    "bridge",
    "route",
    "shield",
    "link",
  ]);
  const shared = node?.stations.filter((station) => station.forward.length > 0 && station.reply.length > 0);
  expect(shared?.map((station) => station.kind)).toEqual(["link", "bridge", "route", "link"]);
});

test("every step of both ways is at exactly one station", () => {
  const steps = [...far.forward.hops, ...(far.reply?.hops ?? [])].flatMap((hop) =>
    hop.steps.map((step) => step.seq),
  );
  const stations = columnsOf(far).flatMap((column) => column.places.flatMap((place) => place.stations));
  const found = stations.flatMap((station) => [...station.forward, ...station.reply].map((step) => step.seq));
  expect(found.sort((a, b) => a - b)).toEqual(steps.sort((a, b) => a - b));
});

test("forward goes down in the first column and up in the last, and return the other way, each in its lane", () => {
  const layout = layoutStage(columnsOf(far), 1000, 800);
  for (const direction of ["forward", "reply"] as const) {
    const stops = stopsOf(layout, direction);
    const down = (direction === "forward") as boolean;
    const ys = (column: number) =>
      stops.filter((stop) => stop.row.column === column).map((stop) => stop.point.y);
    const sorted = (values: number[], isDown: boolean) =>
      [...values].sort((a, b) => (isDown ? a - b : b - a));
    expect(ys(0)).toEqual(sorted(ys(0), down));
    expect(ys(1)).toEqual(sorted(ys(1), !down));
    const line = laneLine(layout, direction);
    expect(line.filter((point) => point.y === layout.underlay[direction])).toHaveLength(2);
    line.slice(1).forEach((point, i) => {
      const before = line[i];
      expect(point.x === before?.x || point.y === before?.y).toBe(true);
    });
  }
  const [first] = layout.cards;
  if (!first) throw new Error("no card");
  expect(laneAt(first, 0, "forward")).toBeLessThan(laneAt(first, 0, "reply"));
  expect(laneAt(first, 1, "forward")).toBeGreaterThan(laneAt(first, 1, "reply"));
});

test.each([
  [560, 500],
  [1000, 620],
  [1400, 900],
])("in %i by %i nothing overlaps and the columns are fitted", (width, height) => {
  const layout = layoutStage(columnsOf(far), width, height);
  const rows = layout.cards.flatMap((card) => card.rows);
  layout.cards.forEach((card, i) => {
    for (const other of layout.cards.slice(i + 1))
      expect(
        card.x + card.w <= other.x ||
          card.y + card.h <= other.y ||
          other.y + other.h <= card.y ||
          other.x + other.w <= card.x,
      ).toBe(true);
    expect(card.x + card.w).toBeLessThanOrEqual(width);
  });
  for (const row of rows) expect(row.h).toBeGreaterThanOrEqual(21);
  if (height >= 620)
    expect(Math.max(...layout.cards.map((card) => card.y + card.h))).toBeLessThanOrEqual(height - 80);
});

test("on one node the way is one column downwards", () => {
  const columns = columnsOf(branch(podKey(2, 1), podKey(2, 2)));
  expect(columns).toHaveLength(1);
  const layout = layoutStage(columns, 800, 800);
  const ys = stopsOf(layout, "forward").map((stop) => stop.point.y);
  expect(ys).toEqual([...ys].sort((a, b) => a - b));
});

const step = (part: Partial<Step>): Step => ({
  seq: 1,
  kind: "route",
  dev: null,
  packet: {},
  diff: {},
  decision: "via",
  reason: null,
  evidence: {},
  why: "why",
  certainty: "certain",
  observed: null,
  ...part,
});

test("a station says the step that ended the way, else what isn't known, else what decided", () => {
  const route = step({ seq: 1 });
  const link = step({ seq: 2, kind: "link_tx" });
  const doubt = step({ seq: 3, kind: "opaque", certainty: "unknown" });
  expect(tellingStep([link, route], null)).toBe(route);
  expect(tellingStep([link, route], link)).toBe(link);
  expect(tellingStep([route, doubt], null)).toBe(doubt);
});

test("the tunnel’s own packet has stations of its own, which say so", () => {
  const outer = { src: "172.30.0.11", encap: [{ vni: 1 }] };
  const steps = [
    step({ kind: "route", packet: {} }),
    step({ kind: "netfilter", evidence: { hook: "postrouting" } }),
    step({ kind: "encap", dev: "flannel.1", packet: outer }),
    step({ kind: "route", packet: outer }),
    step({ kind: "netfilter", packet: outer, evidence: { hook: "postrouting" } }),
    step({ kind: "link_tx", dev: "eth0", packet: outer }),
  ].map((one, seq) => ({ ...one, seq }));
  const hop = { node: "node-1", netns: "node-1:4:1:0", pod: null, steps };
  const stations = (hops: (typeof hop)[]) =>
    columnsOf({ ...far, forward: { hops }, reply: null })[0]?.places[0]?.stations ?? [];
  expect(stations([hop]).map((one) => [one.title, one.isOuter])).toEqual([
    ["route", false],
    ["postrouting", false],
    ["flannel.1", false],
    ["route", true],
    ["postrouting", true],
    ["eth0", false],
  ]);
  const into = [
    step({ kind: "link_rx", dev: "eth0", packet: outer }),
    step({ kind: "route", decision: "local", packet: outer }),
    step({ kind: "decap", dev: "flannel.1", packet: {} }),
    step({ kind: "route", packet: {} }),
  ];
  expect(stations([{ ...hop, steps: into }]).map((one) => [one.title, one.isOuter])).toEqual([
    ["eth0", false],
    ["route", true],
    ["flannel.1", false],
    ["route", false],
  ]);
});

test("a goal that isn’t reached is on its node, and beside the path only if that doesn’t come by", () => {
  const columns = columnsOf(far);
  const ends = { direction: "forward" as const, step: step({}), leaves: false };
  const goal = (node: string) => ({ node, title: "web-9", isPod: true });
  const nodes = (node: string) =>
    withGoal(columns, ends, goal(node)).map((column) => [column.node, column.places.length]);
  expect(nodes("node-3")).toEqual([
    ["node-1", 2],
    ["node-3", 3],
  ]);
  expect(nodes("node-2").at(-1)).toEqual(["node-2", 1]);
  expect(withGoal(columns, null, goal("node-2"))).toBe(columns);
});

test("a station in a pod that is at no device has a name", () => {
  const hop = { node: "node-1", netns: "a", pod: "default/web-1", steps: [step({ dev: "" })] };
  const columns = columnsOf({ ...far, forward: { hops: [hop] }, reply: null });
  expect(columns[0]?.places[0]?.stations.map((one) => one.title)).toEqual(["route"]);
});

test("a few words are the route, the port or the rule; else the sentence", () => {
  const words = (part: Partial<Step>) => shortWords(step(part));
  expect(words({ evidence: { route: "10.244.2.0/24 via 172.30.0.12 dev eth0 src 10.1.1.1" } })).toBe(
    "via 172.30.0.12 dev eth0 (10.244.2.0/24)",
  );
  expect(words({ evidence: { route: "local 10.1.1.1 dev eth0 src 10.1.1.1" } })).toBe(
    "local 10.1.1.1 dev eth0",
  );
  expect(words({ kind: "neigh", evidence: { nexthop: "10.1.1.1", mac: "02:00:00:00:00:03" } })).toBe(
    "02:00:00:00:00:03 has 10.1.1.1",
  );
  expect(words({ kind: "nat", diff: { src: ["10.1.1.2", "172.30.0.11"], sport: [40000, 1024] } })).toBe(
    "source becomes 172.30.0.11:1024",
  );
  expect(words({ kind: "conntrack", decision: "invalid", why: "It is invalid." })).toBe("It is invalid.");
  expect(words({ kind: "encap", decision: "encapsulate", evidence: { remote: "172.30.0.12", vni: 1 } })).toBe(
    "to 172.30.0.12, VNI 1",
  );
  expect(words({ kind: "link_rx", dev: "veth1", decision: "receive", evidence: { bridge: "cni0" } })).toBe(
    "comes in by veth1",
  );
  expect(words({ kind: "bridge", decision: "forward", evidence: { port: "veth1" } })).toBe("port veth1");
  expect(words({ kind: "netfilter", decision: "drop", evidence: { rule: "tcp dport 80 drop" } })).toBe(
    "drop: tcp dport 80 drop",
  );
  expect(words({ kind: "mtu" })).toBe("why");
});

test("what was seen at a station is the worst of its steps", () => {
  const seen = (match: "agree" | "disagree" | "not_seen", visible = true) =>
    step({
      observed: {
        match,
        visible,
        ts_ns: 5,
        point: null,
        drop_reason: null,
        why: null,
        rule: null,
        headers: null,
      },
    });
  expect(seenAt([seen("agree"), seen("not_seen")])?.mark).toBe("missed");
  expect(seenAt([seen("agree"), seen("not_seen", false)])).toEqual({ mark: "agree", ts_ns: 5 });
  expect(seenAt([seen("not_seen", false)])?.mark).toBe("cannot");
  expect(seenAt([step({})])).toBeNull();
});

import { expect, test } from "vitest";
import { makeCluster, makePod, podKey, rootKey } from "../dev/cluster.js";
import type { Delta, Snapshot } from "../src/graph/model.js";
import { type Change, Graph } from "../src/graph/store.js";
import { graphOf } from "./clusters.js";

function delta(base: number, part: Partial<Delta>): Delta {
  return { type: "delta", base, revision: base + 1, upsert: {}, remove: {}, ...part };
}

/** Everything that a view can ask of a graph, to compare two. */
function contents(graph: Graph): unknown {
  const sorted = <T>(map: Map<string, T>) => [...map.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    nodes: sorted(graph.nodes),
    netns: sorted(graph.netns),
    links: sorted(graph.links),
    problems: sorted(graph.problems),
    ofNode: [...graph.nodes.keys()].sort().map((name) => [
      name,
      graph.rootOf(name)?.key,
      graph
        .netnsOf(name)
        .map((ns) => ns.key)
        .sort(),
    ]),
    ofNetns: [...graph.netns.keys()].sort().map((key) => [
      key,
      graph
        .linksOf(key)
        .map((link) => link.key)
        .sort(),
      graph.problemsAt(key).map((problem) => problem.id),
    ]),
  };
}

test("a snapshot replaces what was held", () => {
  const graph = graphOf({ nodes: 3, pods: 5, troubled: true });
  expect(graph.podCount()).toBe(15);
  graph.apply({ ...makeCluster({ nodes: 2, pods: 1 }), revision: 9 });
  expect(graph.podCount()).toBe(2);
  expect(graph.revision).toBe(9);
  expect(graph.problems.size).toBe(0);
  expect(graph.netnsOf("node-3")).toEqual([]);
  expect(graph.linksOf(podKey(3, 1))).toEqual([]);
});

test("a delta that adds and one that removes a pod leave what a snapshot would hold", () => {
  const graph = graphOf({ nodes: 2, pods: 3 });
  const before = contents(graph);
  const { ns, links } = makePod(2, 9, 50, false);
  expect(graph.apply(delta(1, { upsert: { netns: [ns], links } }))).toBe("applied");
  expect(graph.netns.get(podKey(2, 9))).toEqual(ns);
  expect(graph.linksOf(rootKey(2)).map((link) => link.key)).toContain(links[2]?.key);
  const keys = links.map((link) => link.key);
  expect(graph.apply(delta(2, { remove: { netns: [ns.key], links: keys } }))).toBe("applied");
  expect(contents(graph)).toEqual(before);
});

test("an upsert that moves an object moves it in every index", () => {
  const whole = makeCluster({ nodes: 2, pods: 2 });
  const graph = new Graph();
  graph.apply(whole);
  const moved = { ...(graph.netns.get(podKey(1, 1)) as Snapshot["netns"][number]), node: "node-2" };
  const link = {
    ...(graph.links.get(`${podKey(1, 2)}/2`) as Snapshot["links"][number]),
    netns: podKey(2, 2),
  };
  graph.apply(delta(1, { upsert: { netns: [moved], links: [link] } }));
  const expected = new Graph();
  expected.apply({
    ...whole,
    netns: whole.netns.map((ns) => (ns.key === moved.key ? moved : ns)),
    links: whole.links.map((item) => (item.key === link.key ? link : item)),
  });
  expect(contents(graph)).toEqual(contents(expected));
});

test("a problem marks its node and its namespace as long as it stands", () => {
  const graph = graphOf({ nodes: 3, pods: 5, troubled: true });
  const problem = [...graph.problems.values()].find((item) => item.where.key !== "");
  if (!problem) throw new Error("no problem with a namespace in the fixture");
  const { node, key } = problem.where;
  expect(graph.problemsAt(key)).toEqual([problem]);
  expect(graph.problemsAt(node)).toContain(problem);
  const moved = { ...problem, where: { ...problem.where, key: podKey(2, 1) } };
  graph.apply(delta(1, { upsert: { problems: [moved] } }));
  expect(graph.problemsAt(key)).toEqual([]);
  expect(graph.problemsAt(podKey(2, 1))).toEqual([moved]);
  graph.apply(delta(2, { upsert: { problems: [{ ...moved, gone: "2026-01-01T00:00:00Z" }] } }));
  expect(graph.problemsAt(podKey(2, 1))).toEqual([]);
  graph.apply(delta(3, { upsert: { problems: [{ ...moved, state: "muted" }] } }));
  expect(graph.problemsAt(podKey(2, 1))).toEqual([]);
  graph.apply(delta(4, { remove: { problems: [problem.id] } }));
  expect(graph.problems.has(problem.id)).toBe(false);
});

test("a delta on another base asks for a resync and changes nothing", () => {
  const graph = graphOf({ nodes: 2, pods: 2 });
  const before = contents(graph);
  expect(graph.apply(delta(7, { remove: { nodes: ["node-1"] } }))).toBe("resync");
  expect(contents(graph)).toEqual(before);
  expect(graph.revision).toBe(1);
});

test("a delta before any snapshot asks for a resync", () => {
  expect(new Graph().apply(delta(-1, {}))).toBe("resync");
});

test("only a ping that repeats a revision not held asks for a resync", () => {
  const graph = graphOf({ nodes: 1, pods: 1 });
  expect(graph.apply({ type: "ping", revision: 1 })).toBe("unchanged");
  expect(graph.apply({ type: "ping", revision: 2 })).toBe("unchanged");
  expect(graph.apply({ type: "ping", revision: 2 })).toBe("resync");
});

test("a change says whether the picture has to be laid out again", () => {
  const graph = graphOf({ nodes: 1, pods: 2 });
  const changes: Change[] = [];
  graph.onChange((change) => changes.push(change));
  const link = graph.links.get(`${podKey(1, 1)}/2`) as Snapshot["links"][number];
  graph.apply(delta(1, { upsert: { links: [{ ...link, mtu: 1400 }] } }));
  graph.apply(delta(2, { upsert: { links: [{ ...link, peer: null, peer_state: "unresolved" }] } }));
  graph.apply(delta(3, { remove: { links: [link.key] } }));
  expect(changes.map((change) => [change.nodes, [...change.details]])).toEqual([
    [false, []],
    [false, ["node-1"]],
    [false, ["node-1"]],
  ]);
});

test("a change names the nodes of which anything is another one", () => {
  const graph = graphOf({ nodes: 3, pods: 2, troubled: true });
  const touched: (string[] | null)[] = [];
  graph.onChange((change) => touched.push(change.touched && [...change.touched].sort()));
  const link = graph.links.get(`${podKey(1, 1)}/2`) as Snapshot["links"][number];
  const node = graph.nodes.get("node-2") as Snapshot["nodes"][number];
  const problem = [...graph.problems.keys()][0] as string;
  graph.apply(delta(1, { upsert: { links: [{ ...link, mtu: 1400 }], nodes: [{ ...node, pods: 1 }] } }));
  graph.apply(delta(2, { remove: { links: [link.key], netns: [podKey(3, 1)] } }));
  // A problem counts at all places that it affects.
  graph.apply(delta(3, { remove: { problems: [problem] } }));
  expect(touched).toEqual([["node-1", "node-2"], ["node-1", "node-3"], null]);
});

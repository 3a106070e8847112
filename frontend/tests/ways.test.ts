import { expect, test } from "vitest";
import { makeCluster } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import type { Branch, Step, Trace } from "../src/trace/types.js";
import { waysOf } from "../src/trace/ways.js";

const cluster = makeCluster({ nodes: 2, pods: 3 });
const pods = cluster.netns.filter((ns) => ns.pod);
const [from, far] = [pods[0], pods.find((ns) => ns.node !== pods[0]?.node)];

function trace(): Trace {
  return sampleTrace(cluster, { from: from?.key ?? "", to: far?.key ?? "", proto: "tcp" }, "branches");
}

function branch(decision: string, reply: string, probability: number | null = 0.25): Branch {
  const step = (text: string): Step => ({
    ...{ seq: 1, kind: "netfilter", dev: null, packet: {}, diff: {}, decision: text, reason: null },
    ...{ evidence: {}, why: text, certainty: "certain", observed: null },
  });
  const hops = (text: string) => [{ node: "a", netns: "a", pod: null, steps: [step("same"), step(text)] }];
  return {
    ...{ probability, disposition: "DELIVERED", reason: null, forward: { hops: hops(decision) } },
    reply: { disposition: "DELIVERED", reason: null, hops: hops(reply) },
  };
}

test("a way is called by the decisions in which it differs from the others", () => {
  const titles = waysOf(trace().branches).map((way) => way.title);
  expect(titles).toHaveLength(2);
  expect(new Set(titles).size).toBe(2);
});

test("branches that read alike are one way, with the sum of their chances", () => {
  const ways = waysOf([branch("accept", "x"), branch("drop", "x"), branch("accept", "x")]);
  expect(ways.map((way) => [way.title, way.branches, way.probability])).toEqual([
    ["netfilter accept", [0, 2], 0.5],
    ["netfilter drop", [1], 0.25],
  ]);
  const unknown = waysOf([branch("accept", "x"), branch("drop", "x"), branch("accept", "x", null)]);
  expect(unknown[0]?.probability).toBeNull();
});

test("where only the replies part, the title says so", () => {
  const ways = waysOf([branch("accept", "x"), branch("accept", "y")]);
  expect(ways.map((way) => way.title)).toEqual(["reply: netfilter x", "reply: netfilter y"]);
});

test("a single branch is the only way", () => {
  expect(waysOf([branch("accept", "x")]).map((way) => way.title)).toEqual(["the only way"]);
});

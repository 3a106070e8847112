import { expect, test } from "vitest";
import { makeCluster } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import { choicesOf, sharedStart } from "../src/trace/choices.js";
import type { Branch, Step, Trace } from "../src/trace/types.js";

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

test("a choice is called by the decisions in which it differs from the others", () => {
  const titles = choicesOf(trace().branches).map((choice) => choice.title);
  expect(titles).toHaveLength(2);
  expect(new Set(titles).size).toBe(2);
});

test("branches that read the same are one choice, with the sum of their chances", () => {
  const choices = choicesOf([branch("accept", "x"), branch("drop", "x"), branch("accept", "x")]);
  expect(choices.map((choice) => [choice.title, choice.branches, choice.probability])).toEqual([
    ["netfilter accept", [0, 2], 0.5],
    ["netfilter drop", [1], 0.25],
  ]);
  const unknown = choicesOf([branch("accept", "x"), branch("drop", "x"), branch("accept", "x", null)]);
  expect(unknown[0]?.probability).toBeNull();
});

test("where only the replies part, the title says so", () => {
  const choices = choicesOf([branch("accept", "x"), branch("accept", "y")]);
  expect(choices.map((choice) => choice.title)).toEqual(["reply: netfilter x", "reply: netfilter y"]);
});

test("a single branch is the only path", () => {
  expect(choicesOf([branch("accept", "x")]).map((choice) => choice.title)).toEqual(["the only path"]);
});

test("endpoints of a service are called by their addresses", () => {
  const nat = (address: string): Branch => {
    const step = (seq: number, kind: string, text: string, diff: Step["diff"]): Step => ({
      ...{ seq, kind, dev: null, packet: {}, diff, decision: kind, reason: null },
      ...{ evidence: {}, why: text, certainty: "certain", observed: null },
    });
    const steps = [
      step(1, "nat", `DNAT to ${address}`, {}),
      step(2, "conntrack", "as the entry says", { dst: ["10.96.0.1", address], dport: [80, 8080] }),
    ];
    const forward = { hops: [{ node: "a", netns: "a", pod: null, steps }] };
    return { probability: 0.5, disposition: "DELIVERED", reason: null, forward, reply: null };
  };
  expect(choicesOf([nat("10.1.0.1"), nat("10.1.0.2")]).map((choice) => choice.title)).toEqual([
    "to 10.1.0.1, port 8080",
    "to 10.1.0.2, port 8080",
  ]);
});

test("the server's words for a branch are its title", () => {
  const named = [branch("nat", "x"), branch("nat", "y")].map((item, i) => ({
    ...item,
    choice: `10.0.0.${i}:80`,
  }));
  expect(choicesOf(named).map((choice) => choice.title)).toEqual(["10.0.0.0:80", "10.0.0.1:80"]);
});

test("what all choices begin with isn’t said on each", () => {
  const titles = ["service a/b, endpoint x on n1", "service a/b, endpoint y on n2"];
  expect(titles.map((title) => title.slice(sharedStart(titles)))).toEqual([
    "endpoint x on n1",
    "endpoint y on n2",
  ]);
  expect(sharedStart(["one, two", "other"])).toBe(0);
});

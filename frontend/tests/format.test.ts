import { expect, test } from "vitest";
import { makeCluster } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import { refusalText } from "../src/api.js";
import { retryDelay } from "../src/feed.js";
import { shorten } from "../src/map/text.js";
import { FIRST_VIEW, formatRoute, parseRoute, type Route } from "../src/route.js";
import {
  changesAbove,
  checksByNode,
  dispositionWords,
  endpoint,
  failedStep,
  largestText,
  lostReplies,
  outcomeWords,
  percent,
  replyWords,
  rewrites,
  splitEvidence,
  tellingSteps,
  valueText,
} from "../src/trace/format.js";
import type { Branch, Disposition, Limit, Step, Trace } from "../src/trace/types.js";
import { bytes, seconds } from "../src/ui/names.js";

test("an IPv6 address and a port are kept apart", () => {
  expect(endpoint("fd00::2", 80)).toBe("[fd00::2]:80");
  expect(endpoint("10.0.0.1", 80)).toBe("10.0.0.1:80");
  expect(endpoint("10.0.0.1", null)).toBe("10.0.0.1");
});

test("every disposition has words, and an unheard one is a warning", () => {
  expect(dispositionWords("DELIVERED").tone).toBe("good");
  for (const name of ["NO_LISTENER", "DROPPED", "REJECTED", "LOOP"])
    expect(dispositionWords(name).tone).toBe("bad");
  expect(dispositionWords("LEFT_NETWORK").tone).toBe("out");
  for (const name of ["UNKNOWN", "SOMETHING_NEW"]) expect(dispositionWords(name).tone).toBe("warn");
});

test("what leaves the network although its destination is on the map diverges", () => {
  expect(dispositionWords("LEFT_NETWORK", true).tone).toBe("bad");
  expect(dispositionWords("DELIVERED", true).tone).toBe("good");
});

test("a summary keeps the decisions, what is in doubt and the end, and nothing else", () => {
  const step = (seq: number, kind: string, more: Partial<Step> = {}): Step => ({
    ...{ seq, kind, dev: null, packet: {}, diff: {}, decision: "", reason: null, evidence: {}, why: "" },
    ...{ certainty: "certain", observed: null },
    ...more,
  });
  const steps = [
    step(1, "route"),
    step(2, "neigh"),
    step(3, "netfilter", { certainty: "unknown" }),
    step(4, "link_tx", { diff: { smac: ["a", "b"] } }),
    step(5, "ttl", { diff: { ttl: [64, 63] } }),
    step(6, "netfilter", { diff: { mark: [0, 1] } }),
    step(7, "link_rx"),
  ];
  expect(tellingSteps(steps, steps[6]).map((item) => item.seq)).toEqual([1, 3, 6, 7]);
  expect(tellingSteps(steps, undefined).map((item) => item.seq)).toEqual([1, 3, 6]);
  expect(changesAbove(steps[3] as Step)).toEqual([]);
});

test("a refusal says what to do", () => {
  expect(refusalText(401, "log in, or send a valid API token")).toBe("You are no longer logged in.");
  expect(refusalText(400, "no pod is called 'x'")).toBe("No pod is called 'x'.");
  expect(refusalText(503, "")).toContain("Try again");
  expect(refusalText(503, "200 traces are waiting already; try again")).toMatch(/^200 traces.*again\.$/);
  expect(refusalText(500, "")).toContain("log");
});

test("a list in the evidence has a line for each of its items", () => {
  expect(valueText(["a", 2])).toBe("a\n2");
  expect(valueText({ a: [1] })).toBe('{"a":[1]}');
  expect(valueText(null)).toBe("none");
});

test("probabilities and evidence", () => {
  expect([0.5, 1, 1 / 3, 0.015].map(percent)).toEqual(["50 %", "100 %", "33 %", "1.5 %"]);
  expect(splitEvidence({ route: "default", command: "ip route", table: 254, rule: null })).toEqual({
    facts: [
      ["route", "default"],
      ["table", "254"],
    ],
    commands: ["ip route"],
  });
});

test("what the deciding rule counted is one fact, where it is known", () => {
  const counted_at = "2026-01-02T03:04:05.678900+00:00";
  const evidence = { rule: "counter accept", packets: 1234, bytes: 1, counted_at };
  expect(splitEvidence(evidence).facts).toEqual([
    ["rule", "counter accept"],
    ["counted", "1,234 packets, 1 byte (read 2026-01-02 03:04:05 UTC)"],
  ]);
  expect(splitEvidence({ rule: "accept" }).facts).toEqual([["rule", "accept"]]);
});

test("commands stand with the machine that they are for; an older trace says none", () => {
  const at = (node: string, command: string) => ({ node, netns: `${node}:4:1:0`, command });
  const check = [at("n1", "ip neigh get 10.0.0.2 dev eth0"), at("n2", "sysctl a"), at("n2", "sysctl b")];
  const evidence = { command: "ip neigh get 10.0.0.2 dev eth0" };
  expect(checksByNode({ evidence, check })).toEqual([
    ["n1", ["ip neigh get 10.0.0.2 dev eth0"]],
    ["n2", ["sysctl a", "sysctl b"]],
  ]);
  expect(checksByNode({ evidence })).toEqual([["", ["ip neigh get 10.0.0.2 dev eth0"]]]);
  expect(checksByNode({ evidence: {}, check: [] })).toEqual([]);
});

test("the failed step is the one that stopped the packet; a delivered one has none", () => {
  const cluster = makeCluster({ nodes: 2, pods: 2 });
  const pods = cluster.netns.filter((ns) => ns.pod).map((ns) => `${ns.pod?.namespace}/${ns.pod?.name}`);
  const request = { from: pods[0] ?? "", to: pods[3] ?? "", proto: "tcp" };
  const broken = sampleTrace(cluster, request, "no-route").branches[0];
  expect(failedStep(broken?.forward.hops ?? [], broken?.disposition ?? "")?.reason).toBe("IP_OUTNOROUTES");
  const whole = sampleTrace(cluster, request, "none").branches[0];
  expect(failedStep(whole?.forward.hops ?? [], "DELIVERED")).toBeNull();
});

test("a rewritten source is said with its place; an unchanged address and a MAC are not", () => {
  const cluster = makeCluster({ nodes: 2, pods: 2 });
  const pods = cluster.netns.filter((ns) => ns.pod).map((ns) => `${ns.pod?.namespace}/${ns.pod?.name}`);
  const request = { from: pods[0] ?? "", to: pods[3] ?? "", proto: "tcp" };
  const hops = sampleTrace(cluster, request, "none").branches[0]?.forward.hops ?? [];
  expect(rewrites(hops)).toEqual([]);
  const step = hops[1]?.steps.find((item) => item.kind === "netfilter");
  if (!step) throw new Error("the sample trace has changed");
  step.kind = "nat";
  step.diff = { src: ["10.244.1.2", "172.18.0.2"], smac: ["02:00:00:00:00:01", "02:00:00:00:00:02"] };
  expect(rewrites(hops)).toEqual(["node-1 rewrites the source: 10.244.1.2 becomes 172.18.0.2."]);
  step.diff = { sport: [40000, null] };
  expect(rewrites(hops)).toEqual(["node-1 rewrites the source port: 40000 becomes unknown."]);
});

test("ages and sizes", () => {
  expect([0.2, 42, 600, 7300].map(seconds)).toEqual(["now", "42 s", "10 min", "2 h"]);
  expect([12, 1536, 50 * 2 ** 20, 300 * 2 ** 20].map(bytes)).toEqual([
    "12 B",
    "1.5 KiB",
    "50.0 MiB",
    "300 MiB",
  ]);
});

test("names are shortened in the middle and keep both ends", () => {
  const width = (text: string) => text.length;
  expect(shorten("web-0", 10, width)).toBe("web-0");
  const short = shorten("checkout-7d9f8b6c5-x2x4z", 14, width);
  expect(short).toHaveLength(14);
  expect(short.startsWith("checkout")).toBe(true);
  expect(short.endsWith("…x2x4z")).toBe(true);
  expect(shorten("checkout", 2, width)).toBe("");
});

test("every address of the page is read back as it was written", () => {
  const routes: Route[] = [
    { page: "home" },
    { page: "problems", id: null, list: "now" },
    { page: "problems", id: "4127", list: "resolved" },
    { page: "select", target: { type: "node", name: "node/1 ä?" } },
    { page: "select", target: { type: "pod", key: "node-1:4:4026531840:0" } },
    { page: "select", target: { type: "link", key: "node-1:4:4026531840:0/7" } },
    { page: "compose", from: "shop/web-0", to: "" },
    { page: "compose", from: "", to: "" },
    { page: "trace", id: "12", view: FIRST_VIEW },
    {
      page: "trace",
      id: "12",
      view: { ...FIRST_VIEW, branch: 2, direction: "reply", step: 31, level: "evidence" },
    },
    { page: "trace", id: "12", view: { ...FIRST_VIEW, mode: "both", observation: "7" } },
  ];
  for (const route of routes) expect(parseRoute(formatRoute(route))).toEqual(route);
  expect(parseRoute("#/nonsense/%E0%A4%A")).toEqual({ page: "home" });
  expect(parseRoute("")).toEqual({ page: "home" });
});

test("a flow's outcome has words and a tone; one of an earlier version has none", () => {
  expect(outcomeWords("good")?.tone).toBe("good");
  expect(outcomeWords("broken")?.tone).toBe("bad");
  expect(outcomeWords("breaks-contract")).toMatchObject({ tone: "bad", short: "breaks the contract" });
  expect(outcomeWords("uncertain")?.tone).toBe("warn");
  expect(outcomeWords(null)).toBeNull();
  expect(outcomeWords(undefined)).toBeNull();
});

test("back-off grows to its ceiling and never reaches nothing", () => {
  expect(retryDelay(0, 0)).toBe(250);
  expect(retryDelay(3, 0.5)).toBe(3000);
  expect(retryDelay(50, 1)).toBe(15_000);
  expect(retryDelay(50, 0)).toBeGreaterThanOrEqual(7500);
});

function ended(disposition: Disposition, reply: Disposition | null): Branch {
  return {
    ...{ probability: 0.5, disposition, reason: null, forward: { hops: [] } },
    reply: reply && { disposition: reply, reason: null, hops: [] },
  };
}

test("an error that reaches the sender is no good reply", () => {
  expect(replyWords(ended("DELIVERED", "DELIVERED"))?.tone).toBe("good");
  expect(replyWords(ended("REJECTED", "DELIVERED"))).toMatchObject({ tone: "out", short: "error arrives" });
  expect(replyWords(ended("NO_LISTENER", "DELIVERED"))?.tone).toBe("out");
  expect(replyWords(ended("DROPPED", null))).toBeNull();
});

test("a reply is looked for on every branch", () => {
  const branches = [
    ended("DELIVERED", "DELIVERED"),
    ended("DELIVERED", "DROPPED"),
    ended("DROPPED", "DELIVERED"),
  ];
  expect(lostReplies({ branches } as unknown as Trace)).toEqual([branches[1]]);
});

test("the largest packet is said with the link that takes no more", () => {
  const limit = (bytes: number, silent: boolean) => ({ bytes, dev: "eth0", node: "n1", netns: "", silent });
  const trace = (forward: Limit | null, reply: Limit | null) => ({ largest: { forward, reply } }) as Trace;
  expect(largestText(trace(limit(1404, true), limit(1500, false)))).toBe(
    "Largest packet: 1404 bytes (eth0 on n1; it drops larger ones silently) forward, 1500 bytes (eth0 on n1) in reply.",
  );
  expect(largestText(trace(null, null))).toBe("");
  expect(largestText({} as Trace)).toBe("");
});

import { expect, test } from "vitest";
import { makeCluster, makeProblem } from "../dev/cluster.js";
import type { CheckingObj, ProblemObj } from "../src/graph/model.js";
import {
  asHeard,
  checkedTitle,
  checksPart,
  clock,
  collectorsPart,
  dataPart,
  groupsOf,
  lasting,
  markOf,
  matches,
  mayAffect,
  noData,
  pairsNotes,
  problemsPart,
  reachText,
} from "../src/problems.js";

const NOW = new Date("2026-11-30T14:09:00Z");
const check = { name: "pairs", judged: 9, unit: "pairs", reason: "", demands: "" };
const CHECKING: CheckingObj = {
  id: "checking",
  state: "current",
  since: null,
  pods: 15,
  pairs: 210,
  classes: 9,
  expected: 3,
  away: [],
  checks: [
    { ...check, result: "pass" },
    { ...check, result: "pass" },
  ],
  error: null,
  counts: { open: 0, errors: 0, breaking: 0, aside: 0, left_off: 0 },
};

function problem(id: string, part: Partial<ProblemObj> = {}): ProblemObj {
  return { ...makeProblem(id, `headline ${id}`, "node-1", ""), ...part };
}

test("problems are grouped by harm, the widest first, and what people put aside comes last", () => {
  const groups = groupsOf([
    problem("1", { harm: "at risk", severity: "warning" }),
    problem("2", { affects: { pairs: 3, pods: [], more: 0 } }),
    problem("3", { affects: { pairs: 90, pods: [], more: 0 } }),
    problem("4", { state: "acknowledged" }),
    problem("5", { gone: "2026-11-30T14:00:00Z" }),
    problem("6", { state: "muted", gone: "2026-11-30T14:00:00Z" }),
    problem("7", { harm: "something new" }),
  ]);
  expect(groups.map((group) => [group.title, group.problems.map((one) => one.id)])).toEqual([
    ["Breaks traffic", ["3", "2"]],
    ["At risk", ["1"]],
    ["Other", ["7"]],
    ["Acknowledged or muted", ["4"]],
    ["No longer found", ["5", "6"]],
  ]);
});

test("errors and warnings have one colour in the strip, on the map and in the list, whatever they harm", () => {
  const contract = problem("1", { harm: "breaks the contract" });
  const doubt = problem("2", { harm: "not known", severity: "warning" });
  expect([contract, doubt].map(markOf)).toEqual(["cross", "triangle"]);
  const counts = { open: 1, errors: 1, breaking: 0, aside: 0, left_off: 0 };
  expect(problemsPart({ ...CHECKING, counts }).tone).toBe("bad");
  expect(problemsPart({ ...CHECKING, counts: { ...counts, errors: 0 } }).tone).toBe("warn");
});

test("a problem is told with a trace only if it may affect the trace’s ends", () => {
  const affects = { pairs: 3, pods: ["shop/cart", "shop/web"], more: 0 };
  expect(mayAffect(problem("1", { affects }), ["shop/cart", null])).toBe(true);
  expect(mayAffect(problem("1", { affects }), ["shop/db", null])).toBe(false);
  expect(mayAffect(problem("1", { affects: { ...affects, more: 2 } }), ["shop/db"])).toBe(true);
  expect(mayAffect(problem("1", { affects: { pairs: 0, pods: [], more: 0 } }), ["shop/db"])).toBe(true);
});

test("the filter looks at cause, place and pods, and wants every word", () => {
  const one = problem("1", { where: { node: "worker-7", netns: "", dev: "veth8", key: "" } });
  expect(matches(one, "worker-7 veth")).toBe(true);
  expect(matches(one, "shop/cart")).toBe(true);
  expect(matches(one, "worker-7 eth1")).toBe(false);
  expect(matches(one, "")).toBe(true);
});

test("what is affected and how sure it is stands on one line", () => {
  expect(reachText(problem("1"))).toBe("5 pods · 12 pairs · certain");
  const doubtful = { certainty: "likely" as const, unverified: "its collector is not connected" };
  expect(reachText(problem("1", { ...doubtful, affects: { pairs: 1, pods: [], more: 0 } }))).toBe(
    "1 pair · likely · not verified now",
  );
});

test("times of today have no day, and others do", () => {
  const today = new Date(2026, 10, 30, 14, 9);
  expect(clock(new Date(2026, 10, 30, 13, 52).toISOString(), today)).toBe("13:52");
  expect(clock(new Date(2026, 10, 28, 13, 52).toISOString(), today)).toBe("28 Nov 13:52");
});

test.each([
  ["2026-11-30T14:08:52Z", "8 s"],
  ["2026-11-30T13:52:00Z", "17 min"],
  ["2026-11-30T11:20:00Z", "2 h 49"],
  ["2026-11-20T11:20:00Z", "10 days"],
])("something since %s lasts %s", (since, text) => {
  expect(lasting(since, NOW)).toBe(text);
});

test("the strip says that all is well only while all is known and judged", () => {
  expect(checksPart(CHECKING, NOW)).toEqual({ tone: "ok", text: "2 of 2 checks pass", beside: "" });
  expect(problemsPart(CHECKING)).toEqual({ tone: "ok", text: "No open problem", beside: "" });
  const unknown = { ...CHECKING, checks: [{ ...check, result: "unknown" as const }] };
  expect(checksPart(unknown, NOW)).toEqual({
    tone: "warn",
    text: "0 of 1 check passes",
    beside: "1 unknown",
  });
  for (const other of [
    unknown,
    { ...CHECKING, state: "first" as const },
    { ...CHECKING, state: "stopped" as const },
  ])
    expect(problemsPart(other)).toMatchObject({ tone: "plain", text: "No open problem known" });
  expect(problemsPart(null).tone).toBe("plain");
  expect(checksPart(null, NOW).tone).toBe("plain");
});

test("a check without anything to judge hasn’t passed, and keeps nothing from being well", () => {
  const nothing = { ...check, result: "nothing" as const };
  const some = { ...CHECKING, checks: [{ ...check, result: "pass" as const }, nothing, nothing] };
  expect(checksPart(some, NOW)).toEqual({
    tone: "ok",
    text: "1 of 1 check passes",
    beside: "2 with nothing to judge",
  });
  expect(problemsPart(some)).toMatchObject({ tone: "ok", text: "No open problem" });
  const idle = { ...CHECKING, checks: [nothing] };
  expect(checksPart(idle, NOW)).toMatchObject({ tone: "plain", text: "No check has anything to judge" });
  expect(problemsPart(idle)).toMatchObject({ tone: "plain", text: "No open problem known" });
  expect(checkedTitle(idle, checksPart(idle, NOW), true)).toBe("There was nothing to judge");
});

test.each([
  ["stopped", "bad", "Checks aren’t running"],
  ["failing", "bad", "The checks fail"],
  ["first", "plain", "First check under way"],
] as const)("the strip says when the checking is %s", (state, tone, text) => {
  expect(checksPart({ ...CHECKING, state }, NOW)).toMatchObject({ tone, text });
});

test("a run that takes long is told", () => {
  const part = checksPart({ ...CHECKING, state: "behind", since: "2026-11-30T14:08:00Z" }, NOW);
  expect(part.beside).toMatch(/^checking since/);
});

test("problems are counted, and how many of them break traffic", () => {
  const counts = { open: 9, errors: 4, breaking: 3, aside: 2, left_off: 0 };
  expect(problemsPart({ ...CHECKING, counts })).toEqual({
    tone: "bad",
    text: "9 problems",
    beside: "3 break traffic · 2 acknowledged or muted",
  });
  expect(
    problemsPart({ ...CHECKING, counts: { ...counts, open: 1, errors: 0, breaking: 0, aside: 0 } }),
  ).toEqual({
    tone: "warn",
    text: "1 problem",
    beside: "",
  });
});

test("collectors that should be there and aren't are lost, also those that never came", () => {
  const { nodes } = makeCluster({ nodes: 3, pods: 1 });
  expect(collectorsPart(CHECKING, nodes, 0).text).toBe("3 collectors connected");
  expect(collectorsPart({ ...CHECKING, expected: 5 }, nodes, 1)).toMatchObject({
    tone: "warn",
    text: "2 of 5 collectors not connected",
    beside: "1 waits for approval",
  });
  const away = [
    "node-9 has been enrolled, but its collector has not connected yet",
    "n is lost",
    "m is lost",
  ];
  expect(collectorsPart({ ...CHECKING, expected: 6, away }, nodes, 0).beside).toBe(`${away[0]}, and 2 more`);
  const [first, ...others] = nodes;
  if (!first) throw new Error("no node");
  expect(collectorsPart(CHECKING, [{ ...first, connected: false }, ...others], 0).text).toBe(
    "1 of 3 collectors not connected",
  );
});

test("the data is as old as the oldest change that isn't here, and a silent node is named", () => {
  const { nodes } = makeCluster({ nodes: 2, pods: 1 });
  const [first, second] = nodes;
  if (!first || !second) throw new Error("no nodes");
  expect(dataPart([first, { ...second, age_s: 3.21 }]).text).toBe("Data 3.2 s old");
  expect(dataPart([first, { ...second, connected: false, age_s: 125 }])).toEqual({
    tone: "warn",
    text: "Data under 1 s old",
    beside: "node-2 2 min",
  });
  expect(dataPart([]).text).toBe("No data");
});

test("what policies deny and what the audit found is said of the check of pairs", () => {
  expect(pairsNotes({ ...check, result: "pass" })).toEqual([]);
  expect(pairsNotes({ ...check, result: "pass", denied: 12, audited: 300, differed: 0 })).toEqual([
    "12 pairs denied by policy",
    "300 random pairs also traced in full: none judged otherwise",
  ]);
  expect(pairsNotes({ ...check, result: "unknown", audited: 1, differed: 1 })).toEqual([
    "1 random pair also traced in full: 1 judged otherwise",
  ]);
});

test("nothing is green, and everything says of when it is, once the server isn't heard", () => {
  const since = new Date("2026-11-30T14:07:00Z");
  for (const part of [checksPart(CHECKING, NOW), problemsPart(CHECKING)]) {
    expect(part.tone).toBe("ok");
    const heard = asHeard(part, since, NOW);
    expect(heard.tone).not.toBe("ok");
    expect(heard.beside).toContain("as of ");
    expect(asHeard(part, null, NOW)).toBe(part);
  }
  expect(noData(since, NOW)).toMatchObject({ tone: "warn", text: expect.stringContaining("No data since") });
  expect(checkedTitle(CHECKING, checksPart(CHECKING, NOW), true)).toBe("No problem found");
  expect(checkedTitle(CHECKING, checksPart(CHECKING, NOW), false)).toBe("No problem found so far");
});

test("what was judged last is called that while nothing is judged", () => {
  const counts = { open: 2, errors: 1, breaking: 1, aside: 0, left_off: 0 };
  for (const state of ["stopped", "failing", "first"] as const)
    expect(problemsPart({ ...CHECKING, counts, state }).beside).toContain("as judged last");
  expect(problemsPart({ ...CHECKING, counts }).beside).not.toContain("as judged last");
});

test("no problem is said to be found only while no check fails", () => {
  const checks = CHECKING.checks.map((one, n) => ({
    ...one,
    result: n === 0 ? ("fail" as const) : one.result,
  }));
  const failing = { ...CHECKING, checks };
  expect(checkedTitle(failing, checksPart(failing, NOW), true)).toContain("A check fails");
});

import { expect, test } from "vitest";
import {
  dropText,
  extrasAfter,
  extraText,
  gapTexts,
  isRunning,
  markOf,
  markWords,
  probeTexts,
  seenHops,
  sinceSent,
  standingText,
  touchText,
} from "../src/trace/observed.js";
import type { Extra, Hop, Observation, ObservationRun, Observed, Step, Trace } from "../src/trace/types.js";

const observed = (match: Observed["match"], visible = true): Observed => ({
  ...{ match, visible, ts_ns: null, point: null, drop_reason: null, why: null, rule: null, headers: null },
});

const run = (status: ObservationRun["status"], more: Partial<ObservationRun> = {}): ObservationRun => ({
  ...{ id: "1", status, place: null, error: null, finding: null, headline: null, trace: null },
  request: { from: "a", to: "b", proto: "tcp" },
  ...{ created: "2026-01-01T00:00:00Z", user: "ann" },
  ...more,
});

test("each mark says what it is, and nothing is called missed while it may still come", () => {
  expect(markOf(observed("agree"), false)).toBe("agree");
  expect(markOf(observed("disagree"), false)).toBe("disagree");
  expect(markOf(observed("not_seen"), false)).toBe("missed");
  expect(markOf(observed("not_seen"), true)).toBe("pending");
  expect(markOf(observed("not_seen", false), false)).toBe("cannot");
  expect(markOf(observed("lost"), false)).toBe("unsure");
  expect(markOf(observed("ambiguous"), true)).toBe("unsure");
  expect(markWords("missed").sign).toBe("○");
});

test("how it stands is said in words", () => {
  expect(standingText(run("queued", { place: 2 }))).toContain("2 other observations");
  expect(standingText(run("queued", { place: 1 }))).toContain("1 other observation ");
  expect(standingText(run("queued", { place: 0 }))).toContain("Preparing");
  expect(standingText(run("waiting"))).toContain("ARP gives up after 3 s");
  expect(standingText(run("failed", { error: "no" }))).toBe("no");
  expect(standingText(run("partial", { headline: "seen" }))).toBe("seen");
  expect(isRunning(run("waiting"))).toBe(true);
  expect(isRunning(run("partial"))).toBe(false);
});

test("a drop reason is words, with the kernel's name behind them", () => {
  expect(dropText("NEIGH_FAILED")).toBe("nobody answered for the next hop’s address (NEIGH_FAILED)");
  expect(dropText("SOMETHING_NEW")).toBe("SOMETHING_NEW");
});

test("what is missing or lost is listed", () => {
  const sources = [
    { node: "n1", name: "tracefs", lost: 3, missing: null },
    { node: "n2", name: "collector", lost: 0, missing: "n2: its collector's connection ended" },
    { node: "n3", name: "tracefs", lost: 0, missing: null },
  ];
  expect(gapTexts({ sources } as unknown as Observation)).toEqual([
    "Lost on n1: 3 of tracefs.",
    "Not watched: n2: its collector's connection ended.",
  ]);
});

test("what isn't predicted stands after its step, on its own way", () => {
  const extra = (more: Partial<Extra>): Extra => ({
    ...{ direction: "forward", after: 4, ts_ns: 5, node: "n1", netns: null, dev: "eth1", out: true },
    ...{ drop_reason: null, rule: null, headers: null },
    ...more,
  });
  const list = [extra({}), extra({ after: 5 }), extra({ direction: "reply" })];
  const trace = { observation: { extra: list } } as unknown as Trace;
  expect(extrasAfter(trace, "forward", 4)).toEqual([list[0]]);
  expect(extraText(extra({}))).toBe("sent by eth1 on n1");
  expect(extraText(extra({ drop_reason: "NO_SOCKET" }))).toBe(
    "dropped after eth1 on n1: nothing listens there (NO_SOCKET)",
  );
  const rule = { table: "t", chain: "c", handle: 3, verdict: "drop" };
  expect(extraText(extra({ rule, dev: null }))).toBe("drop by chain t c on n1");
});

test("only what was seen is left where that alone is shown", () => {
  const step = (seq: number, what: Observed | null) => ({ seq, observed: what }) as Step;
  const hops = [
    { node: "a", steps: [step(1, observed("agree")), step(2, observed("not_seen"))] },
    { node: "b", steps: [step(3, observed("not_seen", false)), step(4, null)] },
  ] as unknown as Hop[];
  expect(seenHops(hops).map((hop) => hop.steps.map((one) => one.seq))).toEqual([[1]]);
});

test("times are ms since the probe was sent, and the page says what a probe touches", () => {
  expect(sinceSent(1_310_000, { sent_ns: 1_000_000 } as Observation)).toBe("0.31");
  expect(sinceSent(null, { sent_ns: 0 } as Observation)).toBe("");
  expect(touchText("udp")).toContain("take it for its own");
  expect(touchText("icmp")).toContain("ping");
  expect(touchText("tcp")).toContain("may log it");
});

test("how each of several probes ended", () => {
  const end = {
    finding: "agrees" as const,
    headline: "All steps were seen.",
    told: "answer",
    sport: 1,
    error: null,
  };
  const observation = { probes: [end, { ...end, error: "web-1 can't send the probe" }] } as Observation;
  expect(probeTexts(observation)).toEqual([
    "Probe 1: the sender was told answer. All steps were seen.",
    "Probe 2: web-1 can't send the probe",
  ]);
});

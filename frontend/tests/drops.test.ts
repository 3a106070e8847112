import { expect, test } from "vitest";
import {
  type DropGroup,
  type DropRun,
  flowText,
  placeText,
  reasonText,
  standingOf,
  unknownTexts,
} from "../src/trace/drops.js";

const group = (more: Partial<DropGroup> = {}): DropGroup => ({
  ...{ reason: "NO_SOCKET", count: 1, first: "", last: "", never: false, explained: null },
  ...{ why: null, check: [], trace: null },
  place: { node: "n1", netns: "k", pod: null, dev: "cni0", out: false },
  flow: { proto: "udp", src: "10.1.1.2", sport: 0, dst: "10.1.2.3", dport: 53, from: "shop/web", to: null },
  ...more,
});

const run = (more: Partial<DropRun> = {}): DropRun => ({
  ...{ id: "1", status: "running", place: null, error: null, finding: null, headline: null },
  ...{ created: "", user: "", drops: null },
  ...more,
});

test("reason, place and flow are said in words", () => {
  expect(reasonText(group())).toBe("nothing listens there (NO_SOCKET)");
  expect(reasonText(group({ reason: "NOT_SPECIFIED" }))).toContain("no reason");
  expect(placeText(group())).toBe("received by cni0 in n1");
  expect(placeText(group({ place: null }))).toBe("where isn’t known");
  expect(placeText(group({ place: null, never: true }))).toBe("at no device that was watched");
  expect(flowText(group())).toBe("udp shop/web → 10.1.2.3:53");
  expect(flowText(group({ flow: null }))).toBe("");
});

test("what isn’t known is said", () => {
  const seen = { of: "n1", groups: [], total: 0, not_listed: 2, unplaced: 3, shared_with: ["n2"] };
  const sources = [{ node: "n1", name: "tracefs", lost: 4, missing: null }];
  expect(unknownTexts({ ...seen, sources })).toEqual([
    "Of 3 drops of this kernel (also that of n2) it isn’t known which packets they were.",
    "2 more drops aren’t listed: there were too many different ones.",
    "Lost on n1: 4 of tracefs, so there may be more drops.",
  ]);
  expect(unknownTexts({ ...seen, not_listed: 0, unplaced: 0, sources: [] })).toEqual([]);
});

test("the place in the queue is shown", () => {
  expect(standingOf(run({ status: "queued", place: 2 }), 10)).toContain("2 other");
  expect(standingOf(run(), 10)).toBe("Watching for 10 s: 0 drops so far…");
  expect(standingOf(run({ status: "failed", error: "no" }), 10)).toBe("no");
});

import { expect, test } from "vitest";
import { recentHref, recentResult, recentTitle } from "../src/trace/recent.js";
import type { RecentObservation } from "../src/trace/types.js";

const probe: RecentObservation = {
  id: "7",
  kind: "probe",
  status: "done",
  error: null,
  created: "",
  user: "ada",
  request: { from: "web-1", to: "db-1" },
  nodes: ["n1"],
  finding: "agrees",
  headline: "All 22 predicted steps were seen.",
};

test("what was observed, and what came of it", () => {
  expect(recentTitle(probe)).toBe("web-1 → db-1");
  expect(recentResult(probe)).toEqual({ tone: "good", text: "as predicted" });
  expect(recentResult({ ...probe, status: "partial", finding: "differs" })).toEqual({
    tone: "bad",
    text: "not as predicted, in part",
  });
  expect(recentResult({ ...probe, status: "queued", finding: null }).text).toBe("queued");
  expect(recentResult({ ...probe, status: "failed", finding: null }).tone).toBe("bad");
});

test("other kinds", () => {
  const drops = { ...probe, kind: "drops" as const, request: { of: "n1" }, finding: "none" };
  expect(recentTitle(drops)).toBe("Drops of n1");
  expect(recentResult({ ...drops, headline: "No drop of n1 was seen in 10 s." }).text).toBe(
    "No drop of n1 was seen in 10 s",
  );
  const capture = { ...probe, kind: "capture" as const, finding: null, headline: null };
  expect(recentTitle({ ...capture, request: { trace: "3" } })).toBe("Capture of trace 3");
  expect(recentTitle({ ...capture, request: { link: "n1:4:1:0:2" } })).toBe("Capture at a link");
});

test("a probe opens on the page, what else there is as text", () => {
  expect(recentHref(probe)).toContain("observation=7");
  expect(recentHref({ ...probe, kind: "drops" })).toBe("/api/observations/7/export?as=text");
});

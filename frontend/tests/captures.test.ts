import { expect, test } from "vitest";
import {
  type CaptureRun,
  capturedDropText,
  captureGaps,
  captureText,
  crossedTexts,
  unseenTexts,
  wayTitle,
} from "../src/trace/captures.js";

const seen = { title: "t", packets: 3, bytes: 162, full: false, hops: [], sources: [] };
const run = (more: Partial<CaptureRun>): CaptureRun => ({
  ...{ id: "1", status: "running", place: null, error: null, finding: null, headline: null },
  ...{ created: "", user: "", capture: seen },
  ...more,
});

test("how a capture stands", () => {
  expect(captureText(run({ status: "queued", place: 1 }), 10)).toContain("1 other");
  expect(captureText(run({}), 10)).toBe("Capturing for 10 s: 3 packets, 162 bytes so far…");
  expect(captureText(run({ status: "done" }), 10)).toBe("3 packets, 162 bytes captured.");
  expect(captureText(run({ status: "done", capture: { ...seen, full: true } }), 10)).toContain("limit");
  expect(captureText(run({ status: "failed", error: "no" }), 10)).toBe("no");
});

test("what is missing is said", () => {
  const sources = [
    { node: "n1", name: "capture", lost: 2, missing: null },
    { node: "n2", name: "collector", lost: 0, missing: "it only reads" },
  ];
  expect(captureGaps({ ...seen, sources })).toEqual([
    "2 packets were lost on n1.",
    "Not captured on n2: it only reads.",
  ]);
});

test("which way a packet went", () => {
  const crossed = [
    { dev: "eth0", where: "pod a on n1", out: true, ts_ns: 1_000_000 },
    { dev: "veth1", where: "n1", out: false, ts_ns: 1_020_000 },
  ];
  const way = { proto: "tcp", src: "10.1.1.2", sport: 40000, dst: "fd00::2", dport: 80, flags: "SYN" };
  expect(wayTitle({ ...way, again: 0, crossed })).toBe("tcp 10.1.1.2:40000 → [fd00::2]:80 SYN");
  expect(wayTitle({ ...way, again: 1, crossed })).toContain("sent again once");
  expect(wayTitle({ ...way, proto: "icmp", flags: "", again: 2, crossed })).toBe(
    "icmp 10.1.1.2 → fd00::2, sent again 2 times",
  );
  expect(crossedTexts({ ...way, again: 0, crossed })).toEqual([
    "+0.00 ms sent by eth0 in pod a on n1",
    "+0.02 ms received by veth1 in n1",
  ]);
});

test("beside the predicted path", () => {
  const crossed = [{ dev: "eth0", where: "pod a on n1", out: true, ts_ns: 1_000_000, step: 4 }];
  const unseen = [{ dev: "veth1", where: "n1", out: false, step: 5 }];
  const way = { proto: "tcp", src: "10.1.1.2", sport: 40000, dst: "10.1.2.2", dport: 80, flags: "SYN" };
  const found = { ...way, again: 0, crossed, unseen };
  expect(crossedTexts(found)).toEqual(["+0.00 ms sent by eth0 in pod a on n1 (step 4)"]);
  expect(unseenTexts(found)).toEqual(["not seen: received by veth1 in n1 (step 5)"]);
});

test("what was dropped of it", () => {
  const place = { node: "n1", netns: "n1:4:1:0", pod: null, dev: "cni0", out: false };
  const group = { reason: "NETFILTER_DROP", count: 3, first: "", last: "", never: false, place, flow: null };
  const more = { explained: true, why: "rule 7 of chain c drops it.", check: [], trace: null };
  expect(capturedDropText({ ...group, ...more })).toBe(
    "3 packets dropped after being received by cni0 in n1: a netfilter rule or policy dropped it " +
      "(NETFILTER_DROP). By the state: rule 7 of chain c drops it.",
  );
});

import { expect, test } from "vitest";
import { makeProblem } from "../dev/cluster.js";
import { ticket } from "../src/ticket.js";

const NOW = new Date("2026-11-30T14:09:00Z");
const URL = "https://netviz.example/#/problems/7";
const problem = {
  ...makeProblem("7", "node-1 drops *all* | some", "node-1", ""),
  fix: [{ node: "node-1", netns: "", command: "echo ``` > /dev/null" }],
  also: ["rp_filter of eth0 on node-2"],
};
const between = Array.from({ length: 12 }, (_, n) => ({
  source: `node-${n}, 3 pods`,
  target: "a|b",
  pairs: n,
}));

test("a ticket has what somebody needs who doesn't see the page, in UTC", () => {
  const said = ticket(problem, { between }, "node-1: no route", URL, NOW, "text");
  expect(said.split("\n")[0]).toBe("node-1 drops *all* | some");
  for (const part of [
    "Harm: Breaks traffic (certain)",
    "Began: 2026-11-30 13:52:07 UTC",
    "Affects: 5 pods, 12 pairs of pods",
    "Fails at: node-1: no route",
    "ip route get 10.244.2.7    # on node-1",
    "node-1, 3 pods to a|b: 1 pair",
    "and 2 more",
    `problem 7, as of 2026-11-30 14:09:00 UTC: ${URL}`,
  ])
    expect(said).toContain(part);
});

test("what was there before anybody looked isn't said to have begun then", () => {
  const old = { ...problem, since: null };
  expect(ticket(old, null, null, URL, NOW, "text")).toContain("Began: before 2026-11-30 13:52:07 UTC");
});

test("in Markdown nothing of the cluster's is taken for markup", () => {
  const said = ticket(problem, { between: between.slice(0, 1) }, null, URL, NOW, "markdown");
  expect(said).toContain("# node-1 drops \\*all\\* \\| some");
  expect(said).toContain("| node-0, 3 pods | a\\|b | 0 |");
  expect(said).toContain("````\necho ``` > /dev/null    # on node-1\n````");
  expect(said).toContain("- rp\\_filter of eth0 on node-2");
});

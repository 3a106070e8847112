import { expect, test } from "vitest";
import { makeCluster } from "../dev/cluster.js";
import { sampleTrace } from "../dev/sampletrace.js";
import { FIRST_VIEW } from "../src/route.js";
import { keptView } from "../src/trace/keep.js";
import type { Trace } from "../src/trace/types.js";

const cluster = makeCluster({ nodes: 2, pods: 2, vxlan: false });
const pods = [...cluster.netns].filter((ns) => ns.pod);
const name = (i: number) => `${pods[i]?.pod?.namespace}/${pods[i]?.pod?.name}`;
const trace = (): Trace => sampleTrace(cluster, { from: name(0), to: name(3), proto: "tcp" }, "none");

const steps = (of: Trace) => of.branches[0]?.forward.hops.flatMap((hop) => hop.steps) ?? [];

test("a step is found again by its place and kind, whatever its number", () => {
  const before = trace();
  const after = trace();
  for (const step of steps(after)) step.seq += 100;
  const picked = steps(before)[4];
  if (!picked) throw new Error("no such step");
  const kept = keptView({ ...FIRST_VIEW, step: picked.seq, level: "evidence" }, before, after);
  expect(kept).toEqual({ ...FIRST_VIEW, step: picked.seq + 100, level: "evidence" });
});

test("a step that isn't there any more is selected no longer", () => {
  const before = trace();
  const after = trace();
  const last = steps(before).at(-1);
  after.branches[0]?.forward.hops.at(-1)?.steps.splice(-1);
  expect(keptView({ ...FIRST_VIEW, step: last?.seq ?? 0 }, before, after).step).toBeNull();
});

test("without a reply the forward path is shown, and without the branch the first", () => {
  const before = trace();
  const after = trace();
  const branch = after.branches[0];
  if (branch) branch.reply = null;
  const kept = keptView({ ...FIRST_VIEW, branch: 3, direction: "reply" }, before, after);
  expect([kept.branch, kept.direction]).toEqual([0, "forward"]);
});

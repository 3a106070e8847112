// What was selected in one trace, found again in another of the same packet.

import { FIRST_VIEW, type Route, type TraceView } from "../route.js";
import type { Hop, Step, Trace, TraceRun } from "./types.js";

/** How to show a run where another is shown: with what is selected there. */
export function viewOf(run: TraceRun, route: Route, shown: TraceRun | null): TraceView {
  if (route.page !== "trace" || !run.trace || !shown?.trace) return FIRST_VIEW;
  return keptView(route.view, shown.trace, run.trace);
}

/** The same branch, direction and step, as far as the other trace has them. */
export function keptView(view: TraceView, from: Trace, to: Trace): TraceView {
  const branch = view.branch < to.branches.length ? view.branch : 0;
  const direction = to.branches[branch]?.[view.direction] ? view.direction : "forward";
  // What was observed is of the other trace.
  const kept: TraceView = { ...view, mode: "predict", observation: null, branch, direction, step: null };
  const before = stepsOf(from, view.branch, view.direction);
  const at = before.findIndex(({ step }) => step.seq === view.step);
  const name = before[at]?.name;
  if (name === undefined) return kept;
  const nth = before.slice(0, at).filter((one) => one.name === name).length;
  const found = stepsOf(to, branch, direction).filter((one) => one.name === name)[nth];
  return { ...kept, step: found?.step.seq ?? null };
}

/** The steps of a path, each named by its place and kind: numbers change from trace to trace. */
function stepsOf(
  trace: Trace,
  branch: number,
  direction: TraceView["direction"],
): { name: string; step: Step }[] {
  const hops: Hop[] = trace.branches[branch]?.[direction]?.hops ?? [];
  return hops.flatMap((hop) =>
    hop.steps.map((step) => ({ name: `${hop.netns} ${step.dev ?? ""} ${step.kind}`, step })),
  );
}

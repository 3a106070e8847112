// What isn't a trace that somebody asked for, as the panel shows any trace. Pure.

import type { ProblemObj } from "../graph/model.js";
import { podText } from "./format.js";
import type { ObservationRun, Trace, TraceRun } from "./types.js";

/** A problem's evidence. */
export function evidenceRun(problem: ProblemObj, trace: Trace): TraceRun {
  const { flow } = problem;
  return {
    id: `problem-${problem.id}`,
    status: "done",
    error: null,
    created: problem.found,
    user: "",
    request: {
      from: podText(trace.flow.from.pod) ?? flow?.from ?? trace.flow.src,
      to: flow?.to ?? trace.flow.dst,
      proto: flow?.proto ?? trace.flow.proto,
      ...(flow?.dport == null ? {} : { dport: flow.dport }),
    },
    disposition: trace.disposition,
    trace,
  };
}

/** The prediction of an observation; there is one as soon as something was seen. */
export function tracedBy(observed: ObservationRun): TraceRun {
  const { trace, request, error } = observed;
  const status = trace ? "done" : observed.status === "failed" ? "failed" : "running";
  return {
    ...{ id: `observation-${observed.id}`, status, error, trace },
    ...{ created: observed.created, user: observed.user, request },
    disposition: trace?.disposition ?? null,
  };
}

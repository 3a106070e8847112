// Of which nodes the details are needed for what is shown.

import { nodeOfKey } from "../graph/keys.js";
import type { Route } from "../route.js";
import type { TraceRun } from "./types.js";

const MOST = 200;

export function nodesOf(route: Route, run: TraceRun | null): string[] {
  if (route.page === "select") {
    const { target } = route;
    return [target.type === "node" ? target.name : nodeOfKey(target.key)];
  }
  if (route.page !== "trace" || !run?.trace) return [];
  const hops = run.trace.branches.flatMap((branch) => [
    ...branch.forward.hops,
    ...(branch.reply?.hops ?? []),
  ]);
  return [...new Set(hops.map((hop) => hop.node))].slice(0, MOST);
}

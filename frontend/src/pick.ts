// What a click on something means, by what is shown: it selects, or it is the other end of a trace. Pure.

import type { Graph } from "./graph/store.js";
import type { Target } from "./map/hit.js";
import type { Route } from "./route.js";
import { targetName, traceName } from "./ui/names.js";

export type Meaning =
  | { do: "trace"; from: string; to: string }
  | { do: "go"; route: Route; replace: boolean }
  | { do: "nothing" };

const NOTHING: Meaning = { do: "nothing" };

/** `extend`: with Shift. While a trace is being composed, a pod is its other end. */
export function meaningOf(
  graph: Graph,
  route: Route,
  target: Target | null,
  extend: boolean,
  mayTrace: boolean,
): Meaning {
  const picked = target?.type === "pod" ? graph.netns.get(target.key) : undefined;
  if (picked && mayTrace && route.page === "compose") {
    const name = traceName(picked);
    if (route.from && route.from !== name) return { do: "trace", from: route.from, to: targetName(picked) };
    if (route.to && route.to !== name) return { do: "trace", from: name, to: route.to };
    return { do: "go", route: { page: "compose", from: name, to: "" }, replace: true };
  }
  if (picked && mayTrace && extend && route.page === "select" && route.target.type === "pod") {
    const from = graph.netns.get(route.target.key);
    if (!from || from.key === picked.key) return NOTHING;
    return { do: "trace", from: traceName(from), to: targetName(picked) };
  }
  if (target) return { do: "go", route: { page: "select", target }, replace: false };
  return route.page === "select" ? { do: "go", route: { page: "home" }, replace: false } : NOTHING;
}

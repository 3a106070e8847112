// What stands in the browser's tab: what is shown.

import type { Graph } from "../graph/store.js";
import type { Route } from "../route.js";
import type { TraceRun } from "../trace/types.js";
import { netnsTitle } from "./names.js";

export function titleOf(route: Route, graph: Graph, run: TraceRun | null): string {
  const shown = whatOf(route, graph, run);
  return shown ? `${shown} · netviz` : "netviz";
}

function whatOf(route: Route, graph: Graph, run: TraceRun | null): string {
  switch (route.page) {
    case "home":
      return "";
    case "select": {
      const { target } = route;
      if (target.type === "node") return target.name;
      if (target.type === "link") return graph.links.get(target.key)?.ifname ?? "Link";
      const ns = graph.netns.get(target.key);
      return ns ? netnsTitle(ns) : "Namespace";
    }
    case "problems": {
      const problem = route.id ? graph.problems.get(route.id) : undefined;
      return problem ? problem.headline : "Problems";
    }
    case "kube":
      return route.id ?? route.kind.charAt(0).toUpperCase() + route.kind.slice(1);
    case "faults":
      return "Faults";
    case "compose":
      return "Trace";
    case "trace":
      return run ? `${run.request.from} → ${run.request.to}` : "Trace";
  }
}

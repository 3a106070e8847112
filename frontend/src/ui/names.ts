// How things are called on the page, and how they are named to the server.

export { count } from "../count.js";

import type { LinkObj, NetnsObj, ProblemObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { namespaceLabel } from "../layout/box.js";
import type { Target } from "../map/hit.js";
import { targetHref } from "../route.js";
import { h } from "./dom.js";

/** What POST /api/traces takes as an end: a pod's full name, a node's name, or a namespace's key. */
export function traceName(ns: NetnsObj): string {
  if (ns.pod) return `${ns.pod.namespace}/${ns.pod.name}`;
  return ns.root ? ns.node : ns.key;
}

/** How a trace names a namespace as its target. */
export function targetName(ns: NetnsObj): string {
  return ns.pod ? traceName(ns) : (ns.addrs[0]?.split("/")[0] ?? traceName(ns));
}

export function netnsTitle(ns: NetnsObj): string {
  return ns.root ? ns.node : namespaceLabel(ns);
}

/** The namespace that a trace's end names, if it is on the map. */
export function findEnd(graph: Graph, name: string): NetnsObj | undefined {
  if (!name) return undefined;
  const byKey = graph.netns.get(name);
  if (byKey) return byKey;
  if (graph.nodes.has(name)) return graph.rootOf(name);
  for (const ns of graph.netns.values()) {
    if (ns.pod && (name === ns.pod.name || name === traceName(ns))) return ns;
    if (ns.addrs.some((addr) => addr.split("/")[0] === name)) return ns;
  }
  return undefined;
}

/** Where on the map a problem has its cause. */
export function placeOf(graph: Graph, problem: ProblemObj): Target {
  const { key, node, dev } = problem.where;
  const link = dev ? graph.linksOf(key).find((one) => one.ifname === dev) : undefined;
  if (link) return { type: "link", key: link.key };
  const isPod = graph.netns.has(key) && graph.rootOf(node)?.key !== key;
  return isPod ? { type: "pod", key } : { type: "node", name: node };
}

/** The namespaces of pods, by their full names. */
export function netnsOfPods(graph: Graph, pods: string[]): Set<string> {
  const wanted = new Set(pods);
  const found = [...graph.netns.values()].filter((ns) => ns.pod && wanted.has(traceName(ns)));
  return new Set(found.map((ns) => ns.key));
}

export function netnsLink(graph: Graph, key: string): HTMLElement {
  const ns = graph.netns.get(key);
  if (!ns) return h("span", { class: "muted" }, key);
  const href = ns.root ? targetHref({ type: "node", name: ns.node }) : targetHref({ type: "pod", key });
  return h("a", { href }, netnsTitle(ns));
}

export function linkLink(link: LinkObj): HTMLElement {
  return h("a", { href: targetHref({ type: "link", key: link.key }) }, link.ifname);
}

export function seconds(value: number): string {
  if (value < 1) return "now";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${Math.round(value / 3600)} h`;
}

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${unit === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${units[unit]}`;
}

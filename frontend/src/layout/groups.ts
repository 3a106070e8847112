// By what nodes are put together on the map.

import type { NodeObj } from "../graph/model.js";

/** A label's name is behind "label:". */
export type Grouping = "zone" | "subnet" | "namespace" | "name" | "none" | `label:${string}`;
const PLAIN = ["zone", "subnet", "namespace", "name", "none"] as const;

export function isGrouping(text: string): text is Grouping {
  return PLAIN.some((by) => by === text) || text.startsWith("label:");
}

/** The group of a node; "" is that of nodes of which it isn't known. */
export function groupOf(node: NodeObj, by: Grouping): string {
  if (by === "zone") return node.kube?.zone ?? "";
  if (by === "subnet") return node.subnets[0]?.subnet ?? "";
  if (by === "namespace") return node.namespace ?? "";
  if (by === "name") return stemOf(node.name);
  return by === "none" ? "" : (node.kube?.labels[labelOf(by)] ?? "");
}

/** Whether nodes stay in the group in which they were first seen: pods come and go, and nodes are not to move for that. */
export function isSettled(by: Grouping): boolean {
  return by === "namespace";
}

/** What a group is called. */
export function groupTitle(key: string, by: Grouping): string {
  if (by === "none") return "All nodes";
  if (key !== "") return by === "name" ? `${key}…` : by === "namespace" ? `mostly ${key}` : key;
  return {
    zone: "Zone not known",
    subnet: "Subnet not known",
    namespace: "No pods",
    name: "Other names",
    label: "Without this label",
  }[by.startsWith("label:") ? "label" : (by as "zone")];
}

/** What a grouping is called where one is chosen. */
export function groupingName(by: Grouping): string {
  const plain: Record<string, string> = {
    zone: "Zone",
    subnet: "Subnet",
    namespace: "Namespace",
    name: "Name",
    none: "None",
  };
  return plain[by] ?? `Label ${labelOf(by)}`;
}

function labelOf(by: Grouping): string {
  return by.slice("label:".length);
}

/** The groupings that put these nodes into more than one group, and not each by itself. */
export function usefulGroupings(nodes: Iterable<NodeObj>): Grouping[] {
  const all = [...nodes];
  const labels = new Set(all.flatMap((node) => Object.keys(node.kube?.labels ?? {})));
  const offered: Grouping[] = [...PLAIN, ...[...labels].sort().map((name) => `label:${name}` as const)];
  return offered.filter((by) => {
    if (by === "none") return true;
    const groups = new Set(all.map((node) => groupOf(node, by))).size;
    return groups > 1 && groups < all.length;
  });
}

/** A name without its last part that tells nodes apart: what is before the last number, or before the last sign. */
function stemOf(name: string): string {
  const host = name.split(".")[0] ?? name;
  return /^(.*?[^\d])\d+$/.exec(host)?.[1] ?? /^(.*[-_])[^-_]+$/.exec(host)?.[1] ?? "";
}

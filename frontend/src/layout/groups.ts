// By what nodes are put together on the map.

import type { NodeObj } from "../graph/model.js";

export const GROUPINGS = ["subnet", "name", "none"] as const;
export type Grouping = (typeof GROUPINGS)[number];

/** The group of a node; "" is that of nodes of which it isn't known. */
export function groupOf(node: NodeObj, by: Grouping): string {
  if (by === "subnet") return node.subnets[0]?.subnet ?? "";
  if (by === "name") return stemOf(node.name);
  return "";
}

/** What a group is called. */
export function groupTitle(key: string, by: Grouping): string {
  if (by === "none") return "All nodes";
  if (key === "") return by === "subnet" ? "Subnet not known" : "Other names";
  return by === "name" ? `${key}…` : key;
}

/** A name without its last part that tells nodes apart: what is before the last number, or before the last sign. */
function stemOf(name: string): string {
  const host = name.split(".")[0] ?? name;
  return /^(.*?[^\d])\d+$/.exec(host)?.[1] ?? /^(.*[-_])[^-_]+$/.exec(host)?.[1] ?? "";
}

// The underlay's lines. Nodes that are on two subnets are on two wires, so each subnet of such a node has
// a line of its own; subnets that no node is on both of share one, since routers join them.

import type { Graph } from "../graph/store.js";
import * as m from "./metrics.js";
import { naturalCompare } from "./natural.js";

export interface Lanes {
  /** What is written at each line, the first one nearest to the cells. */
  labels: string[];
  /** The line of a node's device; the first one for a device whose subnet isn't known. */
  of(node: string, dev: string): number;
}

export function lanesOf(graph: Graph): Lanes {
  const together = new Map<string, Set<string>>();
  for (const node of graph.nodes.values()) {
    const own = new Set(node.subnets.map((item) => item.subnet));
    for (const subnet of own) {
      const others = together.get(subnet) ?? new Set();
      for (const other of own) others.add(other);
      together.set(subnet, others);
    }
  }
  const laneOf = new Map<string, number>();
  const members: string[][] = [[]];
  for (const subnet of [...together.keys()].sort(naturalCompare)) {
    const taken = new Set([...(together.get(subnet) ?? [])].map((other) => laneOf.get(other)));
    let lane = 0;
    while (taken.has(lane) && lane < m.MAX_LANES - 1) lane += 1;
    laneOf.set(subnet, lane);
    members[lane] = [...(members[lane] ?? []), subnet];
  }
  return {
    labels: members.map((subnets) =>
      members.length > 1 && subnets.length === 1 ? `${subnets[0]}` : "underlay",
    ),
    of(node, dev) {
      const own = graph.nodes.get(node)?.subnets.find((item) => item.dev === dev);
      return (own && laneOf.get(own.subnet)) ?? 0;
    },
  };
}

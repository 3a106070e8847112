// Of which nodes the page wants the details: of a small cluster of all, else of those that it shows.

import type { Graph } from "./store.js";

/** Pods up to which a cluster's details are all held. */
export const SMALL_PODS = 2500;
export const SMALL_NODES = 150;
/** Nodes that were seen a moment ago are watched on, so that panning to and fro costs nothing. */
export const MOST_WATCHED = 80;

export class Scope {
  private recent: string[] = [];

  constructor(private readonly graph: Graph) {}

  get isWhole(): boolean {
    return this.graph.nodes.size <= SMALL_NODES && this.graph.podCount() <= SMALL_PODS;
  }

  /** What to watch where these nodes are needed now: null is all. */
  watch(needed: Iterable<string>): string[] | null {
    if (this.isWhole) return null;
    const now = [...new Set(needed)].filter((name) => this.graph.nodes.has(name));
    const before = this.recent.filter((name) => this.graph.nodes.has(name) && !now.includes(name));
    this.recent = [...now, ...before].slice(0, Math.max(MOST_WATCHED, now.length));
    return this.recent;
  }
}

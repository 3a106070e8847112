// What the drawing reads beside the scene: facts by key and what is emphasised. Plain data; the
// drawing never looks further.

import type { Health, LinkObj, NetnsObj, NodeObj } from "../graph/model.js";
import type { Target } from "./hit.js";

export interface Picture {
  node(name: string): NodeObj | undefined;
  netns(key: string): NetnsObj | undefined;
  link(key: string): LinkObj | undefined;
  podHealth(key: string): Health;
  nodeHealth(name: string): Health;
  /** How many problems have their cause at a node. */
  problemsAt(name: string): number;
  selected: Target | null;
  hovered: Target | null;
  /** Where a trace is to start, while its end is being chosen. */
  origin: string | null;
  /** Namespaces and nodes on a lit path; all others are dimmed. Null when nothing is lit. */
  lit: { netns: Set<string>; nodes: Set<string> } | null;
  /** A node whose top edge carries a mark with a caption: its own labels there are left out. */
  captioned: string | null;
  /** Namespaces that the problem affects whose place is shown. */
  ringed: Set<string>;
  /** Pods that have just appeared, with how much of their glow is left (0..1). */
  fresh: Map<string, number>;
}

/** A link that is configured up but can't carry packets, or whose bridge port doesn't forward. */
export function linkFault(link: LinkObj | undefined): string | null {
  if (!link) return null;
  if (!link.up) return "down";
  if (!link.carrier && link.kind !== "bridge") return "no carrier";
  if (link.port_state !== null && link.port_state !== "forwarding") return `port ${link.port_state}`;
  return null;
}

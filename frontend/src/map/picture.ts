// What the drawing reads beside the scene: facts by key and what is emphasised. Plain data; the
// drawing never looks further.

import type { Health, LinkObj, NetnsObj, NodeObj } from "../graph/model.js";
import type { Block } from "../layout/scene.js";
import { NONE, type Overlay, type Shade } from "../overlays/overlay.js";
import type { Target } from "./hit.js";

/** How a node is drawn: by its health, but where its collector is away nothing is known of that. */
export type NodeState = "ok" | "warning" | "error" | "away";

/** What is written beside a block's title. */
export interface BlockFacts {
  nodes: number;
  pods: number;
  /** Nodes that are not well, by how. */
  states: Record<NodeState, number>;
  /** Gateways that aren't nodes, as far as its nodes' routes are known. */
  gateways: string[];
}

export interface Picture {
  node(name: string): NodeObj | undefined;
  netns(key: string): NetnsObj | undefined;
  link(key: string): LinkObj | undefined;
  /** How many problems have their cause at a node, and in how many of its pods some have. */
  problemsAt(name: string): { count: number; pods: number };
  /** What the colours say. */
  overlay: Overlay;
  routesOf(name: string): number | null;
  facts(block: Block): BlockFacts;
  /** The graph has changed: what was counted counts no more. */
  forget(): void;
  /** A target as it is read aloud. */
  nameOf(target: Target): string;
  selected: Target | null;
  hovered: Target | null;
  /** Where a trace is to start, while its end is being chosen. */
  origin: string | null;
  /** Namespaces and nodes on a lit path; all others are dimmed. Null when nothing is lit. */
  lit: { netns: Set<string>; nodes: Set<string> } | null;
  /** Namespaces that the problem affects whose place is shown. */
  ringed: Set<string>;
  /** Pods that have just appeared, with how much of their glow is left (0..1). */
  fresh: Map<string, number>;
}

export function stateOf(node: NodeObj | undefined): NodeState {
  if (!node) return "away";
  if (!node.connected || node.not_understood !== null || node.leaves_in_s !== null) return "away";
  return node.health;
}

/** What a node's state is called where there is room for a word or two. */
export function stateText(node: NodeObj | undefined, problems: number): string {
  if (node?.not_understood) return "not understood";
  if (node && node.leaves_in_s !== null) return "revoked";
  if (!node?.connected) return node ? `silent for ${ageText(node.age_s)}` : "";
  if (problems > 0) return problems === 1 ? "1 problem" : `${problems} problems`;
  if (!node.complete) return "incomplete";
  return { ok: "", warning: "warning", error: "error" }[node.health satisfies Health];
}

export function ageText(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** What the overlay says of a link; nothing of one that isn't there. */
export function shadeOf(picture: Picture, key: string | null): Shade {
  const link = key === null ? undefined : picture.link(key);
  return link ? picture.overlay.link(link) : NONE;
}

/** A link that is configured up but can't carry packets, or whose bridge port doesn't forward. */
export function linkFault(link: LinkObj | undefined): string | null {
  if (!link) return null;
  if (!link.up) return "down";
  if (!link.carrier && link.kind !== "bridge") return "no carrier";
  if (link.port_state !== null && link.port_state !== "forwarding") return `port ${link.port_state}`;
  return null;
}

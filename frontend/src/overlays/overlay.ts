// What the map's colours say. An overlay gives each node, pod and link a tone, and a few words; the map draws all of them
// alike. What isn't known has a tone of its own, and is never that of "none".

import type { LinkObj, NetnsObj, NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";

/** "none": nothing is there, or nothing said; "ok": as it should be; r1 to r4: more and more, without a judgement. */
export const TONES = ["none", "ok", "r1", "r2", "r3", "r4", "warn", "bad", "unknown"] as const;
export type Tone = (typeof TONES)[number];

export interface Shade {
  tone: Tone;
  /** What is written beside it; "" where the tone says it all. */
  label: string;
}

/** Nothing is said of it. */
export const NONE: Shade = { tone: "none", label: "" };
/** Its dashes say it; words that say it again at each pod would hide the rest. */
export const UNKNOWN: Shade = { tone: "unknown", label: "" };
/** The same of a node, where it stands once. */
export const NODE_UNKNOWN: Shade = { tone: "unknown", label: "not known" };

export const OVERLAYS = ["problems", "staleness", "traffic", "drops", "mtu", "tunnels", "addresses"] as const;
export type OverlayId = (typeof OVERLAYS)[number];

/** Whether there is anything to say only of nodes whose details are held. */
export function needsDetails(id: OverlayId): boolean {
  return id === "traffic" || id === "drops" || id === "mtu" || id === "tunnels";
}

export interface Overlay {
  id: OverlayId;
  node(node: NodeObj): Shade;
  /** A pod, or another namespace, with the link that leads to it and the one inside, where they are known. */
  pod(ns: NetnsObj, port: LinkObj | undefined, inside: LinkObj | undefined): Shade;
  link(link: LinkObj): Shade;
  /** What the tones mean; in the order in which they are shown. */
  legend: [Tone, string][];
  /** What it doesn't know, in a few words; "" where it knows all that it speaks of. */
  gap(): string;
  /** Whether the counters of nodes are to be read for it. */
  isSampled: boolean;
  /** The graph has changed: what was counted counts no more. */
  forget(): void;
}

/** The worst of some shades: bad, warn, not known, then the most. */
export function worst(shades: Shade[]): Shade {
  const order: Tone[] = ["none", "ok", "r1", "r2", "r3", "r4", "unknown", "warn", "bad"];
  return shades.reduce((a, b) => (order.indexOf(b.tone) > order.indexOf(a.tone) ? b : a), NONE);
}

/** Whether a node's details are held: only then is there anything to say of its links. */
export function hasDetails(graph: Graph, node: string): boolean {
  return graph.rootOf(node) !== undefined;
}

/** A step of the ramp for a value, by the values from which the second to the fourth begin. */
export function step(value: number, from: [number, number, number]): Tone {
  const tones: Tone[] = ["r1", "r2", "r3", "r4"];
  return tones[from.filter((border) => value >= border).length] as Tone;
}

/** The gap of an overlay that speaks of links, whose details are held of some nodes alone. */
export function detailsGap(graph: Graph): string {
  let held = 0;
  for (const name of graph.nodes.keys()) if (hasDetails(graph, name)) held += 1;
  if (held === graph.nodes.size) return "";
  return `known of ${held.toLocaleString("en")} of ${graph.nodes.size.toLocaleString("en")} nodes: zoom in`;
}

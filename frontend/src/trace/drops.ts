// Words for what a drop watch saw. Pure.

import { count } from "../count.js";
import { dropText } from "./observed.js";
import type { Check, ObservationRun, TraceRequest } from "./types.js";

/** Drops of one reason, place and flow. */
export interface DropGroup {
  reason: string;
  count: number;
  first: string;
  last: string;
  /** Dropped before any device had it. */
  never: boolean;
  place: { node: string; netns: string; pod: string | null; dev: string; out: boolean } | null;
  flow: {
    proto: string;
    src: string;
    sport: number;
    dst: string;
    dport: number;
    from: string | null;
    to: string | null;
  } | null;
  /** Whether the state says why; null where it wasn't asked yet. */
  explained: boolean | null;
  why: string | null;
  check: Check[];
  trace: TraceRequest | null;
}

export interface DropsSeen {
  of: string;
  groups: DropGroup[];
  total: number;
  not_listed: number;
  unplaced: number;
  shared_with: string[];
  sources: { node: string; name: string; lost: number; missing: string | null }[];
}

export type DropRun = Omit<ObservationRun, "trace" | "request"> & { drops: DropsSeen | null };

/** The reason in words with the kernel's name. */
export function reasonText(group: DropGroup): string {
  return group.reason === "NOT_SPECIFIED"
    ? "the kernel names no reason (NOT_SPECIFIED)"
    : dropText(group.reason);
}

export function placeText(group: DropGroup): string {
  const { place } = group;
  if (!place) return group.never ? "at no device that was watched" : "where isn’t known";
  const where = place.pod ? `pod ${place.pod}` : place.node;
  return `${place.out ? "sent by" : "received by"} ${place.dev} in ${where}`;
}

export function flowText(group: DropGroup): string {
  const { flow } = group;
  if (!flow) return "";
  const end = (addr: string, port: number, name: string | null) =>
    (name ?? addr) + (port > 0 && flow.proto !== "icmp" ? `:${port}` : "");
  return `${flow.proto} ${end(flow.src, flow.sport, flow.from)} → ${end(flow.dst, flow.dport, flow.to)}`;
}

/** What isn't known of the drops, a sentence each. */
export function unknownTexts(seen: DropsSeen): string[] {
  const shared = seen.shared_with.length > 0 ? ` (also that of ${seen.shared_with.join(", ")})` : "";
  const which = seen.unplaced === 1 ? "which packet it was" : "which packets they were";
  return [
    ...(seen.unplaced > 0
      ? [`Of ${count(seen.unplaced, "drop", "drops")} of this kernel${shared} it isn’t known ${which}.`]
      : []),
    ...(seen.not_listed > 0
      ? [
          `${count(seen.not_listed, "more drop isn’t", "more drops aren’t")} listed: there were too many different ones.`,
        ]
      : []),
    ...seen.sources.flatMap((source) => [
      ...(source.lost > 0
        ? [
            `Lost on ${source.node}: ${source.lost.toLocaleString("en")} of ${source.name}, so there may be more drops.`,
          ]
        : []),
      ...(source.missing ? [`Not watched: ${source.missing}.`] : []),
    ]),
  ];
}

export function standingOf(run: DropRun, seconds: number): string {
  switch (run.status) {
    case "queued":
      return run.place
        ? `Waiting for ${count(run.place, "other observation", "other observations")} on this node…`
        : "Preparing…";
    case "running":
    case "waiting":
      return `Watching for ${seconds} s: ${count(run.drops?.total ?? 0, "drop", "drops")} so far…`;
    case "failed":
      return run.error ?? "The watch failed.";
    default:
      return run.headline ?? "";
  }
}

// A packet's way as stops to play: every step forward and then of the return, and when it was seen. Pure.

import type { Direction } from "./stations.js";
import type { Branch, Observation } from "./types.js";

export interface Stop {
  direction: Direction;
  seq: number;
  /** When it was seen, in ns of the sender's clock. */
  at: number | null;
}

export function stopsOf(branch: Branch): Stop[] {
  return (["forward", "reply"] as const).flatMap((direction) =>
    (branch[direction]?.hops ?? []).flatMap((hop) =>
      hop.steps.map((step) => ({ direction, seq: step.seq, at: step.observed?.ts_ns ?? null })),
    ),
  );
}

/** The stop so many after a step; from no step, the first or the last. */
export function stopFrom(stops: Stop[], seq: number | null, by: number): Stop | undefined {
  const at = stops.findIndex((stop) => stop.seq === seq);
  if (at < 0) return by > 0 ? stops[0] : stops.at(-1);
  return stops[Math.max(0, Math.min(stops.length - 1, at + by))];
}

export function positionText(stops: Stop[], seq: number | null): string {
  const at = stops.findIndex((stop) => stop.seq === seq);
  return at < 0 ? `${stops.length} steps` : `Step ${at + 1} of ${stops.length}`;
}

/** When a step was seen, in ms since sending, and how long after the last one that was seen, as far as the clocks tell. */
export function latencyText(stops: Stop[], seq: number | null, observation: Observation | null): string {
  const at = stops.findIndex((stop) => stop.seq === seq);
  const seen = stops[at]?.at ?? null;
  if (!observation || seen === null) return "";
  const unsure = observation.clock_uncertainty_ns;
  const since = `+${ms(seen - observation.sent_ns)} ms${unsure > 0 ? ` ±${ms(unsure)}` : ""}`;
  const before = stops.slice(0, at).findLast((stop) => stop.at !== null)?.at ?? null;
  if (before === null || seen - before <= unsure) return since;
  return `${since}, ${ms(seen - before)} ms after the last seen`;
}

function ms(ns: number): string {
  return (ns / 1e6).toFixed(2);
}

/** Which part of the stops is the way forward, from 0 to 1. */
export function forwardShare(stops: Stop[]): number {
  const forward = stops.filter((stop) => stop.direction === "forward").length;
  return stops.length === 0 ? 1 : forward / stops.length;
}

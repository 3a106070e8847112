// Words for a capture. Pure.

import type { ObservationRun } from "./types.js";

export interface CaptureSeen {
  title: string;
  packets: number;
  bytes: number;
  /** A bound was reached. */
  full: boolean;
  hops: { node: string; netns: string; dev: string; where: string }[];
  sources: { node: string; name: string; lost: number; missing: string | null }[];
}

export type CaptureRun = Omit<ObservationRun, "trace" | "request"> & { capture: CaptureSeen | null };

/** What is asked of the server: a trace's hops, or a link. */
export interface CaptureRequest {
  trace?: string;
  link?: string;
  seconds: number;
  full: boolean;
}

export function captureText(run: CaptureRun, seconds: number): string {
  const count = run.capture ? `${run.capture.packets} packets, ${run.capture.bytes} bytes` : "nothing";
  switch (run.status) {
    case "queued":
      return run.place ? `Waiting for ${run.place} other observations on these nodes…` : "Preparing…";
    case "running":
    case "waiting":
      return `Capturing for ${seconds} s: ${count} so far…`;
    case "failed":
      return run.error ?? "The capture failed.";
    default:
      return `${count} captured${run.capture?.full ? "; it ended at its bound" : ""}.`;
  }
}

export function captureGaps(seen: CaptureSeen): string[] {
  return seen.sources.flatMap((source) => [
    ...(source.lost > 0 ? [`${source.lost} packets on ${source.node} were lost.`] : []),
    ...(source.missing ? [`Not captured on ${source.node}: ${source.missing}.`] : []),
  ]);
}

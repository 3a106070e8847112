// Words for a capture. Pure.

import { count } from "../count.js";
import { type DropGroup, placeText, reasonText } from "./drops.js";
import type { ObservationRun } from "./types.js";

/** Which way one packet went. */
export interface HeardWay {
  proto: string;
  src: string;
  sport: number;
  dst: string;
  dport: number;
  flags: string;
  /** How often it was sent again. */
  again: number;
  crossed: (Crossing & { ts_ns: number })[];
  /** The devices of the predicted path that it wasn't seen at. */
  unseen?: Crossing[];
}

interface Crossing {
  dev: string;
  where: string;
  out: boolean;
  /** The step of the trace there. */
  step?: number | null;
}

export interface CaptureSeen {
  title: string;
  packets: number;
  bytes: number;
  /** A bound was reached. */
  full: boolean;
  hops: { node: string; netns: string; dev: string; where: string }[];
  /** What was dropped of it; null where that wasn't asked for. */
  drops?: DropGroup[] | null;
  heard?: { ways: HeardWay[]; again: number; unfollowed: number };
  sources: { node: string; name: string; lost: number; missing: string | null }[];
}

export type CaptureRun = Omit<ObservationRun, "trace" | "request"> & { capture: CaptureSeen | null };

/** What is asked of the server: a trace's hops, or a link. */
export interface CaptureRequest {
  trace?: string;
  link?: string;
  seconds: number;
  full: boolean;
  drops?: boolean;
}

export function captureText(run: CaptureRun, seconds: number): string {
  const what = run.capture
    ? `${count(run.capture.packets, "packet", "packets")}, ${count(run.capture.bytes, "byte", "bytes")}`
    : "nothing";
  switch (run.status) {
    case "queued":
      return run.place
        ? `Waiting for ${count(run.place, "other observation", "other observations")} on these nodes…`
        : "Preparing…";
    case "running":
    case "waiting":
      return `Capturing for ${seconds} s: ${what} so far…`;
    case "failed":
      return run.error ?? "The capture failed.";
    default:
      return `${what} captured${run.capture?.full ? "; it stopped at its limit" : ""}.`;
  }
}

export function captureGaps(seen: CaptureSeen): string[] {
  return seen.sources.flatMap((source) => [
    ...(source.lost > 0
      ? [`${count(source.lost, "packet was", "packets were")} lost on ${source.node}.`]
      : []),
    ...(source.missing ? [`Not captured on ${source.node}: ${source.missing}.`] : []),
  ]);
}

/** The packet, and how often it was sent again. */
export function wayTitle(way: HeardWay): string {
  const end = (addr: string, port: number) =>
    way.proto === "icmp" || port === 0 ? addr : `${addr.includes(":") ? `[${addr}]` : addr}:${port}`;
  const again = way.again > 0 ? `, sent again ${way.again === 1 ? "once" : `${way.again} times`}` : "";
  return (
    `${way.proto} ${end(way.src, way.sport)} → ${end(way.dst, way.dport)} ${way.flags}`.trimEnd() + again
  );
}

/** Where it was seen, with the time since it was seen first; of another node, by that node's clock. */
export function crossedTexts(way: HeardWay): string[] {
  const began = way.crossed[0]?.ts_ns ?? 0;
  return way.crossed.map((one) => `+${((one.ts_ns - began) / 1e6).toFixed(2)} ms ${crossingText(one)}`);
}

/** Where it wasn't seen, though the prediction leads it there. */
export function unseenTexts(way: HeardWay): string[] {
  return (way.unseen ?? []).map((one) => `not seen: ${crossingText(one)}`);
}

function crossingText(one: Crossing): string {
  const step = one.step == null ? "" : ` (step ${one.step})`;
  return `${one.out ? "sent by" : "received by"} ${one.dev} in ${one.where}${step}`;
}

/** A group of drops, with what the state says of it. */
export function capturedDropText(group: DropGroup): string {
  const where = group.place ? `after being ${placeText(group)}` : placeText(group);
  const why = group.why ? `${group.explained ? "By the state: " : ""}${group.why}` : "";
  const said = `${count(group.count, "packet", "packets")} dropped ${where}: ${reasonText(group)}.`;
  return why ? `${said} ${why.replace(/\.$/, "")}.` : said;
}

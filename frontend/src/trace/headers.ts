// The headers of a packet before and after a step, and as they were seen. Pure.

import { fieldText } from "./format.js";
import type { Headers, Packet, Step } from "./types.js";

export interface HeaderRow {
  name: string;
  before: string;
  after: string;
  isChanged: boolean;
  /** As it was on the wire; null where nothing was seen, or it says the same. */
  seen: string | null;
}

const NAMES: [keyof Packet & string, string][] = [
  ["src", "source"],
  ["sport", "source port"],
  ["dst", "destination"],
  ["dport", "destination port"],
  ["ttl", "TTL"],
  ["len", "bytes"],
  ["mark", "mark"],
  ["smac", "from MAC"],
  ["dmac", "to MAC"],
];

/** A row for each header that the packet has; `encap` only where it changed. */
export function headerRows(step: Step): HeaderRow[] {
  const rows = NAMES.filter(([name]) => isShown(step, name)).map(([name, words]) => row(step, name, words));
  const others = Object.keys(step.diff ?? {}).filter((name) => !NAMES.some(([known]) => known === name));
  return [...rows, ...others.map((name) => row(step, name as keyof Packet & string, name))];
}

function isShown(step: Step, name: keyof Packet & string): boolean {
  if (step.packet.proto === "icmp" && (name === "sport" || name === "dport")) return false;
  if (name in (step.diff ?? {})) return true;
  const value = step.packet[name];
  return value !== undefined && value !== null && !(name === "mark" && value === 0);
}

function row(step: Step, name: keyof Packet & string, words: string): HeaderRow {
  const change = step.diff?.[name];
  const after = fieldText(name, change ? change[1] : step.packet[name]);
  const before = change ? fieldText(name, change[0]) : after;
  const wire = step.observed?.headers?.[name as keyof Headers];
  const seen = wire === undefined ? null : fieldText(name, wire);
  return { name: words, before, after, isChanged: change !== undefined, seen: seen === after ? null : seen };
}

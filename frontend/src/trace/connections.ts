// Words for the connections that a pod has now. Pure.

import type { TraceRequest } from "./types.js";

interface ConnectionEnd {
  addr: string;
  name: string | null;
  service?: string | null;
}

/** A connection of a namespace, as `GET /api/netns/KEY/connections` gives it. */
export interface Connection {
  proto: string;
  side: "client" | "server";
  state: string;
  from: ConnectionEnd;
  to: ConnectionEnd;
  /** Who answers it in place of whom it asks. */
  answered_by: ConnectionEnd | null;
  /** As whom it is seen, where its source is translated. */
  seen_as: string | null;
  socket: boolean;
  entry: { node: string; netns: string; mark: number; zone: number } | null;
  /** The request that traces its own packets; null where its client isn't known. */
  trace: TraceRequest | null;
  now: "same" | "otherwise" | "unknown";
  why: string | null;
}

export interface Connections {
  connections: Connection[];
  left_off: number;
  otherwise: number;
  missing: string[];
  age_s: number | null;
}

/** The connections with one peer, which differ in little but the client's port. */
export interface ConnectionGroup {
  key: string;
  first: Connection;
  all: Connection[];
}

/** The other end, as people know it, and the address where that says more. */
export function peerText(one: Connection): { name: string; addr: string | null } {
  if (one.side === "server") return named(one.from);
  const { to } = one;
  return to.service ? { name: `service ${to.service}`, addr: to.addr } : named(to);
}

function named(end: ConnectionEnd): { name: string; addr: string | null } {
  return end.name ? { name: end.name, addr: end.addr } : { name: end.addr, addr: null };
}

/** What translation made of it, "" for nothing. */
export function translatedText(one: Connection): string {
  const parts: string[] = [];
  if (one.answered_by) {
    const { name, addr } = one.answered_by;
    parts.push(`answered by ${name ? `${name}, ${addr}` : addr}`);
  }
  if (one.seen_as) parts.push(`seen there as ${one.seen_as}`);
  return parts.join("; ");
}

export function headText(found: Connections): string {
  const count = found.connections.length + found.left_off;
  if (count === 0) return found.missing.length > 0 ? "None known." : "None now.";
  const all = `${count} ${count === 1 ? "connection" : "connections"}`;
  if (found.otherwise === 0) return `${all}.`;
  return `${all}, of which ${found.otherwise} would be treated differently if begun now.`;
}

/** Which aren't compared with a new one, a sentence for each reason. */
export function uncomparedTexts(connections: Connection[]): string[] {
  const reasons = new Map<string, number>();
  for (const one of connections)
    if (one.now === "unknown" && one.why) reasons.set(one.why, (reasons.get(one.why) ?? 0) + 1);
  return [...reasons].map(
    ([why, number]) => `${number === connections.length ? "None is" : `${number} not`} compared: ${why}.`,
  );
}

/** Put those together that have the same peer and stand alike; in the order in which they came. */
export function grouped(connections: Connection[]): ConnectionGroup[] {
  const groups = new Map<string, ConnectionGroup>();
  for (const one of connections) {
    const peer = one.side === "server" ? (one.from.name ?? one.from.addr.replace(/:\d+$/, "")) : one.to.addr;
    const key = JSON.stringify([
      one.proto,
      one.side,
      peer,
      one.answered_by?.addr,
      one.state,
      one.now,
      one.why,
    ]);
    const group = groups.get(key);
    if (group) group.all.push(one);
    else groups.set(key, { key, first: one, all: [one] });
  }
  return [...groups.values()];
}

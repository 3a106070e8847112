// Words for a trace. Pure.

import type { Branch, Disposition, Hop, Limit, Outcome, PodRef, Step, Trace } from "./types.js";

/** "out": neither good nor bad; the packet went where netviz cannot see. */
export type Tone = "good" | "bad" | "warn" | "out";

export interface Words {
  tone: Tone;
  title: string;
  /** The same where there is little room. */
  short: string;
}

const DISPOSITIONS: Record<Disposition, Words> = {
  DELIVERED: { tone: "good", title: "Delivered", short: "delivered" },
  NO_LISTENER: { tone: "bad", title: "Arrives, but nothing listens", short: "no listener" },
  LEFT_NETWORK: { tone: "out", title: "Leaves the network we can see", short: "leaves" },
  DROPPED: { tone: "bad", title: "Dropped", short: "dropped" },
  REJECTED: { tone: "bad", title: "Rejected", short: "rejected" },
  LOOP: { tone: "bad", title: "Goes round in a loop", short: "loops" },
  UNKNOWN: { tone: "warn", title: "Unknown", short: "unknown" },
};

const DIVERGES: Words = {
  tone: "bad",
  title: "Diverges: leaves the network",
  short: "diverges",
};

/** Say how a packet ends. One that leaves the network although its destination is on the map diverges. */
export function dispositionWords(disposition: string, isGoalHere = false): Words {
  if (disposition === "LEFT_NETWORK" && isGoalHere) return DIVERGES;
  return DISPOSITIONS[disposition as Disposition] ?? { tone: "warn", title: disposition, short: disposition };
}

const TOLD: Words = { tone: "out", title: "The sender is told", short: "error arrives" };

/** Say how the reply ends; null where none is sent. What answers a packet that didn't arrive is an error, nothing good. */
export function replyWords(branch: Branch): Words | null {
  if (!branch.reply) return null;
  const isError = branch.disposition !== "DELIVERED" && branch.reply.disposition === "DELIVERED";
  return isError ? TOLD : dispositionWords(branch.reply.disposition, true);
}

/** The branches on which the packet arrives and its reply doesn't come back, or may not. */
export function lostReplies(trace: Trace): Branch[] {
  // Of a client outside no more is known than that the answer leaves to it; whether that is good is the outcome's to say.
  const leaves = trace.outcome === "good" && trace.flow.from.outside;
  const isBack = (reply: { disposition: string }) =>
    reply.disposition === "DELIVERED" || (leaves && reply.disposition === "LEFT_NETWORK");
  return trace.branches.filter(
    (branch) => branch.disposition === "DELIVERED" && branch.reply && !isBack(branch.reply),
  );
}

/** Say how large packets may be, each way; "" where that isn't known. */
export function largestText(trace: Trace): string {
  const { forward, reply } = trace.largest ?? { forward: null, reply: null };
  const parts = [forward && `${limitText(forward)} forward`, reply && `${limitText(reply)} in reply`].filter(
    (part) => part,
  );
  return parts.length > 0 ? `Largest packet: ${parts.join(", ")}.` : "";
}

function limitText(limit: Limit): string {
  const silent = limit.silent ? "; it drops larger ones silently" : "";
  return `${limit.bytes} bytes (${limit.dev} on ${limit.node}${silent})`;
}

const OUTCOMES: Record<Outcome, Words> = {
  good: { tone: "good", title: "Good both ways", short: "good" },
  broken: { tone: "bad", title: "Broken", short: "broken" },
  "breaks-contract": { tone: "bad", title: "Passes, but breaks the contract", short: "breaks the contract" },
  uncertain: { tone: "warn", title: "Uncertain", short: "uncertain" },
};

/** Say what a flow comes to, both directions and the contract together; null in traces of earlier versions. */
export function outcomeWords(outcome: Outcome | null | undefined): Words | null {
  return outcome ? (OUTCOMES[outcome] ?? null) : null;
}

const KINDS: Record<string, string> = {
  origin: "sent",
  socket: "socket",
  rule: "policy rule",
  route: "route",
  neigh: "neighbour",
  link_tx: "transmit",
  link_rx: "receive",
  bridge: "bridge",
  netfilter: "netfilter",
  nat: "NAT",
  conntrack: "conntrack",
  encap: "encapsulate",
  decap: "decapsulate",
  local_in: "local input",
  forward: "forward",
  ttl: "TTL",
  mtu: "MTU",
  rp_filter: "reverse path",
  opaque: "opaque",
};

export const STEP_KINDS: readonly string[] = Object.keys(KINDS);

export function kindLabel(kind: string): string {
  return KINDS[kind] ?? kind;
}

export function podText(pod: PodRef): string | null {
  if (pod === null || pod === undefined) return null;
  return typeof pod === "string" ? pod : `${pod.namespace}/${pod.name}`;
}

export function hopTitle(hop: Hop): string {
  return podText(hop.pod) ?? hop.node;
}

export function endpoint(addr: string | undefined, port: number | null | undefined): string {
  if (addr === undefined) return "?";
  if (port === null || port === undefined) return addr;
  return addr.includes(":") ? `[${addr}]:${port}` : `${addr}:${port}`;
}

export function protocolText(trace: Trace): string {
  const { proto, dport } = trace.flow;
  if (proto === "icmp") return "ICMP echo";
  return `${proto.toUpperCase()}${dport === null ? "" : ` ${dport}`}`;
}

export function flowText(trace: Trace): string {
  const { flow } = trace;
  const sport = flow.proto === "icmp" ? null : flow.sport;
  return `${endpoint(flow.src, sport)} → ${endpoint(flow.dst, flow.dport)}`;
}

export function valueText(value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join("\n");
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** A packet's field as text: a rewritten port without a number is one that nobody can know. */
export function fieldText(field: string, value: unknown): string {
  return value === null && (field === "sport" || field === "dport") ? "unknown" : valueText(value);
}

export function percent(probability: number): string {
  const value = probability * 100;
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toPrecision(2)} %`;
}

const COMMANDS = ["command", "check", "cmd", "verify"];
// What `countedText` tells.
const COUNTS = ["packets", "bytes", "counted_at"];

/** Split a step's evidence into facts and the commands that check it by hand. */
export function splitEvidence(evidence: Record<string, unknown>): {
  facts: [string, string][];
  commands: string[];
} {
  const facts: [string, string][] = [];
  const commands: string[] = [];
  for (const [name, value] of Object.entries(evidence ?? {})) {
    if (COUNTS.includes(name)) continue;
    if (COMMANDS.includes(name)) commands.push(...[value].flat().map(valueText));
    else if (value !== null && value !== "") facts.push([name, valueText(value)]);
  }
  const counted = countedText(evidence);
  if (counted) facts.push(["counted", counted]);
  return { facts, commands };
}

/** What the rule that decided had counted, and when, of a step's evidence; null where that isn't known. */
export function countedText(evidence: Record<string, unknown>): string | null {
  const { packets, bytes, counted_at: at } = evidence ?? {};
  if (typeof packets !== "number" || typeof bytes !== "number" || typeof at !== "string") return null;
  const many = (count: number, one: string) =>
    `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
  return `${many(packets, "packet")}, ${many(bytes, "byte")} (read ${at.slice(0, 19).replace("T", " ")} UTC)`;
}

/** The commands that check a step by hand, those of each machine together: machine -> commands; "" says none. */
export function checksByNode(step: Pick<Step, "evidence" | "check">): [string, string[]][] {
  if (!step.check) {
    const { commands } = splitEvidence(step.evidence);
    return commands.length > 0 ? [["", commands]] : [];
  }
  const found = new Map<string, string[]>();
  for (const { node, command } of step.check) found.set(node, [...(found.get(node) ?? []), command]);
  return [...found];
}

/** The step at which a direction ended without being delivered: the walk ends where that is decided. */
export function failedStep(hops: Hop[], disposition: string): Step | null {
  if (dispositionWords(disposition).tone === "good") return null;
  return hops.at(-1)?.steps.at(-1) ?? null;
}

/** Where the addresses or ports of a packet are rewritten on its path, in a sentence each. */
export function rewrites(hops: Hop[]): string[] {
  const names: Record<string, string> = {
    src: "source",
    dst: "destination",
    sport: "source port",
    dport: "port",
  };
  return hops.flatMap((hop) =>
    hop.steps
      .filter((step) => step.kind === "nat" || step.kind === "conntrack" || step.kind === "netfilter")
      .flatMap((step) =>
        Object.entries(step.diff ?? {})
          .filter(([field]) => field in names)
          .map(
            ([field, [before, after]]) =>
              `${hopTitle(hop)} rewrites the ${names[field]}: ${fieldText(field, before)} becomes ${fieldText(field, after)}.`,
          ),
      ),
  );
}

const TELLING = new Set(["origin", "route", "bridge", "nat", "encap", "decap", "opaque"]);
const LINK_FIELDS = new Set(["smac", "dmac"]);

/** What a step changes above the link layer: MACs change at every hop. */
export function changesAbove(step: Step): [string, [unknown, unknown]][] {
  return Object.entries(step.diff ?? {}).filter(([field]) => !LINK_FIELDS.has(field));
}

/** The steps of a hop that a summary keeps: where the path was selected, rewritten, in doubt, or ended. */
export function tellingSteps(steps: Step[], last: Step | undefined): Step[] {
  return steps.filter(
    (step) =>
      step === last ||
      TELLING.has(step.kind) ||
      step.certainty !== "certain" ||
      changesAbove(step).some(([field]) => field !== "ttl"),
  );
}

/** The packet arrives, but what answers it doesn't: the return path is what one wants to see. */
export function failsOnlyOnReturn(trace: Trace): boolean {
  const [branch, ...others] = trace.branches;
  if (!branch?.reply || others.length > 0) return false;
  return branch.disposition === "DELIVERED" && branch.reply.disposition !== "DELIVERED";
}

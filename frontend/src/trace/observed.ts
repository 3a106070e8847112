// Words for what was observed of a probe. Pure.

import type { Extra, Hop, Observation, ObservationRun, Observed, Step, Trace } from "./types.js";

export type Mark = "agree" | "disagree" | "missed" | "cannot" | "unsure" | "extra" | "pending";

interface MarkWords {
  sign: string;
  words: string;
}

const MARKS: Record<Mark, MarkWords> = {
  agree: { sign: "✓", words: "seen as predicted" },
  disagree: { sign: "≠", words: "seen otherwise than predicted" },
  missed: { sign: "○", words: "should have been seen, and wasn’t" },
  cannot: { sign: "–", words: "can’t be seen here" },
  unsure: { sign: "?", words: "ambiguous, or events were lost" },
  extra: { sign: "+", words: "seen, but not predicted" },
  pending: { sign: "", words: "not seen yet" },
};

export function markWords(mark: Mark): MarkWords {
  return MARKS[mark];
}

/** The mark of a step; while the observation runs, what wasn't seen may still come. */
export function markOf(observed: Observed, isRunning: boolean): Mark {
  if (observed.match === "not_seen" && isRunning) return "pending";
  if (!observed.visible) return "cannot";
  switch (observed.match) {
    case "agree":
    case "disagree":
      return observed.match;
    case "not_seen":
      return "missed";
    default:
      return "unsure";
  }
}

export function isRunning(run: Pick<ObservationRun, "status">): boolean {
  return run.status === "queued" || run.status === "running" || run.status === "waiting";
}

/** Milliseconds since the probe was sent. */
export function sinceSent(at: number | null, observation: Observation): string {
  return at === null ? "" : ((at - observation.sent_ns) / 1e6).toFixed(2);
}

/** The kernel's drop reasons in words; the name stands behind them. */
const REASONS: Record<string, string> = {
  NETFILTER_DROP: "a netfilter rule or policy dropped it",
  NEIGH_FAILED: "nobody answered for the next hop’s address",
  NEIGH_QUEUEFULL: "too many packets wait for the next hop’s address",
  NEIGH_DEAD: "the neighbour entry was being removed",
  IP_RPFILTER: "the reverse path filter dropped it",
  IP_INNOROUTES: "there is no route for it",
  IP_OUTNOROUTES: "there is no route for it",
  IP_INADDRERRORS: "its address isn’t valid here",
  IP_LOCAL_SOURCE: "its source is one of the receiver’s own addresses",
  IP_NOPROTO: "nothing takes this protocol",
  NO_SOCKET: "nothing listens there",
  PKT_TOO_BIG: "it is larger than the link takes",
  OTHERHOST: "the frame was for another machine’s MAC",
  IP_CSUM: "its checksum was wrong",
  DEV_READY: "the device wasn’t up",
  FULL_RING: "the device’s ring was full",
  QDISC_DROP: "the queueing discipline dropped it",
  TC_INGRESS: "a tc program dropped it on arrival",
  TC_EGRESS: "a tc program dropped it on its way out",
  XDP: "an XDP program dropped it",
  VXLAN_VNI_NOT_FOUND: "no tunnel here has that VNI",
  NO_TX_TARGET: "the device has nobody to send it to",
  QUEUE_PURGE: "the queue that it waited in was emptied",
  TCP_ABORT_ON_DATA: "data came for a socket that is closed",
  VXLAN_NO_REMOTE: "the tunnel knows no remote for that MAC",
  BRIDGE_INGRESS_STP_STATE: "the bridge port doesn’t forward",
  TCP_RESET: "the connection was reset",
};

export function dropText(reason: string): string {
  const words = REASONS[reason];
  return words ? `${words} (${reason})` : reason;
}

/** How the observation stands, in a sentence. */
export function standingText(run: ObservationRun): string {
  switch (run.status) {
    case "queued":
      return run.place
        ? `Waiting for ${run.place} other ${run.place === 1 ? "observation" : "observations"} on the same nodes…`
        : "Preparing the collectors…";
    case "running":
      return "Sending, and watching the kernels…";
    case "waiting":
      return "Waiting: a kernel holds the packet until a timer fires (ARP gives up after 3 s)…";
    case "failed":
      return run.error ?? "The observation failed.";
    default:
      return run.headline ?? "";
  }
}

/** How each of several probes ended. */
export function probeTexts(observation: Observation): string[] {
  return (observation.probes ?? []).map((one, number) => {
    const told = `the sender was told ${one.told ?? "nothing"}`;
    return `Probe ${number + 1}: ${one.error ?? `${told}. ${one.headline ?? ""}`}`.trimEnd();
  });
}

/** What is missing or was lost, a sentence for each source. */
export function gapTexts(observation: Observation): string[] {
  return observation.sources.flatMap((source) => [
    ...(source.lost > 0
      ? [`Lost on ${source.node}: ${source.lost.toLocaleString("en")} of ${source.name}.`]
      : []),
    ...(source.missing ? [`Not watched: ${source.missing}.`] : []),
  ]);
}

/** What was seen after a step and isn't predicted. */
export function extraText(extra: Extra): string {
  const place = [extra.dev, extra.node && `on ${extra.node}`].filter((text) => text).join(" ");
  if (extra.drop_reason) return `dropped${place ? ` after ${place}` : ""}: ${dropText(extra.drop_reason)}`;
  if (extra.rule) return `${extra.rule.verdict} by chain ${extra.rule.table} ${extra.rule.chain} ${place}`;
  return `${extra.out ? "sent by" : "received by"} ${place}`;
}

/** The steps that were seen, hop by hop. */
export function seenHops(hops: Hop[]): Hop[] {
  return hops
    .map((hop) => ({ ...hop, steps: hop.steps.filter(isSeen) }))
    .filter((hop) => hop.steps.length > 0);
}

function isSeen(step: Step): boolean {
  const { observed } = step;
  return observed?.visible === true && observed.match !== "not_seen" && observed.match !== "lost";
}

/** What was seen on one way after a step; 0: before all. */
export function extrasAfter(trace: Trace, direction: string, seq: number): Extra[] {
  return (trace.observation?.extra ?? []).filter(
    (extra) => extra.direction === direction && extra.after === seq,
  );
}

/** What sending a probe does, said before it is sent. */
export function touchText(proto: string): string {
  if (proto === "udp")
    return "A datagram will be sent. The application that gets it may take it for its own.";
  if (proto === "icmp") return "Sends one real echo request (ping).";
  return "Opens one real TCP connection and closes it again. The application may log it.";
}

// Words for the list of recent observations. Pure.

import { observationHref } from "../route.js";
import type { RecentObservation } from "./types.js";

/** What was observed. */
export function recentTitle(one: RecentObservation): string {
  const { request } = one;
  if (one.kind === "probe") return `${request.from} → ${request.to}`;
  if (one.kind === "drops") return `Drops of ${request.of}`;
  return request.trace === undefined ? "Capture at a link" : `Capture of trace ${request.trace}`;
}

/** What came of it, in a few words. */
export function recentResult(one: RecentObservation): { tone: string; text: string } {
  if (one.status === "failed") return { tone: "bad", text: "failed" };
  if (one.status !== "done" && one.status !== "partial") return { tone: "", text: one.status };
  const partial = one.status === "partial" ? ", in part" : "";
  switch (one.finding) {
    case "agrees":
      return { tone: "good", text: `as predicted${partial}` };
    case "differs":
      return { tone: "bad", text: `not as predicted${partial}` };
    case "unseen":
      return { tone: "unsure", text: "nothing seen" };
    default:
      return { tone: "", text: `${one.headline ?? "done"}`.replace(/\.$/, "") };
  }
}

/** Where it is opened again: a probe on the page, what else there is as text. */
export function recentHref(one: RecentObservation): string {
  return one.kind === "probe"
    ? observationHref(one.id)
    : `/api/observations/${encodeURIComponent(one.id)}/export?as=text`;
}

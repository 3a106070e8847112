// The demo's faults, as its lab says them, and what the checks found after each. Pure.

import type { CheckingObj, ProblemObj } from "./graph/model.js";

/** A fault in words; `node` is where its cause is, `nodes` are those that it is made on or between. */
export interface FaultWords {
  name: string;
  area: string;
  does: string;
  cause: string;
  watch: string;
  node: string;
  nodes: string[];
}

/** One that can be made, or why not; `active` is the id under which it is in effect, "" where it isn't. */
export interface Fault extends FaultWords {
  active: string;
  why_not: string;
}

/** One that is in effect; `at` in Unix seconds, by the server's machine. */
export interface ActiveFault extends FaultWords {
  id: string;
  at: number;
}

export interface FaultList {
  /** When this was so, in Unix seconds by the server's machine. */
  now: number;
  network: string;
  faults: Fault[];
  active: ActiveFault[];
}

/** A problem that stands, and since when this page has shown it; null: it was there when the page began to look. */
export interface Standing {
  problem: ProblemObj;
  heard_s: number | null;
}

/** Notes when each problem came onto the page. Times in Unix seconds by the server's machine. */
export class Watch {
  private readonly heard = new Map<string, number | null>();
  private isFirst = true;

  look(problems: Iterable<ProblemObj>, now_s: number): Standing[] {
    const standing = [...problems].filter((problem) => problem.gone === null);
    const ids = new Set(standing.map(({ id }) => id));
    for (const id of this.heard.keys()) if (!ids.has(id)) this.heard.delete(id);
    for (const id of ids) if (!this.heard.has(id)) this.heard.set(id, this.isFirst ? null : now_s);
    this.isFirst = false;
    return standing.map((problem) => ({ problem, heard_s: this.heard.get(problem.id) ?? null }));
  }
}

export interface FoundAfter {
  problem: ProblemObj;
  /** How long after the fault was made the page showed it; null where it doesn't know. */
  after_s: number | null;
}

/**
 * What the checks found since each fault was made at the nodes that it concerns, the first first. What could be of several
 * is put to one with its cause there, and of these to the latest: the problem itself doesn't say who made it. That a
 * collector is lost or late is no fault's.
 */
export function foundAfter(active: ActiveFault[], standing: Standing[]): Map<string, FoundAfter[]> {
  const found = new Map<string, FoundAfter[]>(active.map((fault) => [fault.id, []]));
  for (const { problem, heard_s } of standing) {
    if (problem.kind.startsWith("collector-")) continue;
    const places = new Set([problem.where.node, ...problem.also_at.map((one) => one.node)]);
    const at = heard_s ?? Date.parse(problem.found) / 1000;
    const before = active.filter((fault) => fault.at <= at && fault.nodes.some((name) => places.has(name)));
    const here = before.filter((fault) => fault.node === problem.where.node);
    const [latest] = (here.length > 0 ? here : before).sort((a, b) => b.at - a.at);
    if (latest)
      found.get(latest.id)?.push({ problem, after_s: heard_s === null ? null : heard_s - latest.at });
  }
  for (const list of found.values()) list.sort((a, b) => (a.after_s ?? 0) - (b.after_s ?? 0));
  return found;
}

/** While nothing is found: how long it has been, or why nothing can be. */
export function notFoundText(fault: ActiveFault, checking: CheckingObj | null, now_s: number): string {
  if (!checking || checking.state === "stopped" || checking.state === "failing")
    return "Nothing can be found now: the checks aren’t running.";
  return `The checks have found nothing on ${fault.nodes.join(", ")} yet (${Math.max(0, Math.floor(now_s - fault.at))} s).`;
}

/** How long it took, in as few figures as say something; "" where that isn't known. */
export function afterText(after_s: number | null): string {
  if (after_s === null) return "";
  return after_s < 10 ? `, after ${after_s.toFixed(1)} s` : `, after ${Math.round(after_s)} s`;
}

/** The faults that this network can have, by what they are about; and those that it can't. */
export function byArea(faults: Fault[], typed: string): { areas: [string, Fault[]][]; others: Fault[] } {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const fitting = faults.filter(({ name, area, does, cause }) => {
    const text = `${name} ${area} ${does} ${cause}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const areas = new Map<string, Fault[]>();
  for (const fault of fitting.filter((one) => one.active || !one.why_not))
    areas.set(fault.area, [...(areas.get(fault.area) ?? []), fault]);
  return { areas: [...areas], others: fitting.filter((one) => !one.active && one.why_not) };
}

// What the page says of problems and of the checking. Pure: words, groups and order, no DOM.

import { thousands } from "./count.js";
import type { CheckingObj, CheckObj, ClusterObj, NodeObj, ProblemObj } from "./graph/model.js";
import { stands } from "./graph/store.js";

export type Tone = "ok" | "bad" | "warn" | "plain";

/** What colour open problems have: that of the worst of them, as on the map and in lists. */
export function toneOf(checking: CheckingObj): "bad" | "warn" {
  return checking.counts.errors > 0 ? "bad" : "warn";
}

/** One part of the strip: a sentence, and what is said beside it. */
export interface StripPart {
  tone: Tone;
  text: string;
  beside: string;
  isUnderWay?: boolean;
}

export interface Group {
  title: string;
  problems: ProblemObj[];
}

/** Errors and warnings, each with its shape and colour, as on the map; and what isn't found any more. */
export type Mark = "cross" | "triangle" | "check";

const HARMS: [string, string][] = [
  ["breaks traffic", "Breaks traffic"],
  ["breaks the contract", "Breaks the contract"],
  ["degrades", "Degrades"],
  ["at risk", "At risk"],
  ["not known", "Not known"],
];
const ASIDE = "Acknowledged or muted";
const GONE = "No longer found";

export function markOf(problem: ProblemObj): Mark {
  if (problem.gone !== null) return "check";
  return problem.severity === "error" ? "cross" : "triangle";
}

export function harmTitle(problem: ProblemObj): string {
  return HARMS.find(([harm]) => harm === problem.harm)?.[1] ?? problem.harm;
}

/** Problems grouped by harm, the widest first; what people put aside and what is gone comes last. */
export function groupsOf(problems: Iterable<ProblemObj>): Group[] {
  const sorted = [...problems].sort(byReach);
  const groups = HARMS.map(([harm, title]) => ({
    title,
    problems: sorted.filter((one) => one.harm === harm && isOpen(one)),
  }));
  const known = new Set(HARMS.map(([harm]) => harm));
  const others = sorted.filter((one) => !known.has(one.harm) && isOpen(one));
  const aside = sorted.filter((one) => one.gone === null && one.state !== "open");
  const gone = sorted.filter((one) => one.gone !== null);
  return [
    ...groups,
    { title: "Other", problems: others },
    { title: ASIDE, problems: aside },
    { title: GONE, problems: gone },
  ].filter((group) => group.problems.length > 0);
}

function isOpen(problem: ProblemObj): boolean {
  return stands(problem) && problem.state === "open";
}

function byReach(a: ProblemObj, b: ProblemObj): number {
  return (
    b.affects.pairs - a.affects.pairs || podsOf(b) - podsOf(a) || Date.parse(b.found) - Date.parse(a.found)
  );
}

export function podsOf(problem: ProblemObj): number {
  return problem.affects.pods.length + problem.affects.more;
}

/** Whether one of these pods may be among those that a problem affects: it names only the first of them. */
export function mayAffect({ affects }: ProblemObj, pods: (string | null)[]): boolean {
  const isNamed = affects.pods.some((pod) => pods.includes(pod));
  return isNamed || affects.more > 0 || affects.pods.length === 0;
}

/** Whether a word occurs in what a problem says, its place, its pods or its kind. */
export function matches(problem: ProblemObj, query: string): boolean {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const { where, affects } = problem;
  const text = [
    problem.headline,
    problem.kind,
    problem.harm,
    where.node,
    where.netns,
    where.dev,
    ...affects.pods,
  ]
    .join(" ")
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Whom it affects and how sure it is, on one line. */
export function reachText(problem: ProblemObj): string {
  const pods = podsOf(problem);
  const parts = [
    pods > 0 ? plural(pods, "pod", "pods") : "",
    problem.affects.pairs > 0 ? plural(problem.affects.pairs, "pair", "pairs") : "",
    problem.where.dev && !problem.headline.includes(problem.where.dev) ? problem.where.dev : "",
    problem.certainty,
  ];
  if (problem.unverified) parts.push("not verified now");
  return parts.filter(Boolean).join(" · ");
}

/** Since when it is, for a column: "13:52", with the day when that isn't today. */
export function clock(iso: string, now: Date): string {
  const at = new Date(iso);
  const time = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === now.toDateString()
    ? time
    : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** The same to the second. */
export function moment(iso: string, now: Date): string {
  const seconds = String(new Date(iso).getSeconds()).padStart(2, "0");
  return `${clock(iso, now)}:${seconds}`;
}

/** How long something lasts: "17 min", "2 h 49". */
export function lasting(fromIso: string, to: Date): string {
  const seconds = Math.max(0, (to.getTime() - Date.parse(fromIso)) / 1000);
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")}`;
  return `${Math.floor(hours / 24)} days`;
}

export function plural(count: number, one: string, many: string): string {
  return `${thousands(count)} ${count === 1 ? one : many}`;
}

function countOf(checks: CheckObj[], result: CheckObj["result"]): number {
  return checks.filter((check) => check.result === result).length;
}

/** Whether every check that has anything to judge passes, and one has. */
function allPass(checks: CheckObj[]): boolean {
  const passing = countOf(checks, "pass");
  return passing > 0 && passing + countOf(checks, "nothing") === checks.length;
}

/** How the checking is: never more than is known at this moment. */
export function checksPart(checking: CheckingObj | null, now: Date): StripPart {
  if (!checking) return { tone: "plain", text: "Checks", beside: "not heard of yet" };
  const since = checking.since ? `since ${moment(checking.since, now)}` : "";
  switch (checking.state) {
    case "stopped":
      return { tone: "bad", text: "Checks aren’t running", beside: checking.error ?? since };
    case "failing":
      return { tone: "bad", text: "The checks fail", beside: checking.error ?? "" };
    case "first":
      return { tone: "plain", text: "First check under way", beside: since, isUnderWay: true };
    default: {
      const unknown = countOf(checking.checks, "unknown");
      const passing = countOf(checking.checks, "pass");
      const idle = countOf(checking.checks, "nothing");
      const total = checking.checks.length - idle;
      const beside = [
        unknown > 0 ? `${unknown} unknown` : "",
        idle > 0 && total > 0 ? `${idle} with nothing to judge` : "",
        checking.state === "behind" ? `checking ${since}` : "",
      ];
      return {
        tone: unknown > 0 ? "warn" : passing > 0 && passing === total ? "ok" : "plain",
        text:
          total > 0
            ? `${passing} of ${plural(total, "check passes", "checks pass")}`
            : "No check has anything to judge",
        beside: beside.filter(Boolean).join(" · "),
      };
    }
  }
}

/** What was so when the server was heard last is not what is so: nothing is green, and each part says when that was. */
export function asHeard(part: StripPart, staleSince: Date | null, now: Date): StripPart {
  if (!staleSince) return part;
  const when = `as of ${moment(staleSince.toISOString(), now)}`;
  const tone = part.tone === "ok" ? "plain" : part.tone;
  return { ...part, tone, beside: part.beside ? `${part.beside}, ${when}` : when, isUnderWay: false };
}

export function noData(staleSince: Date, now: Date): StripPart {
  return { tone: "warn", text: `No data since ${moment(staleSince.toISOString(), now)}`, beside: "" };
}

export function problemsPart(checking: CheckingObj | null): StripPart {
  if (!checking) return { tone: "plain", text: "Problems", beside: "not known" };
  const { open, breaking, aside } = checking.counts;
  const isJudged = checking.state === "current" || checking.state === "behind";
  const put = [aside > 0 ? `${aside} acknowledged or muted` : "", isJudged ? "" : "as judged last"]
    .filter(Boolean)
    .join(" · ");
  if (open > 0)
    return {
      tone: toneOf(checking),
      text: plural(open, "problem", "problems"),
      beside: [breaking > 0 ? `${breaking} ${breaking === 1 ? "breaks" : "break"} traffic` : "", put]
        .filter(Boolean)
        .join(" · "),
    };
  const isKnown = checking.state === "current" && allPass(checking.checks);
  return {
    tone: isKnown && !aside ? "ok" : "plain",
    text: isKnown ? "No open problem" : "No open problem known",
    beside: put,
  };
}

/** How many collectors are connected of those that should be; and how many `waiting` may not be yet. */
export function collectorsPart(
  checking: CheckingObj | null,
  nodes: Iterable<NodeObj>,
  waiting: number,
): StripPart {
  const known = [...nodes];
  const expected = Math.max(checking?.expected ?? 0, known.length);
  const lost = expected - known.filter((node) => node.connected).length;
  const waits = waiting > 0 ? `${waiting} ${waiting === 1 ? "waits" : "wait"} for approval` : "";
  if (expected === 0) return { tone: "plain", text: "No collector", beside: waits };
  if (lost > 0) {
    const [first, ...others] = checking?.away ?? [];
    const away = first ? `${first}${others.length > 0 ? `, and ${others.length} more` : ""}` : "";
    return {
      tone: "warn",
      text: `${lost} of ${plural(expected, "collector", "collectors")} not connected`,
      beside: [away, waits].filter(Boolean).join(" · "),
    };
  }
  return { tone: "plain", text: `${plural(expected, "collector", "collectors")} connected`, beside: waits };
}

/** How old what is shown is: the oldest change that a collector hasn't sent yet, or the longest silence. */
export function dataPart(nodes: Iterable<NodeObj>): StripPart {
  let worst: NodeObj | null = null;
  let connected = 0;
  for (const node of nodes) {
    if (node.connected) connected = Math.max(connected, node.age_s);
    if (!worst || node.age_s > worst.age_s) worst = node;
  }
  if (!worst) return { tone: "plain", text: "No data", beside: "" };
  const text = connected < 1 ? "Data under 1 s old" : `Data ${ageText(connected)} old`;
  const isBehind = !worst.connected && worst.age_s > connected;
  return {
    tone: isBehind || connected > 30 ? "warn" : "plain",
    text,
    beside: isBehind ? `${worst.name} ${ageText(worst.age_s)}` : "",
  };
}

/** How the Kubernetes API is known; null where none is watched, which is no fault. */
export function kubernetesPart(clusters: Iterable<ClusterObj>): StripPart | null {
  const all = [...clusters];
  const worst = all.find((one) => one.health === "error") ?? all.find((one) => one.health !== "ok") ?? all[0];
  if (!worst) return null;
  if (worst.health === "ok") {
    const pods = all.reduce((sum, one) => sum + (one.counts.pods ?? 0), 0);
    const services = all.reduce((sum, one) => sum + (one.counts.services ?? 0), 0);
    return {
      tone: "plain",
      text: "Kubernetes API followed",
      beside: `${plural(services, "service", "services")}, ${plural(pods, "pod", "pods")}`,
    };
  }
  const text = worst.connected ? "Kubernetes API not known whole" : "Kubernetes API not watched";
  return { tone: worst.health === "error" ? "bad" : "warn", text, beside: worst.problem ?? "" };
}

function ageText(seconds: number): string {
  return seconds < 10
    ? `${seconds.toFixed(1)} s`
    : lasting(new Date(0).toISOString(), new Date(seconds * 1000));
}

/** What the list of checks comes to: never more than is known at this moment. */
export function checkedTitle(checking: CheckingObj, checks: StripPart, isLive: boolean): string {
  const isJudged = checking.state === "current" || checking.state === "behind";
  const { open, aside } = checking.counts;
  if (!isJudged || open + aside > 0) return checks.text;
  if (checking.checks.some((check) => check.result === "fail"))
    return "A check fails: what it found counts as a problem once it has lasted";
  if (checking.checks.some((check) => check.result === "unknown"))
    return "No problem found, but not all could be checked";
  if (countOf(checking.checks, "pass") === 0) return "There was nothing to judge";
  return checking.state === "current" && isLive ? "No problem found" : "No problem found so far";
}

/** With nothing wrong: what was checked, and how much of it. */
export function coverage(checking: CheckingObj): string[] {
  const parts = [plural(checking.pods, "pod", "pods")];
  if (checking.pairs > 0)
    parts.push(
      `${plural(checking.pairs, "pair", "pairs")} of them, as ${plural(checking.classes, "class", "classes")}`,
    );
  const lost = checking.away.length > 0 ? `, ${checking.away.length} of them not known as they are now` : "";
  return [`${parts.join(", ")} on ${plural(checking.expected, "node", "nodes")}${lost}`];
}

/** What is to be said of a check of pairs besides: what policies deny, and what its audit found. */
export function pairsNotes(check: CheckObj): string[] {
  const notes: string[] = [];
  if (check.denied) notes.push(`${plural(check.denied, "pair", "pairs")} denied by policy`);
  if (check.audited) {
    const differed = check.differed ? check.differed.toLocaleString("en") : "none";
    notes.push(
      `${plural(check.audited, "random pair", "random pairs")} also traced in full: ${differed} judged otherwise`,
    );
  }
  return notes;
}

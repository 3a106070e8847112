// The answer of a trace, before any step: what becomes of the packet, where it fails and why, and
// what is uncertain about that.

import type { TraceView } from "../route.js";
import { choicesOf } from "../trace/choices.js";
import {
  dispositionWords,
  failedStep,
  flowText,
  hopTitle,
  lostReplies,
  outcomeWords,
  protocolText,
  type Tone,
} from "../trace/format.js";
import type { Hop, Step, Trace, TraceRun } from "../trace/types.js";
import { h, icon } from "./dom.js";
import { note } from "./errors.js";

/** A step and how to get there. */
export type ShowStep = (to: Pick<TraceView, "branch" | "direction"> & { step: number }) => void;

interface Place {
  hop: Hop;
  step: Step;
  branch: number;
  direction: TraceView["direction"];
}

export function answerParts(
  run: TraceRun,
  trace: Trace,
  isGoalHere: boolean,
  onShow: ShowStep,
): (HTMLElement | null)[] {
  const verdict = verdictOf(trace, isGoalHere);
  const failed = trace.branches.length === 1 ? failedPlace(trace) : null;
  return [
    badge(verdict.tone, trace.disposition, verdict.title, verdict.code),
    trace.headline ? h("p", { class: "headline", "data-testid": "headline" }, trace.headline) : null,
    h(
      "p",
      { class: "flow" },
      h("b", {}, run.request.from),
      " → ",
      h("b", {}, run.request.to),
      h("span", { class: "protocol", "data-testid": "protocol" }, protocolText(trace)),
      h("span", { class: "muted" }, flowText(trace)),
    ),
    trace.policy ? h("p", { class: "muted", "data-testid": "policy-says" }, policyWords(trace.policy)) : null,
    failed && cause(verdict.tone, failed, onShow),
    assumptions(trace),
    certainty(trace, failed, onShow),
  ];
}

/** What policies say of a trace's flow, and why that may be otherwise. */
export function policyWords(policy: NonNullable<Trace["policy"]>): string {
  const doubts = policy.unsure ?? [];
  return `By policies: ${policy.sentence}${doubts.map((one) => ` Not sure: ${one}.`).join("")}`;
}

/** The trace that could not be made. */
export function failure(error: string): HTMLElement[] {
  return [badge("bad", "FAILED", "The trace could not be made"), note("bad", error)];
}

function verdictOf(trace: Trace, isGoalHere: boolean): { tone: Tone; title: string; code: string } {
  const found = outcomeOf(trace, isGoalHere);
  const whole = outcomeWords(trace.outcome);
  if (!whole || whole.tone === found.tone || (whole.tone === "good" && found.tone === "out")) return found;
  return { ...found, tone: whole.tone, title: whole.title };
}

function outcomeOf(trace: Trace, isGoalHere: boolean): { tone: Tone; title: string; code: string } {
  const words = dispositionWords(trace.disposition, isGoalHere);
  const lost = lostReplies(trace);
  const worst = lost.find((branch) => branch.reply?.disposition !== "UNKNOWN") ?? lost[0];
  if (words.tone === "good" && worst?.reply) {
    const { disposition, reason } = worst.reply;
    const on =
      lost.length < trace.branches.length ? ` on ${lost.length} of ${trace.branches.length} paths` : "";
    const back = dispositionWords(disposition, true);
    const title =
      back.tone === "warn"
        ? `Arrives; what becomes of the reply is unknown${on}`
        : `Arrives, but the reply doesn’t come back${on}`;
    return { tone: back.tone, title, code: `reply ${disposition}${suffix(reason)}` };
  }
  const arriving = trace.branches.filter((item) => item.disposition === "DELIVERED").length;
  const sometimes = arriving > 0 && arriving < trace.branches.length;
  return {
    tone: words.tone === "good" && isStale(trace) ? "warn" : words.tone,
    title: sometimes ? sometimesTitle(trace) : words.title,
    code: trace.disposition + suffix(trace.reason || CERTAINTIES[trace.certainty]),
  };
}

/** What rests on a state that may have changed since is not good, whatever it says. */
function isStale(trace: Trace): boolean {
  return trace.state.some((state) => state.stale);
}

/** What no state says, or what may have changed since, and the answer rests on. */
function assumptions(trace: Trace): HTMLElement | null {
  const said = trace.assumed ?? [];
  if (said.length === 0) return null;
  const stale = isStale(trace);
  return h(
    "div",
    { class: `note ${stale ? "warn" : "info"}`, "data-testid": "assumed" },
    icon("unknown"),
    h("p", {}, `${stale ? "Not certain: " : ""}${said.join(" ")}`),
  );
}

function sometimesTitle(trace: Trace): string {
  return unknownPlaces(trace).length > 0 ? "May be delivered" : "Delivered only sometimes";
}

const CERTAINTIES: Record<Trace["certainty"], string> = {
  certain: "certain",
  branch: "the kernel chooses the path",
  unknown: "not certain",
};

function suffix(reason: string | null): string {
  return reason ? ` · ${reason}` : "";
}

/** Where a trace with one branch fails: on the forward path, else on the return path. */
function failedPlace(trace: Trace): Place | null {
  const branch = trace.branches[0];
  if (!branch) return null;
  const onReply = branch.disposition === "DELIVERED";
  const hops = onReply ? branch.reply?.hops : branch.forward.hops;
  const step = hops && failedStep(hops, onReply ? (branch.reply?.disposition ?? "") : branch.disposition);
  const hop = step && hops.find((item) => item.steps.includes(step));
  return hop ? { hop, step, branch: 0, direction: onReply ? "reply" : "forward" } : null;
}

function cause(tone: Tone, place: Place, onShow: ShowStep): HTMLElement {
  return h(
    "div",
    { class: `cause ${tone}`, "data-testid": "cause" },
    h("p", {}, h("b", {}, `At ${hopTitle(place.hop)}: `), place.step.why),
    showButton("show-failed", "Show this step", place, onShow),
  );
}

function showButton(testid: string, text: string, place: Place, onShow: ShowStep): HTMLElement {
  const { branch, direction, step } = place;
  const button = h("button", { type: "button", class: "quiet inline", "data-testid": testid }, text);
  button.addEventListener("click", () => onShow({ branch, direction, step: step.seq }));
  return button;
}

/** What the answer hangs on: things that netviz doesn't know, by name, or a choice of the kernel's. */
function certainty(trace: Trace, failed: Place | null, onShow: ShowStep): HTMLElement | null {
  if (trace.certainty === "certain") return null;
  const attributes = { "data-testid": "certainty", "data-certainty": trace.certainty };
  const unknown = unknownPlaces(trace);
  if (unknown.length > 0) {
    const others = unknown.filter((place) => place.step !== failed?.step);
    return others.length === 0
      ? null
      : h("div", { class: "note warn", ...attributes }, icon("unknown"), unknownList(others, onShow));
  }
  const choices = choicesOf(trace.branches).length;
  if (choices < 2) return null;
  const agreed = new Set(trace.branches.map((branch) => branch.disposition)).size === 1;
  const tail = agreed ? "The packet ends the same on each." : "They end differently.";
  const text = `The kernel chooses among ${choices} paths. ${tail} Choose one below.`;
  return h(
    "div",
    { class: `note ${agreed ? "info" : "warn"}`, ...attributes },
    icon("path"),
    h("p", {}, text),
  );
}

const MOST_UNKNOWN = 4;

function unknownList(places: Place[], onShow: ShowStep): HTMLElement {
  const items = places
    .slice(0, MOST_UNKNOWN)
    .map((place) =>
      h(
        "li",
        {},
        h("b", {}, `${hopTitle(place.hop)}${place.direction === "reply" ? ", reply" : ""}: `),
        place.step.why,
        " ",
        showButton("show-unknown", "Show", place, onShow),
      ),
    );
  const left = places.length - items.length;
  return h(
    "div",
    {},
    h("p", {}, "Not certain. It hangs on what netviz doesn’t know:"),
    h("ul", {}, ...items, left > 0 ? h("li", {}, `and ${left} more`) : null),
  );
}

/** The first thing on each path, forward and return, that isn't known; what follows from it is not repeated. */
function unknownPlaces(trace: Trace): Place[] {
  const places = new Map<string, Place>();
  trace.branches.forEach((branch, i) => {
    for (const direction of ["forward", "reply"] as const) {
      for (const hop of branch[direction]?.hops ?? []) {
        const step = hop.steps.find((item) => item.certainty === "unknown");
        if (!step) continue;
        const key = `${direction} ${hop.netns} ${step.kind} ${step.dev}`;
        if (!places.has(key)) places.set(key, { hop, step, branch: i, direction });
        break;
      }
    }
  });
  return [...places.values()];
}

function badge(tone: Tone, disposition: string, title: string, code = disposition): HTMLElement {
  const mark = { good: "check", bad: "cross", out: "tx", warn: "unknown" }[tone];
  return h(
    "div",
    { class: `badge ${tone}`, "data-testid": "disposition", "data-disposition": disposition },
    h("span", { class: "badge-icon" }, icon(mark)),
    h("span", { class: "badge-title" }, title),
    h("span", { class: "badge-code" }, code),
  );
}

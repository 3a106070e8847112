// The branches of a trace as a reader tells them apart: each called by the decisions in which it
// differs from the others; those that read the same are one choice. Pure.

import { changesAbove, kindLabel, valueText } from "./format.js";
import type { Branch, Step } from "./types.js";

export interface Choice {
  title: string;
  /** The sentences of the decisions that make the title. */
  why: string;
  /** Indices of its branches; the first one is shown for it. */
  branches: number[];
  /** Null when nothing tells how likely it is. */
  probability: number | null;
}

export function choicesOf(branches: Branch[]): Choice[] {
  const choices = new Map<string, Choice>();
  const partings = partingSteps(branches);
  branches.forEach((branch, i) => {
    const steps = partings[i] ?? [];
    const title = branch.choice || [...new Set(steps.map(choiceText))].join(", then ") || "the only path";
    const key = JSON.stringify([title, branch.disposition, branch.reply?.disposition ?? null]);
    const choice = choices.get(key);
    if (choice) {
      choice.branches.push(i);
      choice.probability = sum(choice.probability, branch.probability);
    } else {
      const why = [...new Set(steps.map((parting) => parting.step.why))].join(" ");
      choices.set(key, { title, why, branches: [i], probability: branch.probability });
    }
  });
  return [...choices.values()];
}

/** How much all titles begin with, up to a comma: it tells none from the others. */
export function sharedStart(titles: string[]): number {
  const [first = ""] = titles;
  let length = 0;
  for (let at = first.indexOf(", "); at >= 0; at = first.indexOf(", ", at + 1)) {
    if (!titles.every((title) => title.startsWith(first.slice(0, at + 2)))) break;
    length = at + 2;
  }
  return length;
}

/** A step at which branches part, and what follows it in its hop. */
interface Parting {
  step: Step;
  rest: Step[];
  onReply: boolean;
}

/** For each branch, its steps at which another branch parts from it, in order. */
function partingSteps(branches: Branch[]): Parting[][] {
  const all = branches.map(stepsOf);
  return all.map((steps, i) => {
    const at = new Set<number>();
    all.forEach((others, j) => {
      if (i === j) return;
      const first = steps.findIndex((item, n) => !isSame(item.step, others[n]?.step));
      if (first >= 0) at.add(first);
    });
    return [...at].sort((a, b) => a - b).map((n) => steps[n] as Parting);
  });
}

function stepsOf(branch: Branch): Parting[] {
  return (["forward", "reply"] as const).flatMap((direction) =>
    (branch[direction]?.hops ?? []).flatMap((hop) =>
      hop.steps.map((step, i) => ({ step, rest: hop.steps.slice(i), onReply: direction === "reply" })),
    ),
  );
}

function isSame(step: Step, other: Step | undefined): boolean {
  return (
    other !== undefined &&
    step.kind === other.kind &&
    step.dev === other.dev &&
    step.decision === other.decision &&
    step.why === other.why
  );
}

/** Where the packet is sent, if that is what is chosen; else the decision. */
function choiceText({ step, rest, onReply }: Parting): string {
  const text = TRANSLATING.has(step.kind) ? goalOf(rest) : null;
  return `${onReply ? "reply: " : ""}${text ?? `${kindLabel(step.kind)} ${step.decision.replaceAll("_", " ")}`}`;
}

const TRANSLATING = new Set(["nat", "netfilter", "conntrack"]);

/** The address, with its port, to which the next translation in this hop sends the packet. */
function goalOf(steps: Step[]): string | null {
  for (const step of steps) {
    const changes = new Map(changesAbove(step));
    const [to, port] = [changes.get("dst"), changes.get("dport")];
    if (to) return `to ${valueText(to[1])}${port ? `, port ${valueText(port[1])}` : ""}`;
    const from = changes.get("src");
    if (from) return `from ${valueText(from[1])}`;
  }
  return null;
}

function sum(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}

// The branches of a trace as a reader tells them apart: each called by the decisions in which it
// differs from the others; those that read alike are one way. Pure.

import { changesAbove, kindLabel, valueText } from "./format.js";
import type { Branch, Step } from "./types.js";

export interface Way {
  title: string;
  /** The sentences of the decisions that make the title. */
  why: string;
  /** Indices of its branches; the first one is shown for it. */
  branches: number[];
  /** Null when nothing tells how likely it is. */
  probability: number | null;
}

export function waysOf(branches: Branch[]): Way[] {
  const ways = new Map<string, Way>();
  const partings = partingSteps(branches);
  branches.forEach((branch, i) => {
    const steps = partings[i] ?? [];
    const title = [...new Set(steps.map(choiceText))].join(", then ") || "the only way";
    const key = JSON.stringify([title, branch.disposition, branch.reply?.disposition ?? null]);
    const way = ways.get(key);
    if (way) {
      way.branches.push(i);
      way.probability = sum(way.probability, branch.probability);
    } else {
      const why = [...new Set(steps.map((choice) => choice.step.why))].join(" ");
      ways.set(key, { title, why, branches: [i], probability: branch.probability });
    }
  });
  return [...ways.values()];
}

interface Choice {
  step: Step;
  onReply: boolean;
}

/** For each branch, its steps at which another branch parts from it, in order. */
function partingSteps(branches: Branch[]): Choice[][] {
  const all = branches.map(choicesOf);
  return all.map((choices, i) => {
    const at = new Set<number>();
    all.forEach((others, j) => {
      if (i === j) return;
      const first = choices.findIndex((choice, n) => !isSame(choice.step, others[n]?.step));
      if (first >= 0) at.add(first);
    });
    return [...at].sort((a, b) => a - b).map((n) => choices[n] as Choice);
  });
}

function choicesOf(branch: Branch): Choice[] {
  return (["forward", "reply"] as const).flatMap((direction) =>
    (branch[direction]?.hops ?? [])
      .flatMap((hop) => hop.steps)
      .map((step) => ({ step, onReply: direction === "reply" })),
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

function choiceText({ step, onReply }: Choice): string {
  const rewritten = changesAbove(step).find(([field]) => field === "dst" || field === "src");
  const goal = rewritten ? ` ${valueText(rewritten[1][1])}` : "";
  return `${onReply ? "reply: " : ""}${kindLabel(step.kind)} ${step.decision.replaceAll("_", " ")}${goal}`;
}

function sum(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}

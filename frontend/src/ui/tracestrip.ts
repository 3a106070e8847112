// A trace in one line: the places that it crosses, forward above and return below, and where it ends.

import { failedStep, hopTitle } from "../trace/format.js";
import type { Branch, Hop, Step, Trace } from "../trace/types.js";
import { h, icon, s } from "./dom.js";

/** Where a trace fails: its direction, the step, and the place. */
export interface Failure {
  direction: "forward" | "reply";
  branch: number;
  hop: Hop;
  step: Step;
}

/** The first branch that fails, where it does. */
export function failureOf(trace: Trace): Failure | null {
  for (const [branch, one] of trace.branches.entries()) {
    const found = failureIn(one);
    if (found) return { ...found, branch };
  }
  return null;
}

function failureIn(branch: Branch): Omit<Failure, "branch"> | null {
  const isThere = branch.disposition === "DELIVERED";
  if (isThere && (!branch.reply || branch.reply.disposition === "DELIVERED")) return null;
  const hops = isThere ? (branch.reply?.hops ?? []) : branch.forward.hops;
  const step = failedStep(hops, isThere ? (branch.reply?.disposition ?? "") : branch.disposition);
  const hop = step && hops.find((item) => item.steps.includes(step));
  return step && hop ? { direction: isThere ? "reply" : "forward", hop, step } : null;
}

interface Place {
  name: string;
  key: string;
  forward: Hop[];
  reply: Hop[];
}

const DOT = 22;
const FORWARD_Y = 34;
const REPLY_Y = 60;

export function traceStrip(trace: Trace): HTMLElement {
  const failure = failureOf(trace);
  const branch = trace.branches[failure?.branch ?? 0];
  if (!branch) return h("div");
  const places = placesOf(branch);
  const counts = places.map((place) => Math.max(stations(place.forward), stations(place.reply), 2));
  const widths = counts.map((count, i) =>
    Math.max(count * DOT + 16, (places[i]?.name.length ?? 0) * 6.6 + 20),
  );
  const total = widths.reduce((sum, width) => sum + width + 4, 0);
  const svg = s("svg", {
    viewBox: `0 0 ${total} 78`,
    width: total,
    height: 78,
    class: "trace-strip",
    role: "img",
    "aria-label": label(trace),
  });
  const lanes: Record<"forward" | "reply", { x: number; step: Step }[]> = { forward: [], reply: [] };
  let x = 0;
  places.forEach((place, i) => {
    const width = widths[i] ?? 0;
    svg.append(s("rect", { x, y: 0.5, width, height: 77, rx: 6, class: "place" }));
    svg.append(s("text", { x: x + 10, y: 16, class: "name" }, place.name));
    for (const direction of ["forward", "reply"] as const) {
      const steps = shownSteps(place[direction]);
      const gap = width / (steps.length + 1);
      const ordered = direction === "forward" ? steps : [...steps].reverse();
      for (const [n, step] of ordered.entries()) lanes[direction].push({ x: x + gap * (n + 1), step });
    }
    x += width + 4;
  });
  draw(svg, "forward", FORWARD_Y, lanes.forward, failure);
  draw(svg, "reply", REPLY_Y, [...lanes.reply].reverse(), failure);
  return h("div", { class: "strip-box" }, svg);
}

function draw(
  svg: SVGSVGElement,
  direction: "forward" | "reply",
  y: number,
  dots: { x: number; step: Step }[],
  failure: Failure | null,
): void {
  const [first, last] = [dots[0], dots.at(-1)];
  if (!first || !last) return;
  svg.append(s("line", { x1: first.x, y1: y, x2: last.x, y2: y, class: `lane ${direction}` }));
  for (const dot of dots) {
    const isEnd = failure?.step === dot.step;
    if (!isEnd) svg.append(s("circle", { cx: dot.x, cy: y, r: 4, class: `stop ${direction}` }));
  }
  const end = dots.find((dot) => dot.step === failure?.step);
  if (!end) return;
  svg.append(
    s("line", { x1: end.x, y1: y, x2: end.x, y2: 78, class: "fall" }),
    s("circle", { cx: end.x, cy: y, r: 8, class: "end" }),
    s("path", { d: `M${end.x - 3} ${y - 3}l6 6m0-6l-6 6`, class: "end-cross" }),
  );
}

/** The namespaces in the order of the forward path, then those that only the return crosses. */
function placesOf(branch: Branch): Place[] {
  const places: Place[] = [];
  const at = (hop: Hop): Place => {
    const key = `${hop.node} ${hop.netns}`;
    let place = places.find((one) => one.key === key);
    if (!place) {
      place = {
        key,
        name: hopTitle(hop).split("/").at(-1) ?? "",
        forward: [],
        reply: [],
      };
      places.push(place);
    }
    return place;
  };
  for (const hop of branch.forward.hops) at(hop).forward.push(hop);
  for (const hop of branch.reply?.hops ?? []) at(hop).reply.push(hop);
  return places;
}

const MOST_STATIONS = 8;

/** The steps that are drawn: all, or of many the first ones and the last. */
function shownSteps(hops: Hop[]): Step[] {
  const steps = hops.flatMap((hop) => hop.steps);
  if (steps.length <= MOST_STATIONS) return steps;
  return [...steps.slice(0, MOST_STATIONS - 1), ...steps.slice(-1)];
}

function stations(hops: Hop[]): number {
  return shownSteps(hops).length;
}

function label(trace: Trace): string {
  const failure = failureOf(trace);
  return failure
    ? `The trace ends at ${failure.hop.node}, ${failure.step.kind}`
    : "The trace arrives and returns";
}

/** The step at which it ends, in words. */
export function failureNote(failure: Failure, href: string): HTMLElement {
  const place = hopTitle(failure.hop);
  return h(
    "a",
    { class: "failure", href, "data-testid": "failing-step" },
    icon("breaks"),
    h("b", {}, `Step ${failure.step.seq}, ${failure.step.kind} on ${place}`),
    h("span", {}, failure.step.why),
  );
}

// When an answer is of, and whether it is up to date.

import { moment } from "../problems.js";
import type { TraceRun } from "../trace/types.js";
import { h, icon } from "./dom.js";

/** The line below the answer; `again` traces the same packet once more, null where the user may not. */
export function currencyLine(run: TraceRun, again: (() => void) | null): HTMLElement {
  const now = new Date();
  const time = h("time", { datetime: run.created }, moment(run.created, now));
  if (run.current === false) return outdated(run, time, again, now);
  const tail = run.current ? ", up to date." : run.current_note ? `. ${run.current_note}` : ".";
  return h("p", { class: "muted currency" }, "Answer of ", time, tail);
}

function outdated(run: TraceRun, time: HTMLElement, again: (() => void) | null, now: Date): HTMLElement {
  const since = run.outdated_since ? ` since ${moment(run.outdated_since, now)}` : "";
  const why = run.current_note ?? "";
  const text = h(
    "p",
    {},
    h("b", { class: "what" }, `Out of date${since}: `),
    `${why.charAt(0).toLowerCase()}${why.slice(1)} The answer is of `,
    time,
    ".",
  );
  const line = h("div", { class: "note warn currency" }, icon("alert"), text);
  if (again) {
    const button = h(
      "button",
      { type: "button", "data-testid": "trace-refresh", "aria-keyshortcuts": "r" },
      icon("again"),
      "Trace again",
      h("kbd", { "aria-hidden": "true" }, "R"),
    );
    button.addEventListener("click", again);
    line.append(button);
  }
  return line;
}

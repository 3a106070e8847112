// Beginning a trace: the form, and the traces and observations of late.

import { FIRST_VIEW, formatRoute } from "../route.js";
import { dispositionWords, outcomeWords } from "../trace/format.js";
import { recentHref, recentResult, recentTitle } from "../trace/recent.js";
import type { RecentObservation, TraceRun } from "../trace/types.js";
import type { Context, Panel } from "./context.js";
import { h } from "./dom.js";
import { heading } from "./heading.js";
import { findEnd, seconds } from "./names.js";
import { TraceForm } from "./traceform.js";

export class Compose implements Panel {
  readonly element = h("div", { class: "compose", "data-testid": "compose" });
  readonly form: TraceForm;
  private readonly recent = h("div", { class: "recent" });
  private readonly observed = h("div", { class: "recent" });

  constructor(
    private readonly context: Context,
    from: string,
    to: string,
  ) {
    this.form = new TraceForm(context);
    this.form.fill({ from, to });
    const hint = h("p", { class: "hint" }, context.mayTrace ? hintText(from, to) : "");
    this.element.append(
      heading("Trace", "Follow a packet", ""),
      hint,
      this.form.element,
      this.recent,
      this.observed,
    );
    void this.loadRecent();
  }

  update(): void {}

  /** Go to the end that isn't named yet. */
  focus(): void {
    (this.form.from.value ? this.form.to : this.form.from).focus({ preventScroll: true });
  }

  private async loadRecent(): Promise<void> {
    const { api } = this.context;
    const [runs, { observations }] = await Promise.all([
      api.recentTraces().catch(() => []),
      api.recentObservations().catch(() => ({ observations: [] })),
    ]);
    if (observations.length > 0)
      this.observed.replaceChildren(
        h("h3", {}, "Recent observations"),
        h("ul", {}, ...observations.map(observedItem)),
      );
    if (runs.length === 0) return;
    this.recent.replaceChildren(
      h("h3", {}, "Recent traces"),
      h(
        "ul",
        {},
        ...runs.map((run) => runItem(run, findEnd(this.context.graph, run.request.to) !== undefined)),
      ),
    );
  }
}

function hintText(from: string, to: string): string {
  if (from && !to) return "Now click the pod that the packet goes to, or type an address below.";
  if (to && !from) return "Now click the pod that the packet comes from.";
  return "Click a pod on the map to start there, then the pod to reach; or fill in the form.";
}

function observedItem(one: RecentObservation): HTMLElement {
  const { tone, text } = recentResult(one);
  return h(
    "li",
    { "data-testid": "recent-observation" },
    h("a", { href: recentHref(one) }, recentTitle(one)),
    h(
      "span",
      { class: "muted" },
      h("span", { class: `verdict ${tone}`, title: one.error ?? one.headline ?? "" }, text),
      ` · ${one.user || "nobody"} · ${agoText(one.created)}`,
    ),
  );
}

function agoText(created: string): string {
  const age = seconds((Date.now() - Date.parse(created)) / 1000);
  return age === "now" ? age : `${age} ago`;
}

function runItem(run: TraceRun, isGoalHere: boolean): HTMLElement {
  const words =
    outcomeWords(run.outcome) ?? (run.disposition ? dispositionWords(run.disposition, isGoalHere) : null);
  const { from, to, proto, dport } = run.request;
  return h(
    "li",
    {},
    h("a", { href: formatRoute({ page: "trace", id: run.id, view: FIRST_VIEW }) }, `${from} → ${to}`),
    h(
      "span",
      { class: "muted" },
      h(
        "span",
        { class: `verdict ${words?.tone ?? ""}`, title: run.headline ?? "" },
        words?.short ?? run.status,
      ),
      ` · ${proto ?? "tcp"}${dport ? ` ${dport}` : ""} · ${run.user} · ${agoText(run.created)}`,
    ),
  );
}

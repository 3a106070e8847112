// Beginning a trace: the form, and the traces of late.

import { FIRST_VIEW, formatRoute } from "../route.js";
import { dispositionWords, outcomeWords } from "../trace/format.js";
import type { TraceRun } from "../trace/types.js";
import type { Context, Panel } from "./context.js";
import { h } from "./dom.js";
import { heading } from "./heading.js";
import { findEnd, seconds } from "./names.js";
import { TraceForm } from "./traceform.js";

export class Compose implements Panel {
  readonly element = h("div", { class: "compose", "data-testid": "compose" });
  readonly form: TraceForm;
  private readonly recent = h("div", { class: "recent" });

  constructor(
    private readonly context: Context,
    from: string,
    to: string,
  ) {
    this.form = new TraceForm(context);
    this.form.fill({ from, to });
    const hint = h("p", { class: "hint" }, context.mayTrace ? hintText(from, to) : "");
    this.element.append(heading("Trace", "Follow a packet", ""), hint, this.form.element, this.recent);
    void this.loadRecent();
  }

  update(): void {}

  /** Go to the end that isn't named yet. */
  focus(): void {
    (this.form.from.value ? this.form.to : this.form.from).focus({ preventScroll: true });
  }

  private async loadRecent(): Promise<void> {
    const runs = await this.context.api.recentTraces().catch(() => []);
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

function runItem(run: TraceRun, isGoalHere: boolean): HTMLElement {
  const words =
    outcomeWords(run.outcome) ?? (run.disposition ? dispositionWords(run.disposition, isGoalHere) : null);
  const { from, to, proto, dport } = run.request;
  const age = seconds((Date.now() - Date.parse(run.created)) / 1000);
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
      ` · ${proto ?? "tcp"}${dport ? ` ${dport}` : ""} · ${run.user} · ${age === "now" ? age : `${age} ago`}`,
    ),
  );
}

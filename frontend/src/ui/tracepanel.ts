// One trace: the answer first (what becomes of the packet, and where), then the way there and back.

import type { TraceView } from "../route.js";
import {
  dispositionWords,
  failedStep,
  flowText,
  hopTitle,
  percent,
  protocolText,
  rewrites,
} from "../trace/format.js";
import { findNetns } from "../trace/path.js";
import type { Branch, Trace, TraceRun } from "../trace/types.js";
import type { Context, Panel } from "./context.js";
import { h, icon } from "./dom.js";
import { note } from "./inspector.js";
import { findEnd, seconds } from "./names.js";
import { hopList } from "./steps.js";
import { TraceForm } from "./traceform.js";

export class TracePanel implements Panel {
  readonly element = h("div", { class: "trace", "data-testid": "trace" });
  private readonly answer = h("div", { class: "answer", "aria-live": "polite" });
  private readonly form: TraceForm;
  private readonly again: HTMLDetailsElement;
  private readonly body = h("div", { class: "trace-body" });
  private run: TraceRun | null = null;
  private view: TraceView;
  private noted = "";

  /** What has to be said of a trace that its result doesn't tell. */
  private readonly notes = h("div", { "data-testid": "trace-notes" });

  constructor(
    private readonly context: Context,
    view: TraceView,
    private readonly onView: (view: TraceView) => void,
  ) {
    this.view = view;
    this.form = new TraceForm(context);
    this.again = h(
      "details",
      { class: "again" },
      h("summary", {}, "Change the packet and trace again"),
      this.form.element,
    );
    this.element.append(this.answer, this.notes, this.again, this.body);
    this.answer.append(h("p", { class: "muted" }, "Loading the trace…"));
  }

  update(): void {
    this.renderNotes();
  }

  /** Alerts of the namespaces that the packet comes from, goes to and crosses. */
  private renderNotes(): void {
    const { graph } = this.context;
    const trace = this.run?.trace;
    const keys = new Set(
      trace?.branches.flatMap((branch) => branch.forward.hops.map((hop) => findNetns(graph, hop)?.key ?? "")),
    );
    const goal = trace && findEnd(graph, trace.flow.dst);
    if (goal) keys.add(goal.key);
    const messages = new Set([...keys].flatMap((key) => graph.alertsOf(key).map((alert) => alert.message)));
    const remark = this.run && this.context.remarkOn(this.run.id);
    if (remark) messages.add(remark);
    const changed = trace?.branches.flatMap((branch) => rewrites(branch.forward.hops)) ?? [];
    // Between pods nothing may be rewritten: that is the pod network's contract. Elsewhere it is normal.
    const isBroken = goal?.pod != null;
    if (isBroken && changed.length > 0)
      messages.add(`${changed.join(" ")} Pods are to reach each other without NAT.`);
    const plain = isBroken ? [] : [...new Set(changed)];
    const text = [...messages, ...plain].join("\n");
    if (text === this.noted) return;
    this.noted = text;
    this.notes.replaceChildren(
      ...[...messages].map((message) => note("warn", message)),
      ...plain.map((sentence) => h("p", { class: "remark" }, sentence)),
    );
  }

  show(run: TraceRun, view: TraceView): void {
    const fresh = run.id !== this.run?.id || run.status !== this.run?.status;
    this.run = run;
    this.view = view;
    if (fresh) this.form.fill(run.request);
    this.render(fresh);
    this.renderNotes();
  }

  fail(message: string): void {
    this.answer.replaceChildren(h("p", { class: "note bad" }, message));
  }

  private render(fresh: boolean): void {
    const run = this.run;
    if (!run) return;
    const trace = run.trace;
    if (run.status === "failed") {
      this.answer.replaceChildren(
        badge("bad", "FAILED", "The trace could not be made"),
        h("p", {}, run.error ?? ""),
      );
      this.body.replaceChildren();
      this.again.open = true;
      return;
    }
    if (!trace) {
      const text = run.status === "queued" ? "Waiting for a worker…" : "Following the packet…";
      this.answer.replaceChildren(h("p", { class: "busy", "data-testid": "trace-busy" }, text));
      this.body.replaceChildren();
      return;
    }
    const branch = trace.branches[this.view.branch] ?? trace.branches[0];
    if (!branch) return;
    if (fresh)
      this.answer.replaceChildren(
        ...answerParts(run, trace, (direction, step) => this.onView({ branch: 0, direction, step })),
      );
    const focused = document.activeElement?.closest("[data-seq]")?.getAttribute("data-seq");
    this.body.replaceChildren(...this.branchParts(trace, branch));
    if (focused)
      this.body.querySelector<HTMLElement>(`[data-seq="${focused}"] button`)?.focus({ preventScroll: true });
    this.body.querySelector(".step.selected")?.scrollIntoView({ block: "nearest" });
  }

  private branchParts(trace: Trace, branch: Branch): HTMLElement[] {
    const parts: HTMLElement[] = [];
    if (trace.branches.length > 1) parts.push(this.branchTabs(trace));
    parts.push(this.directionTabs(branch));
    const reply = this.view.direction === "reply";
    const hops = reply ? (branch.reply?.hops ?? []) : branch.forward.hops;
    const disposition = reply ? (branch.reply?.disposition ?? "UNKNOWN") : branch.disposition;
    if (reply && !branch.reply)
      parts.push(h("p", { class: "muted" }, "No reply is sent, since the packet doesn’t arrive."));
    const events = {
      onStep: (seq: number) => this.onView({ ...this.view, step: this.view.step === seq ? null : seq }),
    };
    const list = hopList(hops, disposition, this.view.step, events);
    list.classList.add(this.view.direction);
    parts.push(list, stateLine(trace));
    return parts;
  }

  private branchTabs(trace: Trace): HTMLElement {
    const tabs = trace.branches.map((branch, i) => {
      const words = dispositionWords(branch.disposition);
      const chance = branch.probability === null ? "" : ` · ${percent(branch.probability)}`;
      const chosen = i === this.view.branch;
      const tab = h(
        "button",
        { type: "button", role: "tab", "aria-selected": String(chosen), "data-testid": "branch" },
        h("span", { class: `dot ${words.tone}` }),
        `${i + 1}: ${words.title}${chance}`,
      );
      tab.addEventListener("click", () => this.onView({ branch: i, direction: "forward", step: null }));
      return tab;
    });
    return h("div", { class: "tabs branches", role: "tablist", "aria-label": "Branches" }, ...tabs);
  }

  private directionTabs(branch: Branch): HTMLElement {
    const tab = (direction: TraceView["direction"], title: string, disposition: string | null) => {
      const words =
        disposition === null ? { tone: "none", title: "not sent" } : dispositionWords(disposition);
      const element = h(
        "button",
        {
          type: "button",
          role: "tab",
          "aria-selected": String(this.view.direction === direction),
          class: direction,
          "data-testid": `direction-${direction}`,
          "data-disposition": disposition,
        },
        h("span", { class: "swatch" }),
        h("b", {}, title),
        h("span", { class: `verdict ${words.tone}` }, words.title),
      );
      element.addEventListener("click", () => this.onView({ ...this.view, direction, step: null }));
      return element;
    };
    return h(
      "div",
      { class: "tabs directions", role: "tablist", "aria-label": "Direction" },
      tab("forward", "Forward", branch.disposition),
      tab("reply", "Reply", branch.reply?.disposition ?? null),
    );
  }
}

const CERTAINTIES: Record<Trace["certainty"], string> = {
  certain: "certain",
  branch: "depends on the kernel’s choice",
  unknown: "not certain",
};

function answerParts(
  run: TraceRun,
  trace: Trace,
  onFailed: (direction: TraceView["direction"], seq: number) => void,
): HTMLElement[] {
  const branch = trace.branches[0];
  const reply = branch?.reply ?? null;
  const single = trace.branches.length === 1;
  const replyBad = single && reply !== null && dispositionWords(reply.disposition).tone !== "good";
  const words = dispositionWords(trace.disposition);
  const tone = words.tone === "good" && replyBad ? "bad" : words.tone;
  const title =
    words.tone === "good" && replyBad ? "Arrives, but the reply doesn’t come back" : titleOf(trace);
  const isForward = words.tone !== "good";
  const hops = isForward ? branch?.forward.hops : reply?.hops;
  const failed =
    tone !== "good" && single && hops
      ? failedStep(hops, isForward ? trace.disposition : (reply?.disposition ?? ""))
      : null;
  const where = hops?.find((hop) => failed !== null && hop.steps.includes(failed));
  const reason = replyBad && !isForward ? reply?.reason : trace.reason;
  return [
    badge(
      tone,
      trace.disposition,
      title,
      replyBad && !isForward
        ? `reply ${reply?.disposition} · ${reason}`
        : reason || CERTAINTIES[trace.certainty],
    ),
    h(
      "p",
      { class: "flow" },
      h("b", {}, run.request.from),
      " → ",
      h("b", {}, run.request.to),
      h("span", { class: "protocol", "data-testid": "protocol" }, protocolText(trace)),
      h("span", { class: "muted" }, flowText(trace)),
    ),
    ...(failed && where
      ? [
          cause(tone, hopTitle(where), failed.why, () =>
            onFailed(isForward ? "forward" : "reply", failed.seq),
          ),
        ]
      : []),
    ...(trace.certainty === "certain" ? [] : [certainty(trace)]),
  ];
}

function cause(tone: string, where: string, why: string, onShow: () => void): HTMLElement {
  const show = h(
    "button",
    { type: "button", class: "quiet", "data-testid": "show-failed" },
    "Show this step",
  );
  show.addEventListener("click", onShow);
  return h(
    "div",
    { class: `cause ${tone}`, "data-testid": "cause" },
    h("p", {}, h("b", {}, `At ${where}: `), why),
    show,
  );
}

function titleOf(trace: Trace): string {
  const arriving = trace.branches.filter((branch) => branch.disposition === "DELIVERED").length;
  if (trace.certainty === "branch" && arriving > 0 && arriving < trace.branches.length)
    return "Delivered only sometimes";
  return dispositionWords(trace.disposition).title;
}

function certainty(trace: Trace): HTMLElement {
  const text =
    trace.certainty === "branch"
      ? `The kernel chooses between ${trace.branches.length} ways; each is shown below.`
      : "Not certain: a step on the way isn’t known. It is marked below.";
  return h("p", { class: "note warn", "data-testid": "certainty", "data-certainty": trace.certainty }, text);
}

function badge(tone: string, disposition: string, title: string, reason: string | null = null): HTMLElement {
  const mark = tone === "good" ? "check" : tone === "bad" ? "cross" : tone === "out" ? "tx" : "unknown";
  return h(
    "div",
    { class: `badge ${tone}`, "data-testid": "disposition", "data-disposition": disposition },
    h("span", { class: "badge-icon" }, icon(mark)),
    h("span", { class: "badge-title" }, title),
    h("span", { class: "badge-code" }, reason ? `${disposition} · ${reason}` : disposition),
  );
}

function stateLine(trace: Trace): HTMLElement {
  const nodes = trace.state.map(
    (state) => `${state.node} (${seconds(state.age_s)}${state.complete ? "" : ", incomplete"})`,
  );
  return h(
    "p",
    { class: "muted state-line" },
    `Computed from the state of ${nodes.join(", ") || "no node"}.`,
  );
}

// One trace: the answer first (what becomes of the packet, and where), then the forward and return path.

import type { Command } from "../find/commands.js";
import { mayAffect } from "../problems.js";
import { LEVELS, type TraceView } from "../route.js";
import type { Shared } from "../share/tracetext.js";
import { choicesOf } from "../trace/choices.js";
import {
  dispositionWords,
  largestText,
  percent,
  podText,
  replyWords,
  rewrites,
  type Words,
} from "../trace/format.js";
import { isRunning, seenHops } from "../trace/observed.js";
import { findNetns } from "../trace/path.js";
import type { Branch, Trace, TraceRun } from "../trace/types.js";
import { answerParts, failure } from "./answer.js";
import { CapturePart } from "./capturepart.js";
import type { Context, Panel } from "./context.js";
import { currencyLine } from "./currency.js";
import { h, icon, tabList } from "./dom.js";
import { errorNote, note } from "./errors.js";
import { findEnd, seconds, traceName } from "./names.js";
import { ObservePart } from "./observepart.js";
import { shareCommands, shareMenu } from "./sharing.js";
import { hopList, type Seen } from "./steps.js";
import { TraceForm } from "./traceform.js";

export class TracePanel implements Panel {
  readonly element = h("div", { class: "trace", "data-testid": "trace" });
  private readonly answer = h("div", { class: "answer", "aria-live": "polite" });
  private readonly currency = h("div", { role: "status", "data-testid": "trace-currency" });
  private readonly form: TraceForm;
  private readonly again: HTMLDetailsElement;
  private readonly actions = h("div", { class: "actions" });
  private readonly body = h("div", { class: "trace-body" });
  private readonly observe: ObservePart;
  private readonly capture: CapturePart;
  private run: TraceRun | null = null;
  private view: TraceView;
  private noted = "";

  /** What has to be said of a trace that its result doesn't tell. */
  private readonly notes = h("div", { "data-testid": "trace-notes" });

  constructor(
    private readonly context: Context,
    view: TraceView,
    private readonly onView: (view: TraceView) => void,
    /** The trace that is shown is another one: more was seen. */
    private readonly onTrace: () => void,
  ) {
    this.view = view;
    this.form = new TraceForm(context);
    this.again = h("details", { class: "again" }, h("summary", {}, "Change the packet"), this.form.element);
    this.observe = new ObservePart(context, view, onView, () => this.observed());
    this.capture = new CapturePart(context, () => this.captured(), "Capture at every hop");
    this.fillActions();
    this.element.append(
      this.answer,
      this.currency,
      this.notes,
      this.actions,
      this.again,
      this.observe.element,
      this.body,
      this.capture.element,
    );
    this.answer.append(h("p", { class: "muted" }, "Loading the trace…"));
  }

  update(): void {
    this.renderNotes();
  }

  dispose(): void {
    this.observe.dispose();
    this.capture.dispose();
  }

  /** The trace that is shown: the prediction, or what it was when it was observed, with what was seen. */
  shownTrace(): Trace | null {
    const observed = this.view.mode === "predict" ? null : this.observe.run?.trace;
    return observed ?? this.run?.trace ?? null;
  }

  /** What a capture is of; only a trace that the server keeps has its hops. */
  private captured(): { trace: string } | null {
    return this.run && /^\d+$/.test(this.run.id) ? { trace: this.run.id } : null;
  }

  /** More was seen. */
  private observed(): void {
    const trace = this.shownTrace();
    const branch = trace?.branches[this.view.branch] ?? trace?.branches[0];
    if (!trace || !branch || this.view.mode === "predict") return;
    this.renderBody(trace, branch, findEnd(this.context.graph, trace.flow.dst) !== undefined);
    this.onTrace();
  }

  /** What is laid beside the steps; null while only the prediction is shown, or nothing was seen of this branch. */
  private seen(trace: Trace): Seen | null {
    const { observation } = trace;
    const { run } = this.observe;
    if (this.view.mode === "predict" || !observation || !run || observation.nearest !== this.view.branch)
      return null;
    return { trace, observation, direction: this.view.direction, isRunning: isRunning(run) };
  }

  /** The same packet once more (after a repair, say), and a link to this trace. */
  private fillActions(): void {
    const share = shareMenu(() => this.shared(), this.context);
    if (!this.context.mayTrace) {
      this.actions.append(share);
      return;
    }
    const repeat = h(
      "button",
      { type: "button", "data-testid": "trace-repeat" },
      icon("again"),
      "Trace again",
    );
    repeat.addEventListener("click", () => void this.repeat());
    this.actions.append(repeat, share);
  }

  /** What is copied and saved: the branch that is shown. */
  private shared(): Shared | null {
    const { run } = this;
    const trace = this.shownTrace();
    return run && trace
      ? { run, trace, branch: this.view.branch, url: location.href, now: new Date() }
      : null;
  }

  commands(): Command[] {
    return shareCommands(() => this.shared(), this.context);
  }

  /** R traces again. Tells whether the key was taken. */
  key(event: KeyboardEvent): boolean {
    const isTaken = event.key.toLowerCase() === "r" && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!isTaken || !this.context.mayTrace || this.run?.status !== "done") return false;
    void this.repeat();
    return true;
  }

  private async repeat(): Promise<void> {
    if (!this.run) return;
    this.again.open = false;
    this.form.fill(this.run.request);
    await this.form.run(true);
    this.again.open = this.form.hasFailed;
  }

  private renderCurrency(): void {
    const run = this.run;
    const again = this.context.mayTrace ? () => void this.repeat() : null;
    this.currency.replaceChildren(...(run?.status === "done" ? [currencyLine(run, again)] : []));
  }

  /** Problems of the namespaces that the packet comes from, goes to and crosses, if they affect its ends. */
  private renderNotes(): void {
    const { graph } = this.context;
    const trace = this.run?.trace;
    const keys = new Set(
      trace?.branches.flatMap((branch) => branch.forward.hops.map((hop) => findNetns(graph, hop)?.key ?? "")),
    );
    const goal = trace && findEnd(graph, trace.flow.dst);
    if (goal) keys.add(goal.key);
    const ends = [podText(trace?.flow.from.pod ?? null), goal?.pod ? traceName(goal) : null];
    const known = [...keys].flatMap((key) => graph.problemsAt(key)).filter((one) => mayAffect(one, ends));
    const headlines = new Set(known.map((problem) => problem.headline));
    // The verdict above says it already.
    headlines.delete(trace?.headline ?? "");
    const messages = new Set([...headlines].map((headline) => `Known on its path: ${headline}`));
    if (this.run?.request.proto === "auto" && trace?.flow.proto === "icmp")
      messages.add(
        `Nothing is known to listen in ${this.run.request.to}, so this is an ICMP echo. For a connection, choose TCP or UDP and a port below.`,
      );
    const changed = trace?.branches.flatMap((branch) => rewrites(branch.forward.hops)) ?? [];
    // Between pods nothing may be rewritten: that is the pod network's contract. Elsewhere it is normal.
    const isBroken = goal?.pod != null;
    if (isBroken && changed.length > 0 && trace?.outcome !== "breaks-contract")
      messages.add(`${changed.join(" ")} Pods are to reach each other without NAT.`);
    // Other paths' rewrites would read as if they were done, too.
    const shown = trace?.branches[this.view.branch] ?? trace?.branches[0];
    const plain = isBroken || !shown ? [] : [...new Set(rewrites(shown.forward.hops))];
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
    const isShown = !fresh && run.trace === this.run?.trace && view === this.view;
    this.run = run;
    this.view = view;
    if (fresh) this.form.fill(run.request);
    this.observe.show(run, view);
    this.capture.element.hidden = run.status !== "done" || this.captured() === null;
    if (!isShown) this.render(fresh);
    this.renderCurrency();
    this.renderNotes();
  }

  fail(error: Error): void {
    this.answer.replaceChildren(errorNote(error));
    this.actions.hidden = true;
    this.again.hidden = true;
  }

  private render(fresh: boolean): void {
    const run = this.run;
    if (!run) return;
    const trace = run.trace;
    this.actions.hidden = run.status !== "done";
    if (run.status === "failed") {
      this.answer.replaceChildren(...failure(run.error ?? ""));
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
    const isGoalHere = findEnd(this.context.graph, trace.flow.dst) !== undefined;
    if (fresh) {
      const parts = answerParts(run, trace, isGoalHere, (to) => this.onView({ ...this.view, ...to }));
      this.answer.replaceChildren(...parts.filter((part) => part !== null));
    }
    const shown = this.shownTrace() ?? trace;
    this.renderBody(shown, shown.branches[this.view.branch] ?? branch, isGoalHere);
  }

  /** Draw the path again, and leave the keyboard's focus where it was. */
  private renderBody(trace: Trace, branch: Branch, isGoalHere: boolean): void {
    const focused = this.body.contains(document.activeElement)
      ? document.activeElement?.getAttribute("data-focus")
      : null;
    this.body.replaceChildren(...this.branchParts(trace, branch, isGoalHere));
    if (focused)
      this.body.querySelector<HTMLElement>(`[data-focus="${focused}"]`)?.focus({ preventScroll: true });
    this.body.querySelector(".step.selected")?.scrollIntoView({ block: "nearest" });
  }

  private branchParts(trace: Trace, branch: Branch, isGoalHere: boolean): HTMLElement[] {
    const parts: HTMLElement[] = [];
    if (trace.branches.length > 1) parts.push(this.branchTabs(trace, isGoalHere));
    parts.push(this.directionTabs(branch, isGoalHere));
    const isReply = this.view.direction === "reply";
    if (isReply && !branch.reply)
      return [...parts, h("p", { class: "muted" }, "No reply is sent, since the packet doesn’t arrive.")];
    const hops = (isReply ? branch.reply : branch.forward)?.hops ?? [];
    const words = (isReply ? replyWords(branch) : null) ?? dispositionWords(branch.disposition, isGoalHere);
    const seen = this.seen(trace);
    const list = hopList(
      seen && this.view.mode === "observe" ? seenHops(hops) : hops,
      words.tone,
      this.view,
      (seq) => this.onView({ ...this.view, step: this.view.step === seq ? null : seq }),
      seen,
    );
    list.classList.add(this.view.direction);
    return [...parts, this.levelChoice(), list, sizeLine(trace), stateLine(trace)].filter(
      (part) => part !== null,
    );
  }

  private branchTabs(trace: Trace, isGoalHere: boolean): HTMLElement {
    const tabs = choicesOf(trace.branches).map((choice) => {
      const first = choice.branches[0] ?? 0;
      const branch = trace.branches[first];
      const words = dispositionWords(branch?.disposition ?? "UNKNOWN", isGoalHere);
      const isLost = branch?.reply && branch.reply.disposition !== "DELIVERED" && words.tone === "good";
      const back = isLost ? `, reply ${dispositionWords(branch.reply?.disposition ?? "", true).short}` : "";
      const tab = h(
        "button",
        {
          type: "button",
          title: choice.why,
          "aria-selected": String(choice.branches.includes(this.view.branch)),
          "data-testid": "branch",
          "data-focus": `branch-${first}`,
        },
        h("span", { class: `dot ${isLost ? "bad" : words.tone}` }),
        h("span", { class: "choice" }, choice.title),
        h("span", { class: `verdict ${isLost ? "bad" : words.tone}` }, words.short + back),
        branch?.taken === true ? h("span", { class: "verdict good" }, "taken") : null,
        h("span", { class: "chance" }, choice.probability === null ? "" : percent(choice.probability)),
      );
      tab.addEventListener("click", () =>
        this.onView({ ...this.view, branch: first, direction: "forward", step: null }),
      );
      return tab;
    });
    return tabList({ class: "branches", "aria-label": "Ways", "aria-orientation": "vertical" }, tabs);
  }

  private directionTabs(branch: Branch, isGoalHere: boolean): HTMLElement {
    const tab = (
      direction: TraceView["direction"],
      title: string,
      disposition: string | null,
      words: Words | null,
    ) => {
      const element = h(
        "button",
        {
          type: "button",
          "aria-selected": String(this.view.direction === direction),
          class: direction,
          "data-testid": `direction-${direction}`,
          "data-focus": direction,
          "data-disposition": disposition,
        },
        h("span", { class: "swatch" }),
        h("b", {}, title),
        h("span", { class: `verdict ${words?.tone ?? "muted"}` }, words?.short ?? "not sent"),
      );
      element.addEventListener("click", () => this.onView({ ...this.view, direction, step: null }));
      return element;
    };
    const back = branch.reply?.disposition ?? null;
    return tabList({ class: "tabs directions", "aria-label": "Direction" }, [
      tab("forward", "Forward", branch.disposition, dispositionWords(branch.disposition, isGoalHere)),
      tab("reply", "Reply", back, replyWords(branch)),
    ]);
  }

  /** How much to show of each hop. */
  private levelChoice(): HTMLElement {
    const buttons = LEVELS.map((level) => {
      const button = h(
        "button",
        {
          type: "button",
          "aria-pressed": String(this.view.level === level),
          "data-testid": `level-${level}`,
          "data-focus": `level-${level}`,
        },
        `${level.charAt(0).toUpperCase()}${level.slice(1)}`,
      );
      button.addEventListener("click", () => this.onView({ ...this.view, level }));
      return button;
    });
    return h("div", { class: "levels", role: "group", "aria-label": "How much to show" }, ...buttons);
  }
}

function sizeLine(trace: Trace): HTMLElement | null {
  const text = largestText(trace);
  return text ? h("p", { class: "muted state-line", "data-testid": "largest" }, text) : null;
}

function stateLine(trace: Trace): HTMLElement {
  const used = trace.state.filter((state) => state.not_understood === undefined);
  const without = trace.state.filter((state) => state.not_understood !== undefined);
  const nodes = used.map(
    (state) =>
      `${state.node} (${seconds(state.age_s)}${state.complete ? "" : ", incomplete"}${state.stale ? ", stale" : ""})`,
  );
  const missing = without.map((state) => state.node).join(", ");
  return h(
    "p",
    { class: "muted state-line" },
    `Computed from the state of ${nodes.join(", ") || "no node"}` +
      `${missing ? `, without ${missing}, which the server doesn't understand` : ""}.`,
  );
}

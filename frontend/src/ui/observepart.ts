// Predict, Observe, Both: the choice, what sending a probe does, and how the observation stands.

import type { Mode, TraceView } from "../route.js";
import { MODES, observationHref } from "../route.js";
import { gapTexts, isRunning, probeTexts, standingText, touchText } from "../trace/observed.js";
import type { ObservationRun, TraceRequest, TraceRun } from "../trace/types.js";
import type { Context } from "./context.js";
import { h, icon, wordedCopy } from "./dom.js";
import { errorNote, note } from "./errors.js";

const COUNTS = [1, 5, 10];
const TITLES: Record<Mode, string> = { predict: "Predict", observe: "Observe", both: "Both" };

export class ObservePart {
  readonly element = h("div", { class: "observe", "data-testid": "observe" });
  /** What was observed, as far as it is known. */
  run: ObservationRun | null = null;
  private readonly choice = h("div", { class: "levels modes", role: "group", "aria-label": "What to show" });
  private readonly said = h("div", { class: "standing", role: "status", "data-testid": "observe-standing" });
  private readonly probes = h(
    "select",
    { "aria-label": "How many probes", "data-testid": "observe-count", title: "Probes, one after the other" },
    ...COUNTS.map((count) => h("option", { value: count }, count === 1 ? "1 probe" : `${count} probes`)),
  );
  private traced: TraceRun | null = null;
  private view: TraceView;
  private followed: string | null = null;
  private stopFollowing: () => void = () => {};
  private error: Error | null = null;
  /** The mode for which a datagram is to be sent, once that is confirmed. */
  private asked: Mode | null = null;

  constructor(
    private readonly context: Context,
    view: TraceView,
    private readonly onView: (view: TraceView) => void,
    private readonly onChange: () => void,
  ) {
    this.view = view;
    this.element.append(h("div", { class: "observe-line" }, this.choice, this.probes), this.said);
  }

  show(traced: TraceRun, view: TraceView): void {
    this.traced = traced;
    this.view = view;
    this.element.hidden = traced.status !== "done";
    if (view.observation !== this.followed) this.follow(view.observation);
    this.render();
  }

  dispose(): void {
    this.stopFollowing();
  }

  private follow(id: string | null): void {
    this.stopFollowing();
    this.stopFollowing = () => {};
    this.followed = id;
    if (this.run?.id !== id) this.run = null;
    if (id === null) return;
    this.stopFollowing = this.context.api.followObservation(
      id,
      (run) => {
        this.run = run;
        this.render();
        this.onChange();
      },
      (error) => {
        this.error = error;
        this.render();
      },
    );
  }

  private choose(mode: Mode): void {
    this.error = null;
    if (mode === "predict" || this.view.observation !== null) {
      this.asked = null;
      this.onView({ ...this.view, mode });
    } else if (this.proto() === "udp") {
      this.asked = mode;
      this.render();
    } else void this.start(mode);
  }

  private proto(): string {
    return this.traced?.trace?.flow.proto ?? "tcp";
  }

  private async start(mode: Mode): Promise<void> {
    this.asked = null;
    this.error = null;
    if (!this.traced) return;
    try {
      const run = await this.context.api.startObservation({
        ...probeOf(this.traced),
        ...(this.probes.value === "1" ? {} : { count: Number(this.probes.value) }),
      });
      this.run = run;
      this.onView({ ...this.view, mode, observation: run.id });
    } catch (error) {
      this.error = error as Error;
      this.render();
    }
  }

  private render(): void {
    const why = this.context.whyNotObserve;
    const canShow = this.view.observation !== null;
    this.probes.hidden = why !== "";
    const focused = document.activeElement?.getAttribute("data-focus");
    this.choice.replaceChildren(
      ...MODES.map((mode) => {
        const button = h(
          "button",
          {
            type: "button",
            "aria-pressed": String(this.view.mode === mode),
            "data-testid": `mode-${mode}`,
            "data-focus": `mode-${mode}`,
            title: mode === "predict" ? "What should happen" : why || touchText(this.proto()),
            disabled: mode !== "predict" && why !== "" && !canShow,
          },
          TITLES[mode],
        );
        button.addEventListener("click", () => this.choose(mode));
        return button;
      }),
    );
    if (focused?.startsWith("mode-"))
      this.choice.querySelector<HTMLElement>(`[data-focus="${focused}"]`)?.focus({ preventScroll: true });
    this.said.replaceChildren(...this.saying(why));
  }

  private saying(why: string): HTMLElement[] {
    if (this.error) return [errorNote(this.error)];
    if (this.asked) return [this.confirmation(this.asked)];
    if (this.view.mode === "predict" || !this.run)
      return [h("p", { class: "muted touch", "data-testid": "observe-touch" }, why || this.hint())];
    const { run } = this;
    return standing(run, why ? null : () => this.again(), () => this.exports(run, why === ""));
  }

  /** To take it elsewhere: as text, as Markdown for a ticket, as files, and by a link of its own. */
  private exports(run: ObservationRun, mayObserve: boolean): HTMLElement {
    const path = `/api/observations/${encodeURIComponent(run.id)}`;
    const copyAs = (form: string, words: string) =>
      wordedCopy(
        () => this.context.api.text(`${path}/export?as=${form}`),
        words,
        `Copy this observation as ${words}`,
        `observe-copy-${form}`,
      );
    const link = wordedCopy(
      () => new URL(observationHref(run.id), location.href).href,
      "link",
      "Copy a link to this observation",
      "observe-copy-link",
    );
    const json = h("a", { href: `${path}/export?as=json`, download: "" }, "JSON");
    const file =
      run.file && mayObserve
        ? h(
            "a",
            {
              href: run.file,
              download: "",
              "data-testid": "observe-file",
              title:
                "The nodes’ states and all that was seen, to report a wrong prediction; it holds their names and addresses.",
            },
            "file of the disagreement",
          )
        : null;
    return h(
      "div",
      { class: "exports" },
      h("span", { class: "muted" }, "Copy as"),
      copyAs("text", "text"),
      copyAs("markdown", "Markdown"),
      link,
      h("span", { class: "muted" }, "Save"),
      json,
      file,
    );
  }

  private hint(): string {
    return `Observe: ${touchText(this.proto())}`;
  }

  private again(): void {
    const { mode } = this.view;
    if (this.proto() === "udp") {
      this.asked = mode;
      this.render();
    } else void this.start(mode);
  }

  /** A datagram is sent only when that is said once more. */
  private confirmation(mode: Mode): HTMLElement {
    const send = h("button", { type: "button", "data-testid": "observe-confirm" }, "Send the datagram");
    send.addEventListener("click", () => void this.start(mode));
    return h("div", { class: "note warn" }, icon("alert"), h("p", {}, touchText("udp")), send);
  }
}

/** How it stands: under way, found, or failed, and what is missing. */
function standing(
  run: ObservationRun,
  onAgain: (() => void) | null,
  onExport: () => HTMLElement,
): HTMLElement[] {
  const text = standingText(run);
  if (isRunning(run)) return [h("p", { class: "busy", "data-status": run.status }, text)];
  if (run.status === "failed") return [note("bad", text), ...again(onAgain)];
  const bad = run.finding === "differs";
  const told = run.trace?.observation?.told;
  const gaps = run.trace?.observation ? gapTexts(run.trace.observation) : [];
  const probes = run.trace?.observation ? probeTexts(run.trace.observation) : [];
  return [
    h(
      "p",
      {
        class: `finding ${bad ? "bad" : run.finding === "agrees" ? "good" : "unsure"}`,
        "data-testid": "finding",
        "data-finding": run.finding,
      },
      h("b", { class: "sign", "aria-hidden": "true" }, bad ? "≠" : run.finding === "agrees" ? "✓" : "?"),
      ` ${text} `,
      h("span", { class: "muted" }, `The sender was told: ${told ?? "nothing"}.`),
    ),
    ...(probes.length > 0 ? [h("ul", { class: "probes" }, ...probes.map((text) => h("li", {}, text)))] : []),
    ...(gaps.length > 0 ? [note("warn", gaps.join(" "))] : []),
    h(
      "p",
      { class: "muted unseen" },
      `What no observation shows: ${(run.trace?.observation?.cannot ?? []).join("; ")}.`,
    ),
    onExport(),
    ...again(onAgain),
  ];
}

function again(onAgain: (() => void) | null): HTMLElement[] {
  if (!onAgain) return [];
  const button = h(
    "button",
    { type: "button", "data-testid": "observe-again" },
    icon("again"),
    "Observe again",
  );
  button.addEventListener("click", onAgain);
  return [h("p", { class: "again-line" }, button)];
}

/** The packet that was traced, as a probe: what listens is already known, and a SYN has no size of its own. */
function probeOf(traced: TraceRun): TraceRequest {
  const { request, trace } = traced;
  const proto = trace?.flow.proto ?? request.proto;
  const probe: TraceRequest = { from: request.from, to: request.to, proto };
  const dport = request.dport ?? trace?.flow.dport;
  if (proto !== "icmp" && dport != null) probe.dport = dport;
  if (request.sport !== undefined) probe.sport = request.sport;
  if (request.len !== undefined && proto !== "tcp") probe.len = request.len;
  if (request.df) probe.df = true;
  return probe;
}

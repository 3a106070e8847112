// One problem: what, where, since when, whom it affects, the evidence, what to do, and what was done.

import type { Api, ProblemAction, ProblemDetail, Remark } from "../api.js";
import type { Command, ProblemObj } from "../graph/model.js";
import type { TicketForm } from "../markup.js";
import { harmTitle, lasting, markOf, moment, plural, podsOf } from "../problems.js";
import { FIRST_VIEW, formatRoute, type TraceView } from "../route.js";
import { ticket } from "../ticket.js";
import { hopTitle } from "../trace/format.js";
import type { Trace } from "../trace/types.js";
import { copyButton, h, icon, wordedCopy } from "./dom.js";
import { errorNote } from "./errors.js";
import { markIcon } from "./problemlist.js";
import { betweenTable, curveChart } from "./reach.js";
import { type Failure, failureNote, failureOf, traceStrip } from "./tracestrip.js";

export interface DetailContext {
  readonly api: Api;
  readonly mayTriage: boolean;
  onMap(problem: ProblemObj): void;
}

/** The address of a problem's own trace, open at the step that fails. */
export function evidenceHref(id: string, trace: Trace | null): string {
  const failure = trace && failureOf(trace);
  return formatRoute({ page: "trace", id: `problem-${id}`, view: failure ? viewOf(failure) : FIRST_VIEW });
}

export function viewOf(failure: Failure): TraceView {
  return { ...FIRST_VIEW, branch: failure.branch, direction: failure.direction, step: failure.step.seq };
}

export class ProblemDetailView {
  readonly element = h("article", { class: "problem-detail", "data-testid": "problem-detail" });
  private readonly head = h("div", { class: "detail-head" });
  private readonly evidence = h("section", { class: "evidence" });
  private readonly commands = h("section", { class: "commands" });
  private readonly remarks = h("section", { class: "remarks" });
  private readonly failed = h("div");
  private readonly triage: HTMLElement;
  private detail: ProblemDetail | null = null;
  private shown = "";
  private disposed = false;

  constructor(
    private readonly context: DetailContext,
    private problem: ProblemObj,
  ) {
    this.triage = context.mayTriage ? this.triageForm() : h("p", { class: "muted" }, VIEWER);
    this.element.append(this.head, this.evidence, this.commands, this.failed, this.triage, this.remarks);
    this.show(problem);
    void this.load();
  }

  get id(): string {
    return this.problem.id;
  }

  /** The problem has changed, or time has passed. */
  show(problem: ProblemObj): void {
    const isNews = JSON.stringify(problem) !== JSON.stringify(this.problem);
    this.problem = problem;
    if (isNews) void this.load();
    this.render();
  }

  dispose(): void {
    this.disposed = true;
  }

  get traceHref(): string | null {
    return this.problem.traced ? evidenceHref(this.problem.id, this.detail?.trace ?? null) : null;
  }

  private async load(): Promise<void> {
    try {
      const detail = await this.context.api.problem(this.problem.id);
      if (this.disposed) return;
      this.detail = detail;
      this.render();
    } catch (error) {
      if (!this.disposed) this.failed.replaceChildren(errorNote(error as Error));
    }
  }

  private render(): void {
    const { problem } = this;
    const now = new Date();
    const head = [
      this.topLine(),
      h("h2", { "data-testid": "problem-headline" }, problem.headline),
      h("p", { class: "consequence" }, problem.consequence),
      ...stateNotes(problem, now),
      facts(problem, now),
    ];
    this.triage.dataset.acknowledged = String(problem.acknowledged !== null);
    this.triage.dataset.over = String(problem.until !== null);
    this.triage.dataset.muted = String(problem.muted !== null);
    const { remarks, between, curve } = this.detail ?? {};
    const text =
      head.map((part) => part.outerHTML).join("") +
      JSON.stringify([remarks?.length, between, curve, problem.traced]);
    if (text === this.shown) return;
    this.shown = text;
    this.head.replaceChildren(...head);
    this.evidence.replaceChildren(...this.evidenceParts());
    this.commands.replaceChildren(...commandRows("Check", problem.check), ...commandRows("Fix", problem.fix));
    if (problem.fix.length > 0) this.commands.append(h("p", { class: "muted" }, "netviz never runs a fix."));
    this.remarks.replaceChildren(...this.reach(now), ...affected(problem), ...this.history(now));
  }

  private topLine(): HTMLElement {
    const { problem } = this;
    const onMap = h(
      "button",
      { type: "button", "data-testid": "problem-on-map" },
      "On the map",
      h("kbd", {}, "M"),
    );
    onMap.addEventListener("click", () => this.context.onMap(this.problem));
    const trace = this.traceHref;
    const link = copyButton(() => location.href, "Copy a link to this problem");
    const ticketAs = (form: TicketForm, words: string) =>
      wordedCopy(() => this.ticket(form), words, `Copy this problem as ${words}`, `copy-${form}`);
    return h(
      "div",
      { class: "detail-top" },
      markIcon(markOf(problem)),
      h(
        "b",
        { class: `harm ${markOf(problem)}` },
        problem.gone === null ? harmTitle(problem) : "No longer found",
      ),
      h("span", { class: "muted" }, `problem ${problem.id}`),
      h("span", { class: "spring" }),
      trace
        ? h(
            "a",
            { class: "button primary", href: trace, "data-testid": "problem-trace" },
            "Open trace",
            h("kbd", {}, "↵"),
          )
        : null,
      onMap,
      h(
        "span",
        { class: "copy-as", role: "group", "aria-label": "Copy as" },
        h("span", { class: "muted" }, "Copy"),
        link,
        ticketAs("text", "Text"),
        ticketAs("markdown", "Markdown"),
      ),
    );
  }

  private ticket(form: TicketForm): string {
    const failure = this.detail?.trace ? failureOf(this.detail.trace) : null;
    const failing = failure ? `${hopTitle(failure.hop)}: ${failure.step.why}` : null;
    return ticket(this.problem, this.detail, failing, location.href, new Date(), form);
  }

  private evidenceParts(): HTMLElement[] {
    const trace = this.detail?.trace;
    if (!trace) return [];
    const failure = failureOf(trace);
    const { flow } = trace;
    const port = flow.dport === null ? "" : ` ${flow.dport}`;
    return [
      h(
        "div",
        { class: "evidence-head" },
        h("b", {}, "Trace"),
        h(
          "span",
          { class: "muted" },
          `${flow.src} to ${flow.dst}, ${flow.proto.toUpperCase()}${port}, as it was when this was found`,
        ),
        h("span", { class: "spring" }),
        h("span", { class: "lane-key forward" }, "forward"),
        h("span", { class: "lane-key reply" }, "return"),
      ),
      traceStrip(trace),
      ...(failure ? [failureNote(failure, evidenceHref(this.problem.id, trace))] : []),
    ];
  }

  private reach(now: Date): HTMLElement[] {
    const { detail, problem } = this;
    if (!detail) return [];
    const end = problem.until ?? problem.gone;
    return [
      ...betweenTable(detail.between, sees(detail.trace)),
      ...curveChart(detail.curve, end ? new Date(end) : now, end !== null, now),
    ];
  }

  private history(now: Date): HTMLElement[] {
    const { detail } = this;
    const remarks = [...(detail?.remarks ?? [])];
    if (detail?.began_with && detail.since)
      remarks.unshift({
        at: detail.since,
        by: "",
        kind: "began",
        text: `changed on ${detail.where.node} then: ${detail.began_with}`,
      });
    if (remarks.length === 0) return [];
    return [
      h("h3", {}, "History"),
      h("ol", { class: "history" }, ...[...remarks].reverse().map((remark) => remarkItem(remark, now))),
    ];
  }

  private triageForm(): HTMLElement {
    const text = h("input", {
      type: "text",
      name: "text",
      maxlength: 2000,
      placeholder: "Comment (optional with Acknowledge and Mute)",
      "aria-label": "Comment",
      "data-testid": "comment-text",
    });
    const until = h(
      "select",
      { name: "until", "aria-label": "Mute for", "data-testid": "mute-for" },
      ...MUTES.map(([hours, words]) => h("option", { value: hours }, words)),
    );
    const act = (action: ProblemAction["action"]) => async () => {
      const hours = Number(until.value);
      const muted =
        action === "mute" ? { until: new Date(Date.now() + hours * 3_600_000).toISOString() } : {};
      try {
        this.detail = await this.context.api.actOnProblem(this.problem.id, {
          action,
          text: text.value,
          ...muted,
        });
        this.failed.replaceChildren();
        text.value = "";
        this.show(this.detail);
      } catch (error) {
        this.failed.replaceChildren(errorNote(error as Error));
      }
    };
    const button = (testid: string, words: string, action: ProblemAction["action"]) => {
      const made = h("button", { type: "button", "data-testid": testid }, words);
      made.addEventListener("click", () => void act(action)());
      return made;
    };
    const form = h(
      "form",
      { class: "triage" },
      text,
      button("comment", "Comment", "comment"),
      button("acknowledge", "Acknowledge", "acknowledge"),
      button("reopen", "Take acknowledgement back", "reopen"),
      h("span", { class: "mute-group" }, button("mute", "Mute", "mute"), until),
      button("unmute", "Unmute", "unmute"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void act("comment")();
    });
    return form;
  }
}

const VIEWER = "Your role is viewer: operators acknowledge, mute and comment.";
const MUTES: [string, string][] = [
  ["1", "for 1 hour"],
  ["4", "for 4 hours"],
  ["24", "for 1 day"],
  ["168", "for 1 week"],
  ["720", "for 30 days"],
];

function stateNotes(problem: ProblemObj, now: Date): HTMLElement[] {
  const notes: [string, string][] = [];
  if (problem.unverified) notes.push(["warn", `It may be over: ${problem.unverified}.`]);
  if (problem.gone && !problem.until)
    notes.push([
      "ok",
      `Not found since ${moment(problem.gone, now)}. It counts as resolved when that lasts.`,
    ]);
  if (problem.muted)
    notes.push(["plain", `Muted by ${problem.muted.by} until ${moment(problem.muted.until, now)}.`]);
  else if (problem.acknowledged)
    notes.push([
      "plain",
      `Acknowledged by ${problem.acknowledged.by} at ${moment(problem.acknowledged.at, now)}.`,
    ]);
  return notes.map(([tone, text]) => h("p", { class: `state-note ${tone}` }, text));
}

function facts(problem: ProblemObj, now: Date): HTMLElement {
  const began = problem.since ?? problem.found;
  const end = problem.until ?? problem.gone;
  const { pairs } = problem.affects;
  const pods = podsOf(problem);
  const place = [problem.where.netns !== problem.where.node ? problem.where.netns : "", problem.where.dev];
  return h(
    "dl",
    { class: "detail-facts" },
    ...fact(
      "Began",
      `${problem.since === null ? "before " : ""}${moment(began, now)}`,
      end ? `lasted ${lasting(began, new Date(end))}` : `${lasting(began, now)}, ongoing`,
    ),
    ...fact("Where", problem.where.node || "the cluster", place.filter(Boolean).join(", ")),
    ...fact(
      "Affects",
      pods > 0 ? plural(pods, "pod", "pods") : pairs > 0 ? plural(pairs, "pair", "pairs") : "no pod named",
      pods > 0 && pairs > 0 ? plural(pairs, "pair of pods", "pairs of pods") : "",
    ),
    ...fact(
      "How sure",
      problem.certainty,
      problem.returns > 0 ? `came back ${plural(problem.returns, "time", "times")}` : "",
    ),
  );
}

/** What those affected see of it, as far as its trace shows. */
function sees(trace: Trace | null): string {
  const failure = trace && failureOf(trace);
  if (!failure) return "";
  return failure.direction === "reply" ? "they get no reply" : "what they send does not arrive";
}

function fact(name: string, value: string, beside: string): HTMLElement[] {
  return [h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", { class: "muted" }, beside))];
}

function commandRows(name: string, commands: Command[]): HTMLElement[] {
  return commands.map((one, i) =>
    h(
      "div",
      { class: "command" },
      h("span", { class: "command-name" }, i === 0 ? name : ""),
      h("span", { class: "machine", title: "the machine to run it on" }, icon("node"), one.node),
      h("code", {}, one.command),
      copyButton(one.command),
    ),
  );
}

function affected(problem: ProblemObj): HTMLElement[] {
  const { pods, more } = problem.affects;
  const parts: HTMLElement[] = [];
  if (pods.length > 0)
    parts.push(
      h("h3", {}, "Affected pods"),
      h(
        "ul",
        { class: "affected" },
        ...pods.map((pod) => h("li", {}, pod)),
        more > 0 ? h("li", { class: "muted" }, `and ${more.toLocaleString("en")} more`) : null,
      ),
    );
  if (problem.also.length > 0)
    parts.push(
      h("h3", {}, "Would block it too"),
      h("ul", { class: "also" }, ...problem.also.map((text) => h("li", {}, text))),
    );
  return parts;
}

const KINDS: Record<string, string> = {
  began: "Began",
  found: "Found",
  gone: "Not found any more",
  returned: "Found again",
  ended: "Resolved",
  acknowledged: "Acknowledged",
  reopened: "Acknowledgement taken back",
  muted: "Muted",
  unmuted: "Unmuted",
  comment: "",
};

function remarkItem(remark: Remark, now: Date): HTMLElement {
  const kind = KINDS[remark.kind] ?? remark.kind;
  const who = remark.by ? ` ${kind ? "by " : ""}${remark.by}` : "";
  return h(
    "li",
    { "data-kind": remark.kind },
    h("time", {}, moment(remark.at, now)),
    h("span", {}, h("b", {}, `${kind}${who}`), remark.text ? `${kind || who ? ": " : ""}${remark.text}` : ""),
  );
}

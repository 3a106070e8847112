// The Problems view: the list at the left, the chosen one at the right, over the whole width.

import { count, singular } from "../count.js";
import type { CheckingObj, CheckObj, ProblemObj } from "../graph/model.js";
import {
  asHeard,
  checkedTitle,
  checksPart,
  coverage,
  type Group,
  groupsOf,
  matches,
  moment,
  pairsNotes,
} from "../problems.js";
import type { ProblemList as ListName } from "../route.js";
import type { Context } from "./context.js";
import { h, icon, setText } from "./dom.js";
import { errorNote } from "./errors.js";
import { ProblemDetailView } from "./problemdetail.js";
import { ProblemList } from "./problemlist.js";

const TICK_MS = 1000;
const RESULTS: Record<CheckObj["result"], string> = {
  pass: "passes",
  fail: "fails",
  unknown: "unknown",
  nothing: "nothing to judge",
};

export class ProblemsView {
  readonly element = h("section", { class: "problems", "aria-label": "Problems", "data-testid": "problems" });
  private readonly list = new ProblemList((id) => this.pick(id));
  private readonly filter = h("input", {
    type: "search",
    placeholder: "Node, pod, service, cause",
    "aria-label": "Filter problems",
    "data-testid": "problem-filter",
  });
  private readonly tabs: Record<ListName, HTMLElement>;
  private readonly news = h("button", { type: "button", class: "news", hidden: true });
  private readonly footer = h("footer", { class: "list-foot" });
  private readonly right = h("div", {
    class: "problem-pane",
    tabindex: 0,
    role: "region",
    "aria-label": "The chosen problem",
  });
  private detail: ProblemDetailView | null = null;
  private resolved: ProblemObj[] = [];
  private failed: HTMLElement | null = null;
  private selected: string | null = null;
  private name: ListName = "now";
  /** While the pointer is in the list, what is new waits: no row moves under it. */
  private held: Set<string> | null = null;
  private empty = "";
  private readonly timer: number;

  constructor(private readonly context: Context) {
    const tab = (name: ListName) => {
      const button = h("button", { type: "button", role: "tab", "data-testid": `problems-${name}` });
      button.addEventListener("click", () => this.context.go({ page: "problems", id: null, list: name }));
      return button;
    };
    this.tabs = { now: tab("now"), resolved: tab("resolved"), checks: tab("checks") };
    this.filter.addEventListener("input", () => this.update());
    this.news.addEventListener("click", () => this.release());
    this.list.element.addEventListener("pointerenter", () => {
      this.held = new Set(this.list.order());
    });
    this.list.element.addEventListener("pointerleave", () => this.release());
    const left = h(
      "div",
      { class: "problem-side" },
      h(
        "div",
        { class: "list-head" },
        h("label", { class: "filter" }, icon("search"), this.filter, h("kbd", {}, "F")),
        h(
          "div",
          { class: "segments", role: "tablist", "aria-label": "Which problems" },
          ...Object.values(this.tabs),
        ),
      ),
      this.news,
      this.list.element,
      this.footer,
    );
    this.element.append(left, this.right);
    this.element.tabIndex = -1;
    this.timer = window.setInterval(() => this.update(), TICK_MS);
  }

  focusFilter(): void {
    this.filter.focus();
  }

  dispose(): void {
    window.clearInterval(this.timer);
    this.detail?.dispose();
  }

  show(name: ListName, id: string | null): void {
    const isOther = name !== this.name;
    this.name = name;
    this.selected = id;
    if (name === "resolved" && (isOther || this.resolved.length === 0)) void this.loadResolved();
    this.update();
    if (id) this.list.reveal(id);
  }

  /** The graph has changed, or time has passed. */
  update(): void {
    const { graph } = this.context;
    const now = new Date();
    const found = this.found();
    const shown = this.held ? found.filter((one) => this.held?.has(one.id)) : found;
    const waiting = found.length - shown.length;
    this.news.hidden = waiting === 0;
    setText(this.news, `${waiting} new`);
    const groups = this.name === "resolved" ? resolvedGroup(shown) : groupsOf(shown);
    const selected = this.selected ?? (this.name === "checks" ? null : this.first(groups));
    this.list.show(groups, selected, graph.nodes.keys(), now);
    this.showDetail(selected, groups);
    this.showTabs();
    this.footer.replaceChildren(...footerParts(graph.checking, graph.staleSince, now));
  }

  key(event: KeyboardEvent): boolean {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const order = this.list.order();
    const at = order.indexOf(this.detail?.id ?? "");
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) {
      this.release();
      const next = order[Math.min(order.length - 1, Math.max(0, at + step))];
      if (next) this.pick(next);
    } else if (event.key === "Enter" && this.detail?.traceHref) location.hash = this.detail.traceHref;
    else if (event.key === "m" && at >= 0) this.onMap(order[at] as string);
    else return false;
    return true;
  }

  private found(): ProblemObj[] {
    const all = this.name === "resolved" ? this.resolved : [...this.context.graph.problems.values()];
    return all.filter((problem) => matches(problem, this.filter.value));
  }

  private first(groups: Group[]): string | null {
    return groups[0]?.problems[0]?.id ?? null;
  }

  private pick(id: string): void {
    this.context.go({ page: "problems", id, list: this.name }, true);
  }

  private release(): void {
    this.held = null;
    this.update();
  }

  private onMap(id: string): void {
    const problem = this.context.graph.problems.get(id) ?? this.resolved.find((one) => one.id === id);
    if (problem) this.context.showProblem(problem);
  }

  private showDetail(id: string | null, groups: Group[]): void {
    const problem = id === null ? undefined : this.find(id);
    if (!problem) {
      this.detail?.dispose();
      this.detail = null;
      this.showEmpty(id, groups);
      return;
    }
    this.empty = "";
    if (this.detail?.id === problem.id) {
      this.detail.show(problem);
      return;
    }
    this.detail?.dispose();
    const context = {
      api: this.context.api,
      mayTriage: this.context.mayTrace,
      onMap: (one: ProblemObj) => this.context.showProblem(one),
    };
    this.detail = new ProblemDetailView(context, problem);
    this.right.replaceChildren(this.detail.element);
    this.right.scrollTop = 0;
  }

  private find(id: string): ProblemObj | undefined {
    return this.context.graph.problems.get(id) ?? this.resolved.find((one) => one.id === id);
  }

  private showEmpty(id: string | null, groups: Group[]): void {
    const parts = this.failed
      ? [this.failed]
      : id !== null
        ? [h("h2", {}, "This problem is over"), h("p", { class: "muted" }, "See Resolved.")]
        : this.name === "checks" || (groups.length === 0 && this.name === "now" && !this.filter.value)
          ? whatIsChecked(this.context.graph.checking, this.context.graph.staleSince, new Date())
          : [h("p", { class: "muted" }, this.filter.value ? "No problem matches." : "None is kept.")];
    const text = parts.map((part) => part.outerHTML).join("");
    if (text === this.empty) return;
    this.empty = text;
    this.right.replaceChildren(h("div", { class: "problem-empty", "data-testid": "no-problem" }, ...parts));
  }

  private showTabs(): void {
    const names: Record<ListName, string> = { now: "Now", resolved: "Resolved", checks: "Checks" };
    const numbers = {
      now: String(this.context.graph.problems.size),
      resolved: this.resolved.length > 0 ? String(this.resolved.length) : "",
      checks: "",
    };
    for (const [name, tab] of Object.entries(this.tabs) as [ListName, HTMLElement][]) {
      tab.setAttribute("aria-selected", String(name === this.name));
      setText(tab, `${names[name]} ${numbers[name]}`.trim());
    }
  }

  private async loadResolved(): Promise<void> {
    try {
      this.resolved = await this.context.api.resolvedProblems();
      this.failed = null;
    } catch (error) {
      this.failed = errorNote(error as Error);
    }
    this.update();
  }
}

function resolvedGroup(problems: ProblemObj[]): Group[] {
  return problems.length > 0 ? [{ title: "Resolved", problems }] : [];
}

function footerParts(checking: CheckingObj | null, staleSince: Date | null, now: Date): HTMLElement[] {
  const keys = h(
    "span",
    { class: "keys" },
    h("kbd", {}, "J"),
    h("kbd", {}, "K"),
    "next, previous",
    h("kbd", {}, "↵"),
    "trace",
    h("kbd", {}, "M"),
    "on the map",
  );
  const part = asHeard(checksPart(checking, now), staleSince, now);
  const left = checking?.counts.left_off ? `${checking.counts.left_off} more not listed · ` : "";
  return [
    keys,
    h("span", { class: "spring" }),
    h("span", {}, `${left}${part.text}${staleSince ? ` ${part.beside}` : ""}`),
  ];
}

/** What was checked, how much of it, and what wasn't. With no problem this is the answer: never just "none". */
function whatIsChecked(checking: CheckingObj | null, staleSince: Date | null, now: Date): HTMLElement[] {
  const part = asHeard(checksPart(checking, now), staleSince, now);
  if (!checking || checking.checks.length === 0)
    return [
      h("h2", {}, part.text),
      h("p", { class: "muted" }, part.beside || "What is wrong isn’t known until then."),
    ];
  const isCurrent = checking.state === "current" && !staleSince;
  return [
    h("h2", {}, checkedTitle(checking, part, !staleSince)),
    h(
      "p",
      {},
      `Checked: ${coverage(checking).join("; ")}. `,
      isCurrent
        ? `At ${moment(now.toISOString(), now)} no change had waited for more than a few seconds.`
        : `This is what was found last${part.beside ? ` (${part.beside})` : ""}.`,
    ),
    ...checking.away.slice(0, 5).map((text) => h("p", { class: "state-note warn" }, `${text}.`)),
    h(
      "table",
      { class: "checks" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...["Check", "Demands", "Judged", "Result"].map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        ...checking.checks.map((check) =>
          h(
            "tr",
            { "data-result": check.result },
            h("td", {}, check.name),
            h(
              "td",
              {},
              check.demands,
              check.reason ? h("span", { class: "said" }, check.reason) : null,
              ...pairsNotes(check).map((note) => h("span", { class: "said" }, note)),
            ),
            h("td", { class: "number" }, count(check.judged, singular(check.unit), check.unit)),
            h("td", {}, RESULTS[check.result]),
          ),
        ),
      ),
    ),
  ];
}

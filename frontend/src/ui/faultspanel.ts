// Beside the map of a demo: break something, see what the checks find, mend it.

import {
  type ActiveFault,
  afterText,
  byArea,
  type Fault,
  type FaultList,
  foundAfter,
  notFoundText,
  Watch,
} from "../faults.js";
import { explained } from "../learn/learn.js";
import { formatRoute } from "../route.js";
import { type Context, FAULTS_REASON, type Panel } from "./context.js";
import { h, icon, setText } from "./dom.js";
import { errorNote, note } from "./errors.js";
import { heading } from "./heading.js";

const ADDRESS = "/api/lab/faults";
const ASK_EVERY_MS = 2000;

export class FaultsPanel implements Panel {
  readonly element = h("div", { class: "faults", "data-testid": "faults" });
  private readonly filter = h("input", {
    type: "search",
    placeholder: "Cause, area, what it does",
    "aria-label": "Filter faults",
    "data-testid": "fault-filter",
  });
  private readonly said = h("span", { role: "status", "data-testid": "faults-active" });
  private readonly mendAll = h("button", { type: "button", "data-testid": "mend-all" }, "Mend all");
  private readonly trouble = h("div", {});
  private readonly body = h("div", {});
  private list: FaultList | null = null;
  private drawn = "";
  private isBusy = false;
  private readonly watch = new Watch();
  /** The clock of the server's machine, less this page's. */
  private ahead_s = 0;
  private readonly timer: number;

  constructor(private readonly context: Context) {
    this.filter.addEventListener("input", () => this.render());
    this.mendAll.addEventListener("click", () => void this.change({ mend: "all" }));
    this.element.append(
      heading("Demo", "Break something", ""),
      h(
        "p",
        { class: "hint" },
        "Faults as they happen in real clusters, made on the demo’s own nodes alone. Break one, watch the map and Problems, then mend it.",
      ),
      ...(context.mayTrace ? [] : [note("warn", FAULTS_REASON)]),
      h("div", { class: "faults-now" }, this.said, this.mendAll),
      this.trouble,
      h("div", { class: "tabletools" }, h("label", { class: "filter" }, icon("search"), this.filter)),
      this.body,
    );
    this.body.append(h("p", { class: "muted" }, "Reading…"));
    void this.ask();
    this.timer = window.setInterval(() => {
      if (!document.hidden && !this.isBusy) void this.ask();
    }, ASK_EVERY_MS);
    this.sayActive();
  }

  dispose(): void {
    window.clearInterval(this.timer);
  }

  /** The graph has changed: problems came or went. */
  update(): void {
    if (this.list) this.sayFound(this.list);
  }

  private async ask(): Promise<void> {
    await this.take(this.context.api.get<FaultList>(ADDRESS));
  }

  private async change(what: { break: string } | { mend: string }): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    this.element.setAttribute("aria-busy", "true");
    await this.take(this.context.api.postText<FaultList>(ADDRESS, JSON.stringify(what), "application/json"));
    this.isBusy = false;
    this.element.removeAttribute("aria-busy");
  }

  private async take(answer: Promise<FaultList>): Promise<void> {
    try {
      this.list = await answer;
      this.ahead_s = this.list.now - performance.now() / 1000;
      this.trouble.replaceChildren();
      this.render();
    } catch (error) {
      this.trouble.replaceChildren(errorNote(error as Error));
    }
  }

  private render(): void {
    const { list } = this;
    if (!list) return;
    this.sayActive();
    const drawn = JSON.stringify([list, this.filter.value]);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.draw(list);
    }
    this.sayFound(list);
  }

  private sayActive(): void {
    const active = this.list?.active ?? [];
    const names = active.map((fault) => fault.name).join(", ");
    setText(this.said, active.length > 0 ? `In effect: ${names}` : this.list ? "No fault in effect" : "");
    this.mendAll.disabled = active.length === 0 || !this.context.mayTrace;
  }

  private draw(list: FaultList): void {
    const focused = (document.activeElement as HTMLElement | null)?.dataset.fault;
    const { areas, others } = byArea(list.faults, this.filter.value);
    const known = new Set(list.faults.map((fault) => fault.active));
    const elsewhere = list.active.filter((fault) => !known.has(fault.id));
    const parts = [
      ...(elsewhere.length > 0
        ? [h("h3", {}, "Made on the command line"), ...elsewhere.map((fault) => this.row(fault, fault))]
        : []),
      ...areas.flatMap(([area, faults]) => [
        h("h3", {}, area),
        ...faults.map((fault) =>
          this.row(
            fault,
            list.active.find((one) => one.id === fault.active),
          ),
        ),
      ]),
      ...(others.length > 0 ? [ofOtherNetworks(others, list.network)] : []),
    ];
    this.body.replaceChildren(
      ...(parts.length > 0 ? parts : [h("p", { class: "muted" }, "No fault matches.")]),
    );
    if (focused) this.body.querySelector<HTMLElement>(`[data-fault="${focused}"]`)?.focus();
  }

  private row(fault: Fault | ActiveFault, active: ActiveFault | undefined): HTMLElement {
    const id = active?.id ?? fault.name;
    const button = h(
      "button",
      {
        type: "button",
        "data-fault": id.split(":")[0],
        "aria-label": `${active ? "Mend" : "Break"}: ${fault.name}`,
        disabled: !this.context.mayTrace,
        title: this.context.mayTrace ? "" : FAULTS_REASON,
      },
      active ? "Mend" : "Break",
    );
    button.addEventListener(
      "click",
      () => void this.change(active ? { mend: active.id } : { break: fault.name }),
    );
    return h(
      "article",
      { class: "fault", "data-testid": "fault", "data-name": fault.name, "data-active": active ? "" : null },
      h("header", {}, h("h4", {}, fault.name), button),
      h("p", {}, sentence(fault.does)),
      explained(`In real life: ${fault.cause}`),
      ...(active ? this.watching(active) : []),
    );
  }

  private watching(active: ActiveFault): HTMLElement[] {
    const { node } = active;
    const show = h("button", { type: "button", class: "quiet" }, `Show ${node} on the map`);
    show.addEventListener("click", () => this.context.showOnMap({ type: "node", name: node }));
    return [
      h("p", {}, h("b", {}, "Watch: "), active.watch),
      h("p", { class: "faults-found", "data-testid": "fault-found", "data-of": active.id }),
      ...(this.context.graph.nodes.has(node) ? [show] : []),
    ];
  }

  private sayFound(list: FaultList): void {
    const { graph } = this.context;
    const now_s = performance.now() / 1000 + this.ahead_s;
    const found = foundAfter(list.active, this.watch.look(graph.problems.values(), now_s));
    for (const box of this.body.querySelectorAll<HTMLElement>("[data-of]")) {
      const fault = list.active.find((one) => one.id === box.dataset.of);
      if (!fault) continue;
      const problems = found.get(fault.id) ?? [];
      const key = problems.map(({ problem }) => `${problem.id} ${problem.headline}`).join();
      if (problems.length === 0) {
        box.dataset.said = "";
        setText(box, notFoundText(fault, graph.checking, now_s));
      } else if (box.dataset.said !== key) {
        box.dataset.said = key;
        box.replaceChildren(
          h("b", {}, "Found as: "),
          ...problems.flatMap(({ problem, after_s }, at) =>
            [
              at > 0 ? "; " : "",
              h(
                "a",
                { href: formatRoute({ page: "problems", id: problem.id, list: "now" }) },
                problem.headline,
              ),
              afterText(after_s),
            ].map((part) => (typeof part === "string" ? h("span", {}, part) : part)),
          ),
        );
      }
    }
  }
}

function ofOtherNetworks(faults: Fault[], network: string): HTMLElement {
  return h(
    "details",
    { class: "folded" },
    h("summary", {}, `${faults.length} that this ${network} network can’t have`),
    h("ul", {}, ...faults.map((fault) => h("li", {}, h("b", {}, fault.name), ` ${sentence(fault.why_not)}`))),
  );
}

/** As a sentence; a name at its start stays as it is. */
function sentence(text: string): string {
  const isName = /^\S*\d/.test(text);
  return `${isName ? text.charAt(0) : text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

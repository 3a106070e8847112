// Drop watch: what a node or pod drops for some seconds, each group with what explains it; sightings arrive live.

import {
  type DropGroup,
  type DropRun,
  flowText,
  placeText,
  reasonText,
  standingOf,
  unknownTexts,
} from "../trace/drops.js";
import { isRunning } from "../trace/observed.js";
import type { Context } from "./context.js";
import { codeLine } from "./detail.js";
import { h, icon } from "./dom.js";
import { errorNote, note } from "./errors.js";

const SECONDS = 10;
const TOUCHES =
  "Listens to the kernel’s drops and to the headers of all packets on the node, and sends nothing. One probe or drop watch at a time on a node; others queue.";

export class DropsPart {
  readonly element: HTMLDetailsElement;
  private readonly body = h("div", { class: "drops", "data-testid": "drops" });
  private readonly button = h("button", { type: "button", "data-testid": "drops-watch" });
  private stopFollowing: () => void = () => {};
  private isUnderWay = false;

  constructor(
    private readonly context: Context,
    /** The node or pod, as a trace's source. */
    private readonly of: string,
  ) {
    const why = context.whyNotObserve;
    this.button.append(icon("again"), `Watch for ${SECONDS} s`);
    this.button.disabled = why !== "";
    this.button.addEventListener("click", () => void this.watch());
    this.element = h(
      "details",
      { class: "section" },
      h("summary", { "data-testid": "drops-open" }, h("h3", {}, "Drops")),
      h("p", { class: "muted touch" }, why || TOUCHES),
      h("div", { class: "section-tools" }, this.button),
      this.body,
    );
  }

  dispose(): void {
    this.stopFollowing();
  }

  private async watch(): Promise<void> {
    if (this.isUnderWay) return;
    this.setUnderWay(true);
    this.stopFollowing();
    try {
      const run = await this.context.api.watchDrops(this.of, SECONDS);
      this.render(run);
      this.stopFollowing = this.context.api.followObservation(
        run.id,
        (found) => this.render(found as unknown as DropRun),
        (error) => this.fail(error),
      );
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private fail(error: Error): void {
    this.setUnderWay(false);
    this.body.replaceChildren(errorNote(error));
  }

  private setUnderWay(isUnderWay: boolean): void {
    this.isUnderWay = isUnderWay;
    this.button.disabled = isUnderWay;
  }

  private render(run: DropRun): void {
    const running = isRunning(run);
    this.setUnderWay(running);
    const text = standingOf(run, SECONDS);
    const seen = run.drops;
    const opened = new Set(
      [...this.body.querySelectorAll<HTMLDetailsElement>("details[open]")].map((item) => item.dataset.key),
    );
    this.body.replaceChildren(
      run.status === "failed"
        ? note("bad", text)
        : h("p", { class: running ? "busy" : "", role: "status", "data-status": run.status }, text),
      h("ul", {}, ...(seen?.groups ?? []).map((group) => this.item(group, opened))),
      ...(seen && !running ? unknownTexts(seen) : []).map((sentence) => h("p", { class: "muted" }, sentence)),
    );
  }

  private item(group: DropGroup, opened: Set<string | undefined>): HTMLElement {
    const key = JSON.stringify([group.reason, group.place, group.flow, group.never]);
    const flow = flowText(group);
    const { trace } = group;
    const button = h(
      "button",
      { type: "button", class: "quiet", disabled: !this.context.mayTrace, "data-testid": "drop-trace" },
      icon("path"),
      "Trace",
    );
    button.addEventListener("click", () => {
      if (trace)
        void this.context.startTrace(trace).catch((error) => this.body.prepend(errorNote(error as Error)));
    });
    return h(
      "li",
      { "data-testid": "drop", "data-reason": group.reason, "data-explained": String(group.explained) },
      h("b", { class: "count" }, String(group.count)),
      h(
        "div",
        {},
        h("b", {}, flow || "unknown packets"),
        h("p", {}, reasonText(group)),
        h("p", { class: "muted" }, placeText(group)),
        group.why
          ? h(
              "details",
              { "data-key": key, open: opened.has(key) },
              h(
                "summary",
                { class: group.explained ? "explained" : "muted" },
                group.explained ? "Explained by the state" : "Not explained",
              ),
              h("p", {}, group.why),
              ...group.check.map((one) => codeLine(one.command)),
            )
          : null,
      ),
      trace ? button : null,
    );
  }
}

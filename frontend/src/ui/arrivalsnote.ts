// On the map: who isn't on it yet, why, and what to do about it.

import {
  type Arrival,
  type Arrivals,
  type ArrivalWatch,
  approveCommand,
  arrivalsText,
  subjectOf,
} from "../arrivals.js";
import { runCommand } from "./chrome.js";
import { codeLine } from "./detail.js";
import { h, icon } from "./dom.js";

const LIST = "/admin/inventory/collector/";

export class ArrivalsNote {
  readonly element = h("details", { class: "arrivals", "data-testid": "arrivals", hidden: true });
  private drawn = "";

  constructor(
    private readonly role: string,
    watch: ArrivalWatch,
  ) {
    watch.onChange((arrivals) => this.show(arrivals));
  }

  private show(arrivals: Arrivals): void {
    const text = arrivalsText(arrivals);
    this.element.hidden = text === "";
    const key = JSON.stringify(arrivals);
    if (key === this.drawn) return;
    this.drawn = key;
    const named = (status: Arrival["status"]) => arrivals.collectors.filter((one) => one.status === status);
    this.element.replaceChildren(
      h("summary", {}, icon("under-way"), h("span", {}, text)),
      ...this.waiting(named("enrolled"), arrivals.waiting),
      ...this.absent(named("approved"), arrivals.absent),
    );
  }

  private waiting(named: Arrival[], all: number): HTMLElement[] {
    if (all === 0) return [];
    const href = `${LIST}?status__exact=enrolled`;
    const who =
      this.role === "administrator"
        ? h("p", {}, h("a", { href }, all === 1 ? "Approve it" : "Approve them"), ", or on the server:")
        : h("p", {}, "An administrator approves it on the admin pages, or on the server:");
    return [
      h("h3", {}, all === 1 ? "Waits for approval" : "Wait for approval"),
      h(
        "p",
        { class: "muted" },
        "Until then the server refuses what it sends, and none of it is on the map.",
      ),
      who,
      ...[...new Set(named.map(approveCommand))].map(codeLine),
      ...more(all - named.length),
    ];
  }

  private absent(named: Arrival[], all: number): HTMLElement[] {
    if (all === 0) return [];
    return [
      h("h3", {}, "Approved, never connected"),
      h(
        "p",
        { class: "muted" },
        "Checks that need them are unknown until they connect. To start one, on its node, as root:",
      ),
      ...once(named).flatMap((one) =>
        one.node === null
          ? [h("p", {}, `${subjectOf(one)}: see docs/running.md`)]
          : [codeLine(runCommand(one.node, `${one.node}.token`))],
      ),
      ...more(all - named.length),
      ...(this.role === "administrator"
        ? [
            h(
              "p",
              {},
              h(
                "a",
                { href: `${LIST}?status__exact=approved&connected__exact=0` },
                "Collectors that aren’t connected",
              ),
            ),
          ]
        : []),
    ];
  }
}

/** One for each that is spoken for. */
function once(named: Arrival[]): Arrival[] {
  return [...new Map(named.map((one) => [subjectOf(one), one])).values()];
}

function more(count: number): HTMLElement[] {
  return count > 0 ? [h("p", { class: "muted" }, `and ${count.toLocaleString("en")} more`)] : [];
}

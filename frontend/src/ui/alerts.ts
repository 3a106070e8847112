// All alerts of the cluster: what is wrong, why it matters, and where.

import type { AlertObj } from "../graph/model.js";
import type { Context, Panel } from "./context.js";
import { h, icon } from "./dom.js";
import { heading } from "./inspector.js";
import { count, netnsLink } from "./names.js";

/** What an alert means for the packets, and where to begin. */
const ADVICE: Record<string, string> = {
  "duplicate-address":
    "A connection to it arrives at whichever pod answers first. Give one of them an address of its own; the plugin that assigns addresses is where to look.",
  "no-uplink":
    "Nothing reaches this pod or leaves it. See whether both ends of its veth pair are up and in the right place.",
  "overlapping-pod-cidrs":
    "A route to the one range also catches packets for the other. Give every node a range of its own.",
  "not-understood":
    "What the other alerts say holds without this node. The server’s log says what it failed at; a collector of the server’s version may help.",
};

export class Alerts implements Panel {
  readonly element = h("div", { class: "alerts", "data-testid": "alerts" });
  private shown = "";

  constructor(private readonly context: Context) {
    this.update();
  }

  update(): void {
    const { graph } = this.context;
    const alerts = [...graph.alerts.values()].sort((a, b) =>
      a.severity + a.key < b.severity + b.key ? -1 : 1,
    );
    const text = JSON.stringify(alerts);
    if (text === this.shown) return;
    this.shown = text;
    const uncovered = alerts.filter((alert) => alert.kind === "not-understood").length;
    const breaches = alerts.length - uncovered;
    const contract =
      breaches === 0
        ? `None${uncovered ? " known" : ": the pod network keeps its contract."}`
        : `${count(breaches, "breach", "breaches")} of the pod network’s contract`;
    const sub = uncovered ? `${contract}; ${count(uncovered, "node", "nodes")} not covered` : contract;
    this.element.replaceChildren(
      heading("Cluster", "Alerts", sub),
      ...alerts.map((alert) => this.item(alert)),
    );
  }

  private item(alert: AlertObj): HTMLElement {
    const places = alert.netns.flatMap((key, i) => [
      i === 0 ? "Look at " : ", ",
      netnsLink(this.context.graph, key),
    ]);
    const body = h(
      "div",
      {},
      h("p", { class: "what" }, `${alert.message}.`),
      ADVICE[alert.kind] ? h("p", {}, ADVICE[alert.kind]) : null,
      places.length > 0 ? h("p", {}, ...places) : null,
    );
    return h("div", { class: `note ${alert.severity === "error" ? "bad" : "warn"}` }, icon("alert"), body);
  }
}

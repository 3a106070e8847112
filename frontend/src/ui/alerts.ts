// All alerts of the cluster.

import type { Context, Panel } from "./context.js";
import { h } from "./dom.js";
import { heading, note } from "./inspector.js";
import { netnsLink } from "./names.js";

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
    const items = alerts.map((alert) => {
      const places = alert.netns.flatMap((key, i) => [i === 0 ? " " : ", ", netnsLink(graph, key)]);
      return note(alert.severity === "error" ? "bad" : "warn", alert.message, ...places);
    });
    this.element.replaceChildren(
      heading("Cluster", "Alerts", items.length === 0 ? "The pod network keeps its contract." : ""),
      ...items,
    );
  }
}

// The strip below the top bar, in every view: how far the picture can be trusted, and what is wrong.

import type { ArrivalWatch } from "../arrivals.js";
import { thousands } from "../count.js";
import type { FeedStatus } from "../feed.js";
import type { Graph } from "../graph/store.js";
import {
  asHeard,
  checksPart,
  collectorsPart,
  dataPart,
  kubernetesPart,
  noData,
  problemsPart,
  type StripPart,
  type Tone,
} from "../problems.js";
import { h, icon, setText } from "./dom.js";

const STATES = { live: "Live", connecting: "Connecting", stale: "Stale" };
const ICONS: Record<Tone, string> = { ok: "passes", bad: "breaks", warn: "doubt", plain: "passes" };

class Part {
  readonly element: HTMLElement;
  private readonly mark = h("span", { class: "mark" });
  private readonly text = h("b", {});
  private readonly beside = h("span", { class: "beside" });
  private drawn = "";
  private said = "";

  constructor(
    readonly name: string,
    href: string | null,
    private readonly icons: Partial<Record<Tone, string>> = {},
  ) {
    const attributes = { class: "part", "data-testid": `strip-${name}` };
    const inside = [this.mark, this.text, this.beside];
    this.element = href ? h("a", { ...attributes, href }, ...inside) : h("span", attributes, ...inside);
  }

  /** Tells whether it has another width now. */
  show(part: StripPart): boolean {
    const key = `${part.text}|${part.beside}`;
    const isOther = key !== this.said;
    this.said = key;
    this.element.dataset.tone = part.tone;
    setText(this.text, part.text);
    setText(this.beside, part.beside ? `· ${part.beside}` : "");
    this.element.title = [part.text, part.beside].filter(Boolean).join(", ");
    const wanted = part.isUnderWay ? "under-way" : (this.icons[part.tone] ?? ICONS[part.tone]);
    if (wanted !== this.drawn) {
      this.drawn = wanted;
      this.mark.replaceChildren(icon(wanted));
    }
    return isOther;
  }
}

export class Strip {
  readonly element: HTMLElement;
  private readonly checks = new Part("checks", "#/problems?list=checks");
  private readonly problems = new Part("problems", "#/problems", { warn: "alert", plain: "none" });
  private readonly collectors = new Part("collectors", "#/problems", { plain: "node" });
  private readonly data = new Part("data", null, { plain: "clock", warn: "clock" });
  private readonly kube = new Part("kubernetes", "#/services", {
    warn: "doubt",
    bad: "breaks",
    plain: "box",
  });
  private readonly counts = h("span", { class: "counts" });
  private readonly podCount = h("span", { "data-testid": "pod-count" }, "0");
  private readonly nodeCount = h("span", { "data-testid": "node-count" }, "0");
  private readonly podWord = h("span", {});
  private readonly nodeWord = h("span", {});
  private readonly live = h("span", {
    class: "connection",
    role: "status",
    "data-testid": "connection",
    "data-state": "connecting",
  });

  constructor(private readonly arrivals: ArrivalWatch) {
    this.counts.append(
      this.nodeCount,
      " ",
      this.nodeWord,
      h("span", { class: "dot-between" }, "·"),
      this.podCount,
      " ",
      this.podWord,
    );
    this.element = h(
      "div",
      { class: "strip", role: "region", "aria-label": "Checks and data" },
      this.checks.element,
      this.problems.element,
      this.collectors.element,
      this.data.element,
      this.kube.element,
      h("span", { class: "spring" }),
      this.counts,
      this.live,
    );
    this.setState("connecting");
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  /** What stands beside a part is shown whole or, without room for it, not at all: the least important first. */
  private fit(): void {
    const parts = [this.kube, this.collectors, this.data, this.checks, this.problems];
    for (const part of parts) delete part.element.dataset.short;
    for (const part of parts) {
      if (this.element.scrollWidth <= this.element.clientWidth) return;
      part.element.dataset.short = "";
    }
  }

  update(graph: Graph): void {
    const { checking, staleSince } = graph;
    const now = new Date();
    let isOther = false;
    const put = (to: Part, part: StripPart) => {
      isOther = to.show(part) || isOther;
    };
    const show = (to: Part, part: StripPart) => put(to, asHeard(part, staleSince, now));
    show(this.checks, checksPart(checking, now));
    show(this.problems, problemsPart(checking));
    show(this.collectors, collectorsPart(checking, graph.nodes.values(), this.arrivals.now.waiting));
    put(this.data, staleSince ? noData(staleSince, now) : dataPart(graph.nodes.values()));
    const api = kubernetesPart(graph.clusters.values());
    this.kube.element.hidden = api === null;
    if (api) show(this.kube, api);
    const pods = graph.podCount();
    setText(this.podCount, thousands(pods));
    setText(this.podWord, pods === 1 ? "pod" : "pods");
    setText(this.nodeCount, thousands(graph.nodes.size));
    setText(this.nodeWord, graph.nodes.size === 1 ? "node" : "nodes");
    if (isOther) this.fit();
  }

  setState(state: FeedStatus["state"], graph?: Graph): void {
    if (graph) this.update(graph);
    this.live.dataset.state = state;
    this.element.dataset.feed = state;
    this.live.replaceChildren(h("span", { class: "dot" }), STATES[state]);
  }
}

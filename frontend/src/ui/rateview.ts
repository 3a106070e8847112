// What a link carries now and did in the last quarter of an hour, as far as it was asked for; for the inspector.

import type { Graph } from "../graph/store.js";
import type { Target } from "../map/hit.js";
import { bitsText, figures, type LinkRate, type Rates, type Sample } from "../rates.js";
import { h } from "./dom.js";
import { sparkline, sparkOf } from "./sparkline.js";

export class RateView {
  readonly element = h("section", { class: "rates", "data-testid": "rates", hidden: true });
  private shown = "";

  constructor(
    private readonly graph: Graph,
    private readonly rates: Rates,
    private readonly target: Target,
  ) {
    this.update();
  }

  /** The graph, or what is known of the rates, has changed. */
  update(): void {
    const { graph, rates, target } = this;
    const ns = target.type === "pod" ? target.key : graph.links.get("key" in target ? target.key : "")?.netns;
    const node = graph.netns.get(ns ?? "")?.node;
    rates.want("panel", node === undefined ? [] : [node]);
    const links =
      target.type === "pod"
        ? graph.linksOf(target.key).filter((link) => link.kind !== "loopback")
        : target.type === "link"
          ? [graph.links.get(target.key)].filter((link) => link !== undefined)
          : [];
    this.element.hidden = links.length === 0;
    const key = JSON.stringify(
      links.map((link) => [link.key, rates.get(link.key), rates.history(link.key).length]),
    );
    if (key === this.shown) return;
    this.shown = key;
    const rows = links.map((link) => linkRates(link.ifname, rates.get(link.key), rates.history(link.key)));
    this.element.replaceChildren(h("h3", {}, "Rates"), ...rows);
  }

  dispose(): void {
    this.rates.want("panel", []);
  }
}

function linkRates(ifname: string, now: LinkRate | undefined, past: readonly Sample[]): HTMLElement {
  const at = past.at(-1)?.at ?? 0;
  // Both lines have one scale, or their heights would say nothing.
  const most = Math.max(0, ...past.map(({ rate }) => (rate ? Math.max(rate.rxBytes, rate.txBytes) : 0)));
  const into = sparkOf(past, at, most, ({ rate }) => rate?.rxBytes ?? null);
  const out = sparkOf(past, at, most, ({ rate }) => rate?.txBytes ?? null);
  const since = into.since === null ? "" : new Date(into.since).toTimeString().slice(0, 8);
  const lost = lossText(now);
  return h(
    "div",
    { class: "rate" },
    h("span", { class: "ifname" }, ifname),
    h("span", { class: "now" }, nowText(now)),
    since
      ? sparkline([
          { name: "out", spark: out },
          { name: "in", spark: into },
        ])
      : null,
    since
      ? h("span", { class: "muted" }, `in solid, out dashed; at most ${bitsText(most)} since ${since}`)
      : null,
    lost ? h("span", { class: "loss" }, lost) : null,
  );
}

function nowText(now: LinkRate | undefined): string {
  if (!now) return "not known";
  if (!now.rate) return "not known yet: two readings of its counters are needed";
  return `in ${bitsText(now.rate.rxBytes)}, out ${bitsText(now.rate.txBytes)}`;
}

function lossText(now: LinkRate | undefined): string {
  if (!now) return "";
  const { rate, dropped, errors } = now;
  const lost = rate ? rate.dropped + rate.errors : 0;
  if (lost > 0) return `${figures(lost)} drops and errors a second`;
  if (dropped + errors === 0) return "";
  return `${dropped.toLocaleString("en")} dropped, ${errors.toLocaleString("en")} errors in all${rate ? ", none now" : ""}`;
}

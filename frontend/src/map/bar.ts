// Above the map: by what nodes are put together, what is in sight, and what the marks mean at the level shown.

import { GROUPINGS, type Grouping } from "../layout/groups.js";
import { h, s, setText } from "../ui/dom.js";
import { isAtLeast } from "./level.js";
import type { Sight } from "./mapview.js";

const WORDS: Record<Grouping, string> = { subnet: "Subnet", name: "Name", none: "None" };

export class MapBar {
  readonly element: HTMLElement;
  private readonly group = h("div", { class: "segments", role: "group", "aria-label": "Group nodes by" });
  private readonly grouping = h("div", { class: "grouping", hidden: true }, h("span", {}, "Group by"));
  private readonly sight = h("span", { class: "sight", "data-testid": "in-sight" });
  private readonly legend = h("div", { class: "legend", "data-testid": "legend" });
  private readonly back = h(
    "button",
    { type: "button", class: "back", "data-testid": "stage-back", hidden: true },
    "Back to the trace",
    h("kbd", {}, "M"),
  );
  private onBack: () => void = () => {};
  private shownGroups = "";
  private shownLegend = "";

  constructor(private readonly onGroup: (by: Grouping) => void) {
    this.grouping.append(this.group);
    this.back.addEventListener("click", () => this.onBack());
    this.element = h(
      "div",
      { class: "mapbar" },
      this.back,
      this.grouping,
      this.sight,
      h("span", { class: "spring" }),
      this.legend,
    );
  }

  /** Offer the groupings that make a difference. */
  offer(useful: Grouping[], current: Grouping): void {
    const key = `${useful.join()} ${current}`;
    if (key === this.shownGroups) return;
    this.shownGroups = key;
    const offered = GROUPINGS.filter((by) => useful.includes(by) || by === current);
    this.grouping.hidden = useful.length < 2;
    this.group.replaceChildren(
      ...offered.map((by) => {
        const button = h(
          "button",
          { type: "button", "aria-pressed": String(by === current), "data-group": by },
          WORDS[by],
        );
        button.addEventListener("click", () => this.onGroup(by));
        return button;
      }),
    );
  }

  /** While the whole map is shown in a trace: the way back to its stage. */
  offerTrace(onBack: (() => void) | null): void {
    this.back.hidden = onBack === null;
    this.onBack = onBack ?? (() => {});
  }

  show(sight: Sight, nodes: number): void {
    const number = (value: number) => value.toLocaleString("en");
    const all = sight.count >= nodes;
    const seen = nodes === 0 || all ? "" : `${number(sight.count)} of ${number(nodes)} nodes in view`;
    const titles = sight.leftOut && `titles are short for ${sight.leftOut}`;
    setText(this.sight, [titles, seen].filter(Boolean).join(" · "));
    const near = isAtLeast(sight.level, "pods") ? "near" : "far";
    if (near === this.shownLegend) return;
    this.shownLegend = near;
    this.legend.replaceChildren(...(near === "near" ? NEAR : FAR).map(([mark, word]) => entry(mark, word)));
  }
}

const FAR: [string, string][] = [
  ["ok", "no problem known"],
  ["warning", "warning"],
  ["error", "error"],
  ["away", "no data"],
  ["free", "free place"],
];
const NEAR: [string, string][] = [
  ["bridge", "bridge, ports"],
  ["veth", "veth"],
  ["nic", "NIC"],
  ["tunnel", "tunnel"],
  ["down", "down"],
  ["warning", "warning"],
  ["error", "error"],
];

const SHAPES: Record<string, (svg: SVGElement) => void> = {
  ok: (svg) => svg.append(s("rect", { x: 6, y: 1, width: 10, height: 10, rx: 1.5, class: "tile" })),
  warning: (svg) =>
    svg.append(
      s("rect", { x: 6, y: 1, width: 10, height: 10, rx: 1.5, class: "warn" }),
      s("path", { d: "M8 9l6-6", class: "on-warn" }),
    ),
  error: (svg) =>
    svg.append(
      s("rect", { x: 6, y: 1, width: 10, height: 10, rx: 1.5, class: "bad" }),
      s("path", { d: "M9 4l4 4M13 4l-4 4", class: "on-bad" }),
    ),
  away: (svg) => svg.append(s("rect", { x: 6.5, y: 1.5, width: 9, height: 9, rx: 1.5, class: "away" })),
  free: (svg) => svg.append(s("circle", { cx: 11, cy: 6, r: 1, class: "dot" })),
  bridge: (svg) =>
    svg.append(
      s("path", { d: "M1 6h20", class: "ink" }),
      s("rect", { x: 5, y: 3, width: 3, height: 6, class: "inkfill" }),
      s("rect", { x: 13, y: 3, width: 3, height: 6, class: "inkfill" }),
    ),
  veth: (svg) => svg.append(s("path", { d: "M1 6h20", class: "wire" })),
  nic: (svg) =>
    svg.append(
      s("path", { d: "M1 6h20", class: "rail" }),
      s("rect", { x: 7.5, y: 2.5, width: 7, height: 7, class: "hollow" }),
    ),
  tunnel: (svg) =>
    svg.append(
      s("path", { d: "M1 6h20", class: "dotted" }),
      s("circle", { cx: 11, cy: 6, r: 3.5, class: "hollow" }),
    ),
  down: (svg) => svg.append(s("path", { d: "M1 6h20", class: "downwire" })),
};

function entry(mark: string, word: string): HTMLElement {
  const svg = s("svg", { width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" });
  SHAPES[mark]?.(svg);
  return h("span", { class: "entry" }, svg, word);
}

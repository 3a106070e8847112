// Above the map: by what nodes are put together, what is in sight, and what the marks mean at the level shown.

import { thousands } from "../count.js";
import { type Grouping, groupingName, isGrouping } from "../layout/groups.js";
import type { MapLook } from "../look.js";
import { OVERLAY_NAMES } from "../overlays/all.js";
import { OVERLAYS, type Overlay, type OverlayId } from "../overlays/overlay.js";
import { h, s, setText } from "../ui/dom.js";
import { isAtLeast } from "./level.js";
import type { Sight } from "./mapview.js";

export class MapBar {
  readonly element: HTMLElement;
  private readonly group = h("select", { "data-testid": "grouping" });
  private readonly grouping = h(
    "label",
    { class: "grouping", hidden: true },
    h("span", {}, "Groups"),
    this.group,
  );
  private readonly sight = h("span", { class: "sight", "data-testid": "in-sight" });
  private readonly legend = h("div", { class: "legend", "data-testid": "legend" });
  private readonly back = h(
    "button",
    { type: "button", class: "back", "data-testid": "stage-back", hidden: true },
    "Back to the trace",
    h("kbd", {}, "M"),
  );
  private onBack: () => void = () => {};
  private readonly overlay = h("select", { "data-testid": "overlay" });
  private shownGroups = "";
  private shownLegend = "";

  constructor(onLook: (part: Partial<MapLook>) => void) {
    this.group.addEventListener("change", () => {
      if (isGrouping(this.group.value)) onLook({ group: this.group.value });
    });
    this.overlay.append(...OVERLAYS.map((id) => h("option", { value: id }, OVERLAY_NAMES[id])));
    this.overlay.addEventListener("change", () => onLook({ colour: this.overlay.value as OverlayId }));
    this.back.addEventListener("click", () => this.onBack());
    this.element = h(
      "div",
      { class: "mapbar" },
      this.back,
      this.grouping,
      h("label", { class: "grouping" }, h("span", {}, "Colours"), this.overlay),
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
    const offered = useful.includes(current) ? useful : [current, ...useful];
    this.grouping.hidden = useful.length < 2;
    this.group.replaceChildren(...offered.map((by) => h("option", { value: by }, groupingName(by))));
    this.group.value = current;
  }

  /** While the whole map is shown in a trace: the way back to its stage. */
  offerTrace(onBack: (() => void) | null): void {
    this.back.hidden = onBack === null;
    this.onBack = onBack ?? (() => {});
  }

  /** What is in sight, and what the colours say of it. */
  show(sight: Sight, nodes: number, overlay: Overlay): void {
    const all = sight.count >= nodes;
    const seen = nodes === 0 || all ? "" : `${thousands(sight.count)} of ${thousands(nodes)} nodes in view`;
    const titles = sight.leftOut && `titles are short for ${sight.leftOut}`;
    setText(this.sight, [titles, seen].filter(Boolean).join(" · "));
    const isNear = isAtLeast(sight.level, "pods");
    const gap = overlay.gap();
    const key = `${overlay.id} ${isNear} ${gap}`;
    if (key === this.shownLegend) return;
    this.shownLegend = key;
    this.overlay.value = overlay.id;
    const entries = overlay.id === "problems" && isNear ? NEAR : overlay.legend;
    this.legend.replaceChildren(
      ...entries.map(([mark, word]) => entry(mark, word)),
      ...(isNear || overlay.id !== "problems" ? [] : [entry("free", "free place")]),
      ...(gap ? [h("span", { class: "gap" }, gap)] : []),
    );
  }
}

const NEAR: [string, string][] = [
  ["bridge", "bridge, ports"],
  ["veth", "veth"],
  ["nic", "NIC"],
  ["tunnel", "tunnel"],
  ["down", "down"],
  ["warn", "warning"],
  ["bad", "error"],
];

const filled = (name: string) => (svg: SVGElement) =>
  svg.append(s("rect", { x: 6, y: 1, width: 10, height: 10, rx: 1.5, class: name }));

const SHAPES: Record<string, (svg: SVGElement) => void> = {
  ok: filled("tile"),
  none: filled("soft"),
  r1: filled("ramp1"),
  r2: filled("ramp2"),
  r3: filled("ramp3"),
  r4: filled("ramp4"),
  warn: (svg) =>
    svg.append(
      s("rect", { x: 6, y: 1, width: 10, height: 10, rx: 1.5, class: "warn" }),
      s("path", { d: "M8 9l6-6", class: "on-warn" }),
    ),
  bad: (svg) =>
    svg.append(
      s("rect", { x: 6, y: 1, width: 10, height: 10, rx: 1.5, class: "bad" }),
      s("path", { d: "M9 4l4 4M13 4l-4 4", class: "on-bad" }),
    ),
  unknown: (svg) => svg.append(s("rect", { x: 6.5, y: 1.5, width: 9, height: 9, rx: 1.5, class: "away" })),
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

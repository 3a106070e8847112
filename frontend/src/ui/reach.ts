// Whom a problem affects: from whom to whom, and how many pairs from when on.

import type { Between, CurvePoint } from "../api.js";
import { clock, plural } from "../problems.js";
import { h, s } from "./dom.js";

const WIDTH = 640;
const HEIGHT = 64;
const TOP = 6;

export function betweenTable(rows: Between[], sees: string): HTMLElement[] {
  if (rows.length === 0) return [];
  return [
    h("h3", {}, "Affected pairs", sees ? h("span", { class: "muted" }, ` ${sees}`) : null),
    h(
      "table",
      { class: "between", "data-testid": "between" },
      h("thead", {}, h("tr", {}, ...["From", "To", "Pairs"].map((name) => h("th", { scope: "col" }, name)))),
      h(
        "tbody",
        {},
        ...rows.map((row) =>
          h(
            "tr",
            {},
            h("td", {}, row.source),
            h("td", {}, row.target),
            h("td", { class: "number" }, row.pairs.toLocaleString("en")),
          ),
        ),
      ),
    ),
  ];
}

/** How many pairs failed when: steps, for between two changes nothing changed. */
export function curveChart(curve: CurvePoint[], end: Date, isOver: boolean, now: Date): HTMLElement[] {
  const most = Math.max(0, ...curve.map((point) => point.pairs));
  const first = curve[0];
  if (!first || most === 0) return [];
  const from = Date.parse(first.at);
  const span = Math.max(1000, end.getTime() - from);
  const x = (at: number) => ((Math.min(Math.max(at, from), from + span) - from) / span) * WIDTH;
  const y = (pairs: number) => HEIGHT - (pairs / most) * (HEIGHT - TOP);
  let line = `M0 ${y(first.pairs)}`;
  for (const point of curve.slice(1)) line += `H${x(Date.parse(point.at)).toFixed(1)}V${y(point.pairs)}`;
  line += `H${WIDTH}`;
  const last = curve[curve.length - 1]?.pairs ?? 0;
  const said = `${plural(most, "pair", "pairs")} at most, ${last === 0 ? "none" : last.toLocaleString("en")} now`;
  return [
    h("h3", {}, "Pairs that fail", h("span", { class: "muted" }, ` ${said}`)),
    h(
      "div",
      { class: "curve", "data-testid": "curve" },
      s(
        "svg",
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT + 2}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": said,
        },
        s("path", { class: "area", d: `${line}V${HEIGHT}H0Z` }),
        s("path", { class: "line", d: line }),
      ),
      h(
        "div",
        { class: "axis" },
        h("span", {}, clock(first.at, now)),
        h("span", {}, isOver ? clock(end.toISOString(), now) : "now"),
      ),
    ),
  ];
}

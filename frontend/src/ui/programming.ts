// What each node's rules do for a service: nodes that do the same are one row, those that differ are named.

import {
  type Cell,
  columnPorts,
  delayWords,
  endpointNumber,
  type ProgrammingRow,
  rangeWords,
  type ServiceDetail,
  type Tone,
} from "../kube.js";
import type { Context } from "./context.js";
import { h, s } from "./dom.js";
import { tileField } from "./field.js";
import { leftOff, mark, nodesCell, section, sinceCell } from "./kubeparts.js";
import { count } from "./names.js";

type Known = Exclude<Cell, null>;
const WORDS: Record<Known, string> = {
  programmed: "programmed",
  missing: "missing",
  stale: "stale",
  unknown: "not known",
};
const STATES: Record<ProgrammingRow["state"], { tone: Tone; words: string; symbol: string }> = {
  programmed: { tone: "ok", words: "as the API says", symbol: "passes" },
  differs: { tone: "bad", words: "differs", symbol: "breaks" },
  unknown: { tone: "none", words: "not known", symbol: "doubt" },
};

export function programmingPart(context: Context, one: ServiceDetail): HTMLElement {
  const found = one.programming;
  if (found.why !== null)
    return section("Programmed on each node", "not judged", h("p", { class: "muted" }, sentence(found.why)));
  const beside = `${found.programmed.toLocaleString("en")} of ${count(found.nodes, "node", "nodes")} as the API says`;
  return section(
    "Programmed on each node",
    beside,
    legend(found.rows),
    tileField(context, found.field),
    matrix(context, one),
    found.columns_left_off > 0
      ? h(
          "p",
          { class: "muted" },
          `${count(found.columns_left_off, "more endpoint has", "more endpoints have")} no column: those that differ come first.`,
        )
      : null,
    leftOff(found.left_off, "node is", "nodes are"),
    h("p", { class: "muted", "data-testid": "programming-delay" }, delayWords(found.delay)),
  );
}

function matrix(context: Context, one: ServiceDetail): HTMLElement {
  const { columns, rows } = one.programming;
  const ports = columnPorts(columns);
  const isSplit = ports.length > 1;
  const isMeasured = rows.some((row) => row.delay_s !== null);
  const differ = rows.some((row) => row.differs.length > 0);
  const th = (text: string, kind = "", span = 1, rowspan = 1) =>
    h("th", { scope: "col", class: kind, colspan: span, rowspan }, text);
  const deep = isSplit ? 2 : 1;
  const numbers = columns.map((column) => {
    const number = endpointNumber(column, one.rows);
    const title = column.pod
      ? `${column.pod}, ${column.ends.join(", ")}`
      : `${column.ends.join(", ")}: not an endpoint by the API`;
    return h("th", { scope: "col", class: "cell", title }, number > 0 ? String(number) : "gone");
  });
  return h(
    "div",
    { class: "kube-table", tabindex: 0 },
    h(
      "table",
      { class: "programming", "data-testid": "programming" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          th("Nodes", "", 1, deep),
          th("Mode", "", 1, deep),
          ...(isSplit
            ? ports.map(({ port, span }) => th(port || "unnamed port", "cell port", span))
            : numbers),
          th("State", "", 1, deep),
          isMeasured ? th("Delay", "", 1, deep) : null,
          differ ? th("What differs", "", 1, deep) : null,
          differ ? th("Since", "", 1, deep) : null,
        ),
        isSplit ? h("tr", {}, ...numbers) : null,
      ),
      h("tbody", {}, ...rows.map((row) => bodyRow(context, row, differ, isMeasured))),
    ),
  );
}

function bodyRow(context: Context, row: ProgrammingRow, differ: boolean, isMeasured: boolean): HTMLElement {
  const { tone, words, symbol } = STATES[row.state];
  return h(
    "tr",
    { "data-state": row.state },
    h("th", { scope: "row" }, nodesCell(context, row)),
    h("td", {}, row.mode ?? "–"),
    ...row.cells.map((cell) => h("td", { class: "cell" }, sign(cell))),
    h("td", {}, mark(tone, words, symbol)),
    isMeasured ? h("td", {}, rangeWords(row.delay_s)) : null,
    differ ? h("td", { class: "differs" }, row.differs.join("; ")) : null,
    differ ? h("td", {}, sinceCell(row)) : null,
  );
}

/** How one endpoint is programmed: each state has its own shape. */
function sign(cell: Cell): HTMLElement {
  if (cell === null) return h("span", { class: "muted", title: "not an endpoint for this node" }, "–");
  return h(
    "span",
    { class: "cell-sign", "data-cell": cell, title: WORDS[cell] },
    s("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, ...shape(cell)),
    h("span", { class: "sr" }, WORDS[cell]),
  );
}

function shape(cell: Known): SVGElement[] {
  if (cell === "stale") return [s("path", { d: "M6 1l5 5-5 5-5-5z" })];
  if (cell === "missing")
    return [s("circle", { cx: 6, cy: 6, r: 5 }), s("path", { class: "cross", d: "M4 4l4 4M8 4l-4 4" })];
  return [s("circle", { cx: 6, cy: 6, r: cell === "unknown" ? 4.5 : 5 })];
}

function legend(rows: ProgrammingRow[]): HTMLElement | null {
  const seen = new Set(rows.flatMap((row) => row.cells));
  const known = (Object.keys(WORDS) as Known[]).filter((cell) => seen.has(cell));
  if (known.length === 0) return null;
  return h(
    "p",
    { class: "matrix-legend", "aria-hidden": "true" },
    ...known.map((cell) => h("span", {}, sign(cell), WORDS[cell])),
  );
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

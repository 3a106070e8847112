// A table that sorts by its headings, marks rows, and shows many rows only when they are asked for.

import { cellText, isAmong, type Row, type Sorting, sorted } from "../tables.js";
import { h } from "./dom.js";

/** More are made when somebody wants them. */
const MOST_AT_ONCE = 200;

export interface TableParts {
  columns: string[];
  /** What a table is called by a screen reader. */
  label: string;
  sorting: Sorting | null;
  onSort(sorting: Sorting): void;
  /** Rows to mark. */
  met?: Row[];
  /** What stands in a cell, where it isn't just its text. */
  cell?(name: string, row: Row): Node | string | null;
}

export function dataTable(rows: Row[], parts: TableParts): HTMLElement {
  if (rows.length === 0) return h("p", { class: "muted" }, "None.");
  const dull = (name: string) => name === "metric" && rows.every((row) => row[name] === 0);
  const used = parts.columns.filter((name) => !dull(name) && rows.some((row) => cellText(row[name]) !== ""));
  const ordered = sorted(rows, parts.sorting);
  // What an address meets comes first: it is what was looked for.
  const met = parts.met ?? [];
  const first = met.length > 0 ? ordered.filter((row) => isAmong(row, met)) : [];
  const marked = new Set(first);
  const all = [...first, ...ordered.filter((row) => !marked.has(row))];
  const body = h("tbody", {}, ...all.slice(0, MOST_AT_ONCE).map((row) => tr(row, used, marked, parts)));
  const box = h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": parts.label },
    h("table", { class: "data" }, h("thead", {}, h("tr", {}, ...used.map((name) => th(name, parts)))), body),
  );
  const left = all.length - MOST_AT_ONCE;
  if (left <= 0) return box;
  const more = h(
    "button",
    { type: "button", class: "quiet more" },
    `Show ${left.toLocaleString("en")} more rows`,
  );
  more.addEventListener("click", () => {
    body.append(...all.slice(MOST_AT_ONCE).map((row) => tr(row, used, marked, parts)));
    more.remove();
  });
  return h("div", {}, box, more);
}

function th(name: string, parts: TableParts): HTMLElement {
  const { sorting } = parts;
  const isBy = sorting?.column === name;
  const how = !isBy ? null : sorting.descending ? "descending" : "ascending";
  const button = h("button", { type: "button", "data-sort": name }, name);
  button.addEventListener("click", () =>
    parts.onSort({ column: name, descending: isBy && !sorting.descending }),
  );
  return h("th", { scope: "col", "aria-sort": how }, button);
}

function tr(row: Row, columns: string[], marked: Set<Row>, parts: TableParts): HTMLElement {
  const cells = columns.map((name) => h("td", {}, parts.cell?.(name, row) ?? cellText(row[name])));
  return h("tr", marked.has(row) ? { class: "met", "data-met": "yes" } : {}, ...cells);
}

// Who may reach whom at which port, by policies: a row for all parties that are treated alike.

import type { Answer, Matrix, MatrixRow } from "../kube.js";
import { h, icon } from "./dom.js";
import { joinedLinks, policyLink } from "./kubeparts.js";
import { count } from "./names.js";

const ICONS: Record<Answer, string> = {
  allowed: "check",
  denied: "minus",
  unknown: "unknown",
  mixed: "swap",
};
const WORDS: Record<Answer, string> = {
  allowed: "may",
  denied: "may not",
  unknown: "not known",
  mixed: "some may",
};
const DIFFERS = { delivered: "denied, but delivered", refused: "allowed, but refused" };

export function matrixTable(matrix: Matrix, end: string, id = "matrix"): HTMLElement {
  const ports = matrix.ports.map((port) =>
    port === null
      ? matrix.ports.length > 1
        ? "other ports"
        : "every port"
      : `${port.port}${matrix.ports.some((one) => one && one.protocol !== "TCP") ? ` ${port.protocol}` : ""}`,
  );
  const head = (name: string, kind = "") => h("th", { scope: "col", class: kind }, name);
  return h(
    "div",
    {},
    h(
      "div",
      { class: "kube-table", tabindex: 0 },
      h(
        "table",
        { class: "matrix", "data-testid": id },
        h(
          "thead",
          {},
          h("tr", {}, head(end), ...ports.map((port) => head(port, "cell")), head("Decided by")),
        ),
        h("tbody", {}, ...matrix.rows.map(bodyRow)),
      ),
    ),
    legend(matrix),
  );
}

function bodyRow(row: MatrixRow): HTMLElement {
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      row.name,
      row.pods > 1 ? h("span", { class: "muted" }, ` ${count(row.pods, "pod", "pods")}`) : null,
    ),
    ...row.cells.map((cell, i) => h("td", { class: "cell" }, chip(cell, row.differs[i] ?? null))),
    h("td", { class: "muted" }, ...(row.by.length > 0 ? joinedLinks(row.by.map(policyLink)) : ["no policy"])),
  );
}

function chip(cell: Answer, differs: "delivered" | "refused" | null): HTMLElement {
  const words = differs ? DIFFERS[differs] : WORDS[cell];
  return h(
    "span",
    { class: "pair-answer", "data-answer": differs ?? cell, title: words },
    icon(differs ? "alert" : ICONS[cell]),
    h("span", { class: "sr" }, words),
  );
}

/** What the signs mean that are in the matrix. */
function legend(matrix: Matrix): HTMLElement {
  const cells = new Set(matrix.rows.flatMap((row) => row.cells));
  const differs = new Set(matrix.rows.flatMap((row) => row.differs.filter((one) => one !== null)));
  return h(
    "p",
    { class: "matrix-legend", "aria-hidden": "true" },
    ...(Object.keys(WORDS) as Answer[])
      .filter((one) => cells.has(one))
      .map((one) => h("span", {}, chip(one, null), WORDS[one])),
    ...(Object.keys(DIFFERS) as ("delivered" | "refused")[])
      .filter((one) => differs.has(one))
      .map((one) => h("span", {}, chip("denied", one), DIFFERS[one])),
  );
}

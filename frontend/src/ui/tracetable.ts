// A trace from each pod of a workload or a namespace, as a table.

import type { Api } from "../api.js";
import type { Tone, TraceTable } from "../kube.js";
import { formatRoute } from "../route.js";
import { outcomeWords } from "../trace/format.js";
import { h } from "./dom.js";
import { leftOff, mark, section, table } from "./kubeparts.js";
import { ask, field, unsure } from "./policyasks.js";

const SYMBOLS: Record<string, { tone: Tone; symbol: string }> = {
  good: { tone: "ok", symbol: "passes" },
  broken: { tone: "bad", symbol: "breaks" },
  "breaks-contract": { tone: "warn", symbol: "alert" },
  uncertain: { tone: "none", symbol: "doubt" },
};

/** Stands below a workload or a namespace: `ref` is what a trace calls it. */
export function traceTableAsk(api: Api, ref: string): HTMLElement {
  const other = field("To", "shop/db-0, svc/shop/db:5432, 10.0.0.7", "table-to");
  const port = field("Port", "auto", "table-port", "number");
  const way = h(
    "select",
    { "data-testid": "table-way" },
    h("option", { value: "from" }, "from its pods"),
    h("option", { value: "to" }, "to its pods"),
  );
  way.addEventListener("change", () => {
    const title = other.label.firstElementChild;
    if (title) title.textContent = way.value === "from" ? "To" : "From";
  });
  const answer = h("div", { class: "answer-box", "aria-live": "polite", "data-testid": "table-answer" });
  const form = h(
    "form",
    { class: "ask-form", novalidate: true },
    h("label", {}, h("span", {}, "Trace"), way),
    other.label,
    port.label,
    h("button", { type: "submit", class: "button", "data-testid": "table-submit" }, "Trace them"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [from, to] =
      way.value === "from" ? [ref, other.input.value.trim()] : [other.input.value.trim(), ref];
    const request = {
      from,
      to,
      proto: "auto",
      ...(port.input.value ? { dport: Number(port.input.value) } : {}),
    };
    void ask(answer, async () => tableAnswer(await api.traceTable(request)));
  });
  return h(
    "div",
    { class: "kube-asks" },
    section("Trace all its pods", "one row each; nothing is kept", form, answer),
  );
}

function tableAnswer(found: TraceTable): HTMLElement[] {
  if (found.rows.length === 0) return [h("p", { class: "muted" }, "It has no pod to trace.")];
  return [
    ...unsure(found.unsure),
    table(
      ["", "From", "To", "Result", ""],
      found.rows.map((row) => {
        const shown = row.outcome ? SYMBOLS[row.outcome] : undefined;
        const words = outcomeWords(row.outcome)?.short ?? "not traced";
        return [
          mark(shown?.tone ?? "none", words, shown?.symbol ?? "doubt"),
          nameOf(row.from),
          nameOf(row.to),
          row.headline,
          h(
            "a",
            { href: formatRoute({ page: "compose", from: nameOf(row.from), to: nameOf(row.to) }) },
            "Trace",
          ),
        ];
      }),
      "trace-table",
    ),
    ...[leftOff(found.left_off, "pair is", "pairs are", "traced")].filter((one) => one !== null),
  ];
}

function nameOf(end: string): string {
  return end.replace(/^pod\//, "");
}

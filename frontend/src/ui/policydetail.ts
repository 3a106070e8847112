// One policy, as a page: whom it selects, what may come and go, whether the nodes enforce it.

import type { EnforcedRow, PolicyDetail, Tone } from "../kube.js";
import { restrictsText, tierText, tierWords } from "../policytext.js";
import type { Context } from "./context.js";
import { h } from "./dom.js";
import { head, leftOff, mark, nodesCell, podTable, section, sinceCell, table } from "./kubeparts.js";
import { matrixTable } from "./matrix.js";
import { count } from "./names.js";
import type { Narrow } from "./narrow.js";

const STATES: Record<EnforcedRow["state"], { tone: Tone; words: string; symbol: string }> = {
  enforced: { tone: "ok", words: "enforced", symbol: "passes" },
  differs: { tone: "bad", words: "differs", symbol: "breaks" },
  unknown: { tone: "none", words: "not known", symbol: "doubt" },
};

export function policyBody(context: Context, one: PolicyDetail, narrow: Narrow): HTMLElement {
  return h(
    "article",
    {},
    head(one.namespace ? `${one.namespace}/${one.name}` : one.name, one.kind, null),
    h(
      "p",
      { class: "facts" },
      `Selects ${one.selects} (${count(one.pods, "pod", "pods")}), and ${restrictsText(one)}.`,
    ),
    one.tier ? h("p", { "data-testid": "tier" }, h("b", {}, tierText(one)), `. ${tierWords(one)}`) : null,
    section(
      one.tier ? "Its rules" : "What it allows",
      one.tier ? "in the order in which they are asked" : "",
      rulesTable(one),
    ),
    narrow.part([one.matrix.in, one.matrix.out]),
    one.matrix.in
      ? section(
          "Who may reach its pods",
          byText(one.matrix.in.policies),
          matrixTable(one.matrix.in, "From", "matrix-in"),
        )
      : null,
    one.matrix.out
      ? section(
          "Whom its pods may reach",
          byText(one.matrix.out.policies),
          matrixTable(one.matrix.out, "To", "matrix-out"),
        )
      : null,
    enforcedPart(context, one),
    section("Pods", String(one.pods), podTable(context, one.rows)),
    leftOff(one.left_off),
  );
}

function byText(policies: string[]): string {
  return policies.length === 1
    ? "by this policy"
    : `by ${count(policies.length, "policy", "policies")} together`;
}

function rulesTable(one: PolicyDetail): HTMLElement {
  const acts = one.tier !== null;
  const rows = one.rules.map((rule) => [
    ...(acts
      ? [`${rule.direction} ${rule.number}`, rule.name ?? "–", actionMark(rule.action)]
      : [rule.direction]),
    rule.peers,
    rule.ports,
  ]);
  // Who a NetworkPolicy's rules don't name is refused; those for the whole cluster say nothing of others.
  const shut = acts
    ? []
    : one.restricts
        .filter((way) => !one.rules.some((rule) => rule.direction === way))
        .map((way) => [way, "nobody", "no ports"]);
  return table(
    [...(acts ? ["Rule", "Name", "Action"] : ["Direction"]), way(one), "Ports"],
    [...rows, ...shut],
    "policy-rules",
  );
}

function actionMark(action: PolicyDetail["rules"][number]["action"]): HTMLElement {
  if (action === "Accept") return mark("ok", "accept", "check");
  return action === "Deny" ? mark("bad", "deny", "minus") : mark("none", "pass on", "swap");
}

/** What the other ends are called: who sends to its pods, or whom these send to. */
function way(one: PolicyDetail): string {
  if (one.restricts.length > 1) return "From or to";
  return one.restricts[0] === "out" ? "To" : "From";
}

function enforcedPart(context: Context, one: PolicyDetail): HTMLElement {
  const { why, rows, left } = one.enforced;
  const all = rows.reduce((sum, row) => sum + row.count, 0);
  const differ = rows.some((row) => row.said.length > 0);
  const good = rows.reduce((sum, row) => sum + (row.state === "enforced" ? row.count : 0), 0);
  if (why !== null)
    return section("Enforced on each node", "not judged", h("p", { class: "muted" }, `${why}.`));
  const beside =
    all === 0
      ? "no node shows any of its pods"
      : `on ${good.toLocaleString("en")} of ${count(all, "node", "nodes")} with its pods, by tracing flows between pods`;
  return section(
    "Enforced on each node",
    left > 0 ? `${beside}, ${count(left, "flow isn’t", "flows aren’t")} traced yet` : beside,
    all === 0
      ? null
      : table(
          ["Nodes", "State", ...(differ ? ["What differs", "Since"] : [])],
          rows.map((row) => {
            const { tone, words, symbol } = STATES[row.state];
            const state = [nodesCell(context, row), mark(tone, words, symbol)];
            return differ ? [...state, row.said.join("; "), sinceCell(row)] : state;
          }),
          "enforced",
        ),
  );
}

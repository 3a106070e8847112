// The hop list: hops by namespace, each step one decision with its "why", opened for its evidence.

import { explained } from "../learn/learn.js";
import { STEPS } from "../learn/texts.js";
import type { TraceView } from "../route.js";
import {
  changesAbove,
  checksByNode,
  fieldText,
  hopTitle,
  kindLabel,
  podText,
  splitEvidence,
  type Tone,
  tellingSteps,
} from "../trace/format.js";
import { headerRows } from "../trace/headers.js";
import { dropText, extrasAfter, extraText, markOf, markWords, sinceSent } from "../trace/observed.js";
import type { Extra, Hop, Observation, Observed, Step, Trace } from "../trace/types.js";
import { codeLine } from "./detail.js";
import { h, icon, moveByArrows } from "./dom.js";

const KIND_ICONS: Record<string, string> = {
  origin: "end",
  socket: "end",
  local_in: "end",
  rule: "route",
  route: "route",
  forward: "route",
  neigh: "tag",
  link_tx: "tx",
  link_rx: "rx",
  bridge: "bridge",
  netfilter: "shield",
  conntrack: "shield",
  nat: "swap",
  encap: "box",
  decap: "box",
  ttl: "gauge",
  mtu: "gauge",
  rp_filter: "gauge",
  opaque: "unknown",
};

/** What was observed of the packet, laid beside its steps. */
export interface Seen {
  trace: Trace;
  observation: Observation;
  direction: TraceView["direction"];
  isRunning: boolean;
}

/** How a step is shown: `tone` only on the one that ended the way other than by arriving. */
interface Look {
  tone: Tone | null;
  isSelected: boolean;
  isOpen: boolean;
  seen: Seen | null;
}

/** The hops of one direction. `tone` is how it ends; the last step is the one that decided that. */
export function hopList(
  hops: Hop[],
  tone: Tone,
  view: TraceView,
  onStep: (seq: number) => void,
  seen: Seen | null = null,
): HTMLElement {
  const last = hops.at(-1)?.steps.at(-1);
  const list = h("ol", { class: "hops", "data-testid": "hops" }, ...extraItems(0, seen));
  for (const hop of hops) {
    const shown = view.level === "summary" ? tellingSteps(hop.steps, last) : hop.steps;
    const steps = shown.flatMap((step) => {
      const isSelected = step.seq === view.step;
      const isOpen = isSelected || view.level === "evidence";
      const ended = step === last && tone !== "good" ? tone : null;
      return [
        stepItem(step, { tone: ended, isSelected, isOpen, seen }, onStep),
        ...extraItems(step.seq, seen),
      ];
    });
    const left = hop.steps.length - shown.length;
    list.append(
      h(
        "li",
        { class: "hop", "data-testid": "hop", "data-node": hop.node },
        hopHead(hop, left),
        h("ol", { class: "steps" }, ...steps),
      ),
    );
  }
  moveByArrows(list, ".step-row");
  return list;
}

function hopHead(hop: Hop, left: number): HTMLElement {
  const pod = podText(hop.pod);
  return h(
    "h4",
    {},
    icon(pod ? "pod" : "node"),
    h("span", { class: "hop-name" }, hopTitle(hop)),
    h("span", { class: "muted" }, pod ? `on ${hop.node}` : "node"),
    left > 0 ? h("span", { class: "muted left" }, `${left} more ${left === 1 ? "step" : "steps"}`) : null,
  );
}

function stepItem(step: Step, look: Look, onStep: (seq: number) => void): HTMLElement {
  const id = `step-${step.seq}`;
  const { tone, isOpen } = look;
  const row = h(
    "button",
    {
      type: "button",
      class: "step-row",
      "aria-expanded": String(isOpen),
      "aria-controls": isOpen ? id : null,
      "data-focus": id,
    },
    h("span", { class: "kind-icon" }, icon(tone === "bad" ? "cross" : (KIND_ICONS[step.kind] ?? "unknown"))),
    h(
      "span",
      { class: "step-text" },
      h(
        "span",
        { class: "step-title" },
        h("b", {}, kindLabel(step.kind)),
        step.dev ? h("code", { class: "dev" }, step.dev) : null,
        h("span", { class: "decision" }, step.decision.replaceAll("_", " ")),
        step.certainty === "certain"
          ? null
          : h("span", { class: "uncertain" }, CERTAINTIES[step.certainty] ?? step.certainty),
      ),
      h("span", { class: "why" }, step.why),
      tone && step.reason ? h("span", { class: "reason-code" }, step.reason) : null,
      changeLine(step),
    ),
    look.seen ? observedCell(step.observed, look.seen) : null,
  );
  row.addEventListener("click", () => onStep(step.seq));
  const attributes = {
    class: `step${tone ? ` ${tone}` : ""}${look.isSelected ? " selected" : ""}`,
    "data-testid": "step",
    "data-seq": step.seq,
    "data-kind": step.kind,
    "data-dev": step.dev,
    "data-decision": step.decision,
    "data-failed": tone !== null,
  };
  return h("li", attributes, row, isOpen ? stepBody(step, id, look) : null);
}

const CERTAINTIES: Record<string, string> = { unknown: "not known", branch: "the kernel chooses" };

/** The fields that a step changed, in a line; MACs only in the details. */
function changeLine(step: Step): HTMLElement | null {
  const changes = changesAbove(step);
  if (changes.length === 0) return null;
  const parts = changes.map(([name, [before, after]]) =>
    h(
      "span",
      { class: "change" },
      `${name} `,
      h("del", {}, fieldText(name, before)),
      " → ",
      h("ins", {}, fieldText(name, after)),
    ),
  );
  return h("span", { class: "changes", "data-testid": "changes" }, ...parts);
}

/** What was seen of a step: its mark, and when, in ms since the probe was sent. */
function observedCell(observed: Observed | null, seen: Seen): HTMLElement {
  if (!observed) return h("span", { class: "observed" });
  const mark = markOf(observed, seen.isRunning);
  const { sign, words } = markWords(mark);
  const title = [words, observed.why, observed.drop_reason].filter((text) => text).join(": ");
  return h(
    "span",
    { class: `observed ${mark}`, title, "data-mark": mark },
    h("span", { class: "ms" }, sinceSent(observed.ts_ns, seen.observation)),
    h("span", { class: "mark", role: "img", "aria-label": words }, sign),
  );
}

/** What was seen after a step and isn't predicted, in steps of their own. */
function extraItems(seq: number, seen: Seen | null): HTMLElement[] {
  if (!seen || seen.isRunning) return [];
  return extrasAfter(seen.trace, seen.direction, seq).map((extra) => extraItem(extra, seen));
}

function extraItem(extra: Extra, seen: Seen): HTMLElement {
  const { words } = markWords("extra");
  return h(
    "li",
    { class: "step extra", "data-testid": "extra" },
    h(
      "div",
      { class: "step-row" },
      h("span", { class: "kind-icon" }, h("span", { class: "dashed", role: "img", "aria-label": words })),
      h(
        "span",
        { class: "step-text" },
        h("span", { class: "step-title" }, h("b", {}, "not predicted")),
        h("span", { class: "why" }, extraText(extra)),
      ),
      h(
        "span",
        { class: "observed extra" },
        h("span", { class: "ms" }, sinceSent(extra.ts_ns, seen.observation)),
        h("span", { class: "mark" }, "✓"),
      ),
    ),
  );
}

/** What was seen of a step, in words, and the headers as they were on the wire. */
function observedParts(observed: Observed | null, seen: Seen | null): HTMLElement[] {
  if (!observed || !seen) return [];
  const { words } = markWords(markOf(observed, seen.isRunning));
  const lines = [
    observed.why ? `${words}: ${observed.why}` : words,
    ...(observed.drop_reason ? [`dropped: ${dropText(observed.drop_reason)}`] : []),
    ...(observed.rule
      ? [
          `nftables said: ${observed.rule.verdict}, ${ruleName(observed.rule)} ${observed.rule.table} ${observed.rule.chain}`,
        ]
      : []),
  ];
  const { headers } = observed;
  return [
    h("h5", {}, observed.point ? `Observed by ${observed.point}` : "Observed"),
    ...lines.map((line) => h("p", { class: "seen-line" }, line)),
    ...(headers
      ? [
          h(
            "p",
            { class: "packet-line", "data-testid": "seen-headers" },
            `${headers.src}:${headers.sport} → ${headers.dst}:${headers.dport}, TTL ${headers.ttl}, ${headers.len} bytes, ` +
              `${headers.smac} → ${headers.dmac}`,
          ),
        ]
      : []),
  ];
}

function ruleName(rule: NonNullable<Observed["rule"]>): string {
  return rule.handle === null ? "the policy of" : `rule ${rule.handle} of`;
}

/** The evidence of a step; the packet's headers only where they changed or were asked for. */
function stepBody(step: Step, id: string, { isSelected, seen }: Look): HTMLElement {
  const { facts } = splitEvidence(step.evidence);
  const isChanged = Object.keys(step.diff ?? {}).length > 0;
  return h(
    "div",
    { class: "step-body", id },
    explained(STEPS[step.kind]),
    ...observedParts(step.observed, seen),
    isSelected || isChanged ? headerTable(step, seen !== null) : null,
    facts.length > 0 ? h("h5", {}, "Evidence") : null,
    facts.length > 0
      ? h(
          "dl",
          {},
          ...facts.flatMap(([name, value]) => [
            h("dt", {}, name.replaceAll("_", " ")),
            h("dd", {}, h("code", {}, value)),
          ]),
        )
      : null,
    ...checksByNode(step).flatMap(([node, commands]) => [
      h("h5", {}, node ? `Check it by hand on ${node}` : "Check it by hand"),
      ...commands.map((command) => codeLine(command)),
    ]),
  );
}

/** The headers before and after; what was seen stands beside them where it differs. */
function headerTable(step: Step, isSeen: boolean): HTMLElement {
  const rows = headerRows(step);
  const hasOther = isSeen && rows.some((row) => row.seen !== null);
  const heads = ["Header", "Before", "After", ...(hasOther ? ["Seen"] : [])];
  return h(
    "table",
    { class: "headers", "data-testid": "headers" },
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
    h(
      "tbody",
      {},
      ...rows.map((row) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, row.name),
          h("td", {}, row.before),
          row.isChanged ? h("td", { class: "changed" }, row.after) : h("td", { class: "same" }, "same"),
          hasOther ? h("td", { class: "other" }, row.seen ?? "") : null,
        ),
      ),
    ),
  );
}

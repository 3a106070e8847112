// The hop list: hops by namespace, each step one decision with its "why", opened for its evidence.

import type { TraceView } from "../route.js";
import {
  changesAbove,
  checksByNode,
  fieldText,
  hopTitle,
  isObserved,
  kindLabel,
  packetText,
  podText,
  splitEvidence,
  type Tone,
  tellingSteps,
} from "../trace/format.js";
import type { Hop, Observed, Step } from "../trace/types.js";
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

const OBSERVED: Record<Observed["match"], string> = {
  agree: "seen",
  disagree: "differs",
  not_seen: "not seen",
  lost: "event lost",
};

/** How a step is shown: `tone` only on the one that ended the way other than by arriving. */
interface Look {
  tone: Tone | null;
  isSelected: boolean;
  isOpen: boolean;
  hasObserved: boolean;
}

/** The hops of one direction. `tone` is how it ends; the last step is the one that decided that. */
export function hopList(
  hops: Hop[],
  tone: Tone,
  view: TraceView,
  onStep: (seq: number) => void,
): HTMLElement {
  const last = hops.at(-1)?.steps.at(-1);
  const hasObserved = isObserved(hops);
  const list = h("ol", { class: "hops", "data-testid": "hops" });
  for (const hop of hops) {
    const shown = view.level === "summary" ? tellingSteps(hop.steps, last) : hop.steps;
    const steps = shown.map((step) => {
      const isSelected = step.seq === view.step;
      const isOpen = isSelected || view.level === "evidence";
      const ended = step === last && tone !== "good" ? tone : null;
      return stepItem(step, { tone: ended, isSelected, isOpen, hasObserved }, onStep);
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
    look.hasObserved ? observedCell(step.observed) : null,
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
  return h("li", attributes, row, isOpen ? stepBody(step, id, look.isSelected) : null);
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

function observedCell(observed: Observed | null): HTMLElement {
  if (!observed) return h("span", { class: "observed" }, "");
  const title = [observed.point, observed.drop_reason].filter((text) => text).join(" · ");
  return h("span", { class: `observed ${observed.match}`, title }, OBSERVED[observed.match]);
}

/** The evidence of a step; the packet itself only where it changed or was asked for. */
function stepBody(step: Step, id: string, isSelected: boolean): HTMLElement {
  const { facts } = splitEvidence(step.evidence);
  const changes = Object.entries(step.diff ?? {});
  return h(
    "div",
    { class: "step-body", id },
    changes.length > 0 ? h("h5", {}, "Changes to the packet") : null,
    changes.length > 0
      ? h(
          "dl",
          { class: "diff" },
          ...changes.flatMap(([name, [before, after]]) => [
            h("dt", {}, name),
            diffValue(name, before, after),
          ]),
        )
      : null,
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
    ...(isSelected || changes.length > 0
      ? [h("h5", {}, "The packet after this step"), h("p", { class: "packet-line" }, packetText(step.packet))]
      : []),
  );
}

function diffValue(field: string, before: unknown, after: unknown): HTMLElement {
  return h("dd", {}, h("del", {}, fieldText(field, before)), " → ", h("ins", {}, fieldText(field, after)));
}

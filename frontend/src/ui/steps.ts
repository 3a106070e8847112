// The hop list: hops by namespace, each step one decision with its "why", opened for its evidence.

import {
  dispositionWords,
  failedStep,
  hopTitle,
  isObserved,
  kindLabel,
  packetText,
  podText,
  splitEvidence,
  valueText,
} from "../trace/format.js";
import type { Hop, Observed, Step } from "../trace/types.js";
import { codeLine } from "./detail.js";
import { h, icon } from "./dom.js";

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

export interface StepEvents {
  onStep(seq: number): void;
}

export function hopList(
  hops: Hop[],
  disposition: string,
  selected: number | null,
  events: StepEvents,
): HTMLElement {
  const failed = failedStep(hops, disposition);
  const observed = isObserved(hops);
  const list = h("ol", { class: `hops${observed ? " with-observed" : ""}`, "data-testid": "hops" });
  for (const hop of hops) {
    const steps = hop.steps.map((step) =>
      stepItem(step, step === failed ? disposition : null, step.seq === selected, observed, events),
    );
    list.append(
      h(
        "li",
        { class: "hop", "data-testid": "hop", "data-node": hop.node },
        hopHead(hop),
        h("ol", { class: "steps" }, ...steps),
      ),
    );
  }
  return list;
}

function hopHead(hop: Hop): HTMLElement {
  const pod = podText(hop.pod);
  return h(
    "h4",
    {},
    icon(pod ? "pod" : "node"),
    h("span", { class: "hop-name" }, hopTitle(hop)),
    h("span", { class: "muted" }, pod ? `on ${hop.node}` : "node"),
  );
}

function stepItem(
  step: Step,
  failed: string | null,
  selected: boolean,
  observed: boolean,
  events: StepEvents,
): HTMLElement {
  const id = `step-${step.seq}`;
  const tone = failed ? dispositionWords(failed).tone : null;
  const row = h(
    "button",
    { type: "button", class: "step-row", "aria-expanded": String(selected), "aria-controls": id },
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
          : h("span", { class: "uncertain" }, step.certainty === "unknown" ? "not certain" : step.certainty),
      ),
      h("span", { class: "why" }, step.why),
      failed && step.reason ? h("span", { class: "reason-code" }, step.reason) : null,
    ),
    observed ? observedCell(step.observed) : null,
  );
  row.addEventListener("click", () => events.onStep(step.seq));
  const attributes = {
    class: `step${tone ? ` ${tone}` : ""}${selected ? " selected" : ""}`,
    "data-testid": "step",
    "data-seq": step.seq,
    "data-kind": step.kind,
    "data-dev": step.dev,
    "data-decision": step.decision,
    "data-failed": failed !== null,
  };
  return h("li", attributes, row, selected ? stepBody(step, id) : null);
}

function observedCell(observed: Observed | null): HTMLElement {
  if (!observed) return h("span", { class: "observed" }, "");
  const title = [observed.point, observed.drop_reason].filter((text) => text).join(" · ");
  return h("span", { class: `observed ${observed.match}`, title }, OBSERVED[observed.match]);
}

function stepBody(step: Step, id: string): HTMLElement {
  const { facts, commands } = splitEvidence(step.evidence);
  const changes = Object.entries(step.diff ?? {});
  return h(
    "div",
    { class: "step-body", id },
    changes.length > 0 ? h("h5", {}, "Changes to the packet") : null,
    changes.length > 0
      ? h(
          "dl",
          { class: "diff" },
          ...changes.flatMap(([name, [before, after]]) => [h("dt", {}, name), diffValue(before, after)]),
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
    commands.length > 0 ? h("h5", {}, "Check it by hand") : null,
    ...commands.map((command) => codeLine(command)),
    h("h5", {}, "The packet after this step"),
    h("p", { class: "packet-line" }, packetText(step.packet)),
  );
}

function diffValue(before: unknown, after: unknown): HTMLElement {
  return h("dd", {}, h("del", {}, valueText(before)), " → ", h("ins", {}, valueText(after)));
}

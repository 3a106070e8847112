// Every node's state of programming, as a field of tiles: where in the cluster something isn't as the API says.

import type { NodeState, Zone } from "../kube.js";
import { fieldOf, nodeAt, type ZoneField } from "../layout/field.js";
import type { Context } from "./context.js";
import { h, s } from "./dom.js";
import { count } from "./names.js";

export const NODE_WORDS: Record<NodeState, string> = {
  programmed: "programmed",
  missing: "missing",
  stale: "stale",
  differs: "differs",
  unknown: "not known",
};

export function tileField(context: Context, zones: Zone[]): HTMLElement | null {
  const fields = fieldOf(zones);
  if (fields.every((field) => field.nodes === 0)) return null;
  const isOne = fields.length === 1 && fields[0]?.zone === null;
  return h(
    "div",
    { class: "tile-fields", "data-testid": "tile-field" },
    ...fields.map((field) => zoneField(context, field, isOne)),
  );
}

function zoneField(context: Context, field: ZoneField, isOne: boolean): HTMLElement {
  const names = namesOf(context, field);
  const title = s("title", {});
  const svg = s(
    "svg",
    {
      viewBox: `0 0 ${field.width} ${field.height}`,
      width: field.width,
      height: field.height,
      "aria-hidden": "true",
    },
    title,
    ...(Object.entries(field.tiles) as [NodeState, string][]).map(([state, d]) =>
      s("path", { class: "tiles", "data-cell": state, d }),
    ),
    ...field.marks.map((mark) =>
      s(
        "g",
        { class: "tile-mark", "data-cell": mark.state, transform: `translate(${mark.x} ${mark.y})` },
        ...sign(mark.state),
      ),
    ),
  );
  svg.addEventListener("pointermove", (event) => {
    const index = nodeAt(field, event.offsetX, event.offsetY);
    const state = field.states[index];
    title.textContent = state ? `${names?.[index] ?? "a node"}: ${NODE_WORDS[state]}` : "";
  });
  svg.addEventListener("click", (event) => {
    const name = names?.[nodeAt(field, event.offsetX, event.offsetY)];
    if (name) context.go({ page: "select", target: { type: "node", name } });
  });
  return h(
    "figure",
    {},
    isOne ? null : h("figcaption", { class: "muted" }, field.zone ?? "no zone"),
    h("div", { role: "img", "aria-label": fieldWords(field) }, svg),
  );
}

/** What a field shows, in words. */
export function fieldWords(field: ZoneField): string {
  const parts = (Object.keys(NODE_WORDS) as NodeState[])
    .filter((state) => field.counts[state])
    .map((state) => `${field.counts[state]?.toLocaleString("en")} ${NODE_WORDS[state]}`);
  return `${count(field.nodes, "node", "nodes")}${field.zone ? ` in ${field.zone}` : ""}: ${parts.join(", ")}`;
}

/** The names of a zone's nodes in order, where the page knows as many of that zone. */
function namesOf(context: Context, field: ZoneField): string[] | null {
  const names = [...context.graph.nodes.values()]
    .filter((node) => (node.kube?.zone || null) === field.zone)
    .map((node) => node.name)
    .sort((a, b) => (a < b ? -1 : 1));
  return names.length === field.nodes ? names : null;
}

/** Each state has its own shape. */
function sign(state: Exclude<NodeState, "programmed">): SVGElement[] {
  if (state === "stale") return [s("path", { d: "M0 -5l5 5-5 5-5-5z" })];
  if (state === "unknown") return [s("circle", { r: 3.5 })];
  return [s("circle", { r: 4.5 }), s("path", { class: "cross", d: "M-2 -2l4 4M2 -2l-4 4" })];
}

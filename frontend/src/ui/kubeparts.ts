// What the pages of Kubernetes' objects are made of: tables, sections, marks, links.

import { type Kind, type NodesRow, nodesText, type PodRow, podState, type Tone } from "../kube.js";
import { policyName } from "../policytext.js";
import { clock } from "../problems.js";
import { formatRoute, targetHref } from "../route.js";
import type { Context } from "./context.js";
import { h, icon } from "./dom.js";
import { count } from "./names.js";

const ICONS: Record<Tone, string> = { ok: "passes", warn: "clock", bad: "breaks", none: "none" };
const WORDS: Record<Tone, string> = { ok: "ready", warn: "partly ready", bad: "not ready", none: "" };

/** How something is: never by colour alone. */
export function mark(tone: Tone, text?: string, symbol = ICONS[tone]): HTMLElement {
  return h(
    "span",
    { class: "kube-mark", "data-tone": tone },
    icon(symbol),
    text ? text : h("span", { class: "sr" }, WORDS[tone]),
  );
}

export type Cell = HTMLElement | string | null;

export function table(head: Cell[], rows: Cell[][], id?: string): HTMLElement {
  const cell = (one: Cell) => h("td", {}, one);
  return h(
    "div",
    { class: "kube-table", tabindex: 0 },
    h(
      "table",
      { "data-testid": id },
      h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell)))),
    ),
  );
}

export function section(title: string, beside: string, ...body: (HTMLElement | null)[]): HTMLElement {
  return h("section", {}, h("h2", {}, title, h("span", { class: "beside" }, beside)), ...body);
}

export function leftOff(
  more: number,
  one = "pod is",
  many = "pods are",
  done = "listed",
): HTMLElement | null {
  return more > 0 ? h("p", { class: "muted" }, `${count(more, one, many)} not ${done}.`) : null;
}

export function joinedLinks(links: HTMLElement[]): (HTMLElement | string)[] {
  return links.flatMap((link, i) => (i === 0 ? [link] : [", ", link]));
}

export function kubeLink(kind: Kind, id: string, text = id): HTMLElement {
  return h("a", { href: formatRoute({ page: "kube", kind, id }) }, text);
}

export function podLink(name: string, netns: string | null): HTMLElement {
  return netns ? h("a", { href: targetHref({ type: "pod", key: netns }) }, name) : h("span", {}, name);
}

export function nodeLink(context: Context, node: string | null): HTMLElement {
  if (!node) return h("span", { class: "muted" }, "not scheduled");
  if (!context.graph.nodes.has(node)) return h("span", {}, node);
  return h("a", { href: targetHref({ type: "node", name: node }) }, node);
}

/** Nodes that are one row: by name as long as they are few, the first ones in the tooltip else. */
export function nodesCell(context: Context, row: NodesRow): HTMLElement {
  if (row.count <= 3) {
    const links = row.nodes.slice(0, row.count).map((name) => nodeLink(context, name));
    return h("span", { class: "nodes" }, ...joinedLinks(links));
  }
  const title = row.nodes.join(", ") + (row.count > row.nodes.length ? ", …" : "");
  return h("span", { class: "nodes", title }, nodesText(row));
}

/** Since when something is so, as a link to its problem. */
export function sinceCell(row: NodesRow): HTMLElement | null {
  if (row.problem === null) return null;
  const href = formatRoute({ page: "problems", id: row.problem, list: "now" });
  return h("a", { href }, row.since ? clock(row.since, new Date()) : "problem");
}

/** A policy's name as a link: its namespace stands before it, or the kind of one for the whole cluster. */
export function policyLink(name: string): HTMLElement {
  const link = kubeLink("policies", name, policyName(name));
  link.title = name;
  return link;
}

export function head(name: string, kind: string, action: HTMLElement | null): HTMLElement {
  return h(
    "header",
    {},
    h("h1", {}, name),
    h("span", { class: "tag" }, kind),
    h("span", { class: "spring" }),
    action,
  );
}

export function podTable(context: Context, pods: PodRow[]): HTMLElement | null {
  if (pods.length === 0) return null;
  return table(
    ["Pod", "Address", "Node", "State", ""],
    pods.map((pod) => {
      const state = podState(pod);
      return [
        podLink(pod.name, pod.netns),
        h("code", {}, pod.host_network ? "the node’s" : pod.addrs.join(", ")),
        nodeLink(context, pod.node),
        mark(state.tone, state.text),
        traceLink(context, `pod/${pod.namespace}/${pod.name}`),
      ];
    }),
    "kube-pods",
  );
}

function traceLink(context: Context, to: string): HTMLElement | null {
  if (!context.mayTrace) return null;
  return h("a", { href: formatRoute({ page: "compose", from: "", to }) }, "Trace");
}

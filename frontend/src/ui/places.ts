// What addresses in tables lead to, and what is said of a thing that isn't there.

import { nodeOfKey } from "../graph/keys.js";
import type { Graph } from "../graph/store.js";
import type { Target } from "../map/hit.js";
import { targetHref } from "../route.js";
import { h } from "./dom.js";
import { heading } from "./heading.js";
import { netnsTitle } from "./names.js";

/** Whose an address is, as far as the page knows: made anew when the graph has changed. */
export class Addresses {
  private revision = -1;
  private readonly known = new Map<string, Target>();

  constructor(private readonly graph: Graph) {}

  hrefOf(text: string): string | null {
    const addr = text.split("/")[0] ?? "";
    if (!/[.:]/.test(addr)) return null;
    if (this.revision !== this.graph.revision) this.read();
    const target = this.known.get(addr);
    return target ? targetHref(target) : null;
  }

  private read(): void {
    this.revision = this.graph.revision;
    this.known.clear();
    for (const ns of this.graph.netns.values())
      if (!ns.root) for (const addr of ns.addrs) this.known.set(bare(addr), { type: "pod", key: ns.key });
    for (const node of this.graph.nodes.values())
      for (const addr of node.addrs) this.known.set(bare(addr), { type: "node", name: node.name });
  }
}

function bare(cidr: string): string {
  return cidr.split("/")[0] ?? "";
}

/** Remembers what a thing was called, and when the page was told that it is gone. */
export class Departed {
  private name = "";
  private kind = "";
  private goneAt: Date | null = null;

  constructor(
    private readonly graph: Graph,
    private readonly target: Target,
  ) {}

  /** Take note of how it is now. */
  note(): void {
    const { graph, target } = this;
    if (target.type === "node") this.take(graph.nodes.has(target.name) ? target.name : null, "Node");
    else if (target.type === "pod") {
      const ns = graph.netns.get(target.key);
      const kind = ns?.pod ? "Pod" : "Network namespace";
      this.take(ns ? (ns.pod ? `${ns.pod.namespace}/${ns.pod.name}` : netnsTitle(ns)) : null, kind);
    } else this.take(graph.links.get(target.key)?.ifname ?? null, "Link");
  }

  private take(name: string | null, kind: string): void {
    if (name !== null) {
      this.name = name;
      this.kind = kind;
      this.goneAt = null;
    } else if (this.name && this.isRead()) this.goneAt ??= new Date();
  }

  /** Whether the node's details are here, so that what is missing isn't there. */
  private isRead(): boolean {
    return this.target.type === "node" || this.graph.rootOf(this.node()) !== undefined;
  }

  private node(): string {
    return this.target.type === "node" ? this.target.name : nodeOfKey(this.target.key);
  }

  render(): HTMLElement[] {
    const { graph, target } = this;
    const node = this.node();
    const kind = this.kind || { node: "Node", pod: "Network namespace", link: "Link" }[target.type];
    const name = this.name || (target.type === "node" ? target.name : target.key);
    const toNode = () => h("a", { href: targetHref({ type: "node", name: node }) }, node);
    if (graph.revision < 0) return [heading(kind, name, ""), said("Waiting for the server.")];
    if (!graph.nodes.has(node))
      return [
        heading(kind, name, ""),
        said(
          target.type === "node"
            ? `${this.since()}No collector has reported a node of this name, or the node was removed.`
            : `Its node ${node} isn’t known (any more).`,
        ),
        said("The list at the left has the nodes that are known."),
      ];
    if (!this.isRead()) {
      const isOdd = graph.nodes.get(node)?.not_understood !== null;
      return [
        heading(kind, name, ""),
        said(isOdd ? "Nothing is shown of its node, " : "Reading its node, ", toNode(), isOdd ? "." : "…"),
      ];
    }
    if (this.goneAt)
      return [
        heading(kind, name, `was on ${node}`),
        said(this.since(), "What is shown of it elsewhere is of before. ", "Its node is ", toNode(), "."),
      ];
    return [
      heading(kind, name, ""),
      said(
        "It isn’t on ",
        toNode(),
        " now: it went before this page was opened, or never was. Search for it by name: a pod that was made anew is another namespace.",
      ),
    ];
  }

  private since(): string {
    return this.goneAt ? `It went at ${this.goneAt.toLocaleTimeString("en-GB")}. ` : "";
  }
}

function said(...parts: (Node | string)[]): HTMLElement {
  return h("p", { class: "muted", "data-testid": "not-there" }, ...parts);
}

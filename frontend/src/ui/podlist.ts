// The list of nodes and pods beside the map: another way to every pod, for keyboard and screen
// reader. Kept in step by key; in a very large cluster only opened nodes list their pods.

import type { Health, NetnsObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { compareNamespaces, namespaceLabel } from "../layout/box.js";
import { naturalCompare } from "../layout/natural.js";
import type { Target } from "../map/hit.js";
import { targetHref } from "../route.js";
import { h, icon, setText } from "./dom.js";
import { count, traceName } from "./names.js";

const ALL_OPEN_LIMIT = 2500;

interface NodeEntry {
  element: HTMLDetailsElement;
  title: HTMLElement;
  mark: HTMLElement;
  count: HTMLElement;
  list: HTMLUListElement;
  pods: Map<string, HTMLLIElement>;
}

export class PodList {
  readonly element = h("nav", { id: "pods", "aria-label": "Nodes and pods" });
  private readonly body = h("div", { class: "podlist" });
  private readonly entries = new Map<string, NodeEntry>();
  private current: Element | null = null;

  constructor(
    private readonly graph: Graph,
    private readonly onPick: (target: Target, extend: boolean) => void,
  ) {
    this.element.append(h("h2", {}, "Nodes and pods"), this.body);
  }

  update(): void {
    const large = this.graph.netns.size > ALL_OPEN_LIMIT;
    const names = [...this.graph.nodes.keys()].sort(naturalCompare);
    for (const [name, entry] of this.entries) {
      if (!this.graph.nodes.has(name)) {
        entry.element.remove();
        this.entries.delete(name);
      }
    }
    names.forEach((name, i) => {
      let entry = this.entries.get(name);
      if (!entry) {
        entry = this.makeEntry(name, !large);
        this.entries.set(name, entry);
      }
      if (this.body.children[i] !== entry.element)
        this.body.insertBefore(entry.element, this.body.children[i] ?? null);
      this.updateEntry(name, entry);
    });
  }

  select(target: Target | null): void {
    this.current?.removeAttribute("aria-current");
    this.current = null;
    if (!target || target.type === "link") return;
    const entry = this.entries.get(
      target.type === "node" ? target.name : (this.graph.netns.get(target.key)?.node ?? ""),
    );
    const holder = target.type === "node" ? entry?.title : entry?.pods.get(target.key);
    const element = holder?.querySelector("a") ?? null;
    element?.setAttribute("aria-current", "true");
    element?.scrollIntoView({ block: "nearest" });
    this.current = element;
  }

  private makeEntry(name: string, open: boolean): NodeEntry {
    const title = h(
      "span",
      { class: "node-name" },
      h("a", { href: targetHref({ type: "node", name }) }, name),
    );
    const pods = h("span", { class: "count" });
    const list = h("ul");
    const mark = h("span", { class: "problem-mark" });
    const element = h("details", { "data-node": name }, h("summary", {}, title, mark, pods), list);
    element.open = open;
    const entry = { element, title, mark, count: pods, list, pods: new Map() };
    element.addEventListener("toggle", () => this.updateEntry(name, entry));
    return entry;
  }

  private updateEntry(name: string, entry: NodeEntry): void {
    const spaces = this.graph
      .netnsOf(name)
      .filter((ns) => !ns.root)
      .sort(compareNamespaces);
    const node = this.graph.nodes.get(name);
    setText(entry.count, String(node?.pods ?? 0));
    mark(entry.element, node?.health ?? "warning");
    this.markProblems(entry, name, node?.connected ?? false);
    if (!entry.element.open) return;
    for (const [key, item] of entry.pods) {
      if (this.graph.netns.get(key)?.node !== name) {
        item.remove();
        entry.pods.delete(key);
      }
    }
    spaces.forEach((ns, i) => {
      let item = entry.pods.get(ns.key);
      if (!item) {
        item = this.makeItem(ns);
        entry.pods.set(ns.key, item);
      }
      if (entry.list.children[i] !== item) entry.list.insertBefore(item, entry.list.children[i] ?? null);
      this.updateItem(item, ns);
    });
  }

  /** A node's mark: that it is away, or how many problems have their cause there. */
  private markProblems(entry: NodeEntry, name: string, connected: boolean): void {
    const problems = this.graph.problemsAt(name);
    const text = connected ? (problems.length > 0 ? String(problems.length) : "") : "offline";
    if (entry.mark.dataset.text === text) return;
    entry.mark.dataset.text = text;
    entry.mark.title = problems[0]?.headline ?? "";
    const words = connected
      ? count(problems.length, "problem", "problems")
      : "its collector is not connected";
    entry.mark.replaceChildren(...(text ? [icon("alert"), text, h("span", { class: "sr" }, words)] : []));
  }

  private makeItem(ns: NetnsObj): HTMLLIElement {
    const target: Target = { type: "pod", key: ns.key };
    const link = h(
      "a",
      { href: targetHref(target) },
      h("span", { class: "name" }),
      h("span", { class: "addr" }),
      h("span", { class: "flag" }),
    );
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.onPick(target, event.shiftKey);
    });
    return h("li", { "data-key": ns.key }, link);
  }

  private updateItem(item: HTMLLIElement, ns: NetnsObj): void {
    if (ns.pod) item.dataset.pod = traceName(ns);
    else delete item.dataset.pod;
    const [name, addr, flag] = [...(item.firstElementChild as HTMLElement).children] as HTMLElement[];
    if (!name || !addr || !flag) return;
    setText(name, namespaceLabel(ns));
    name.title = ns.pod ? traceName(ns) : namespaceLabel(ns);
    setText(addr, ns.addrs[0]?.split("/")[0] ?? "");
    const health = ns.health;
    if (item.dataset.health === health) return;
    mark(item, health);
    flag.replaceChildren(
      ...(health === "ok"
        ? []
        : [icon("alert"), h("span", { class: "sr" }, health === "error" ? "has an error" : "has a warning")]),
    );
  }
}

function mark(element: HTMLElement, health: Health): void {
  element.dataset.health = health;
}

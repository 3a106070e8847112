// The tree of nodes and pods beside the map: the map's things in the map's natural order, for keyboard and
// screen reader. Only the rows that are seen are in the page, so a large cluster costs no more than a small one.
// Pods in their node's network stand under their node too. What is typed above narrows it (podfilter.ts).

import type { Health, KubePodObj, NetnsObj, NodeObj } from "../graph/model.js";
import type { Change, Graph } from "../graph/store.js";
import { compareNamespaces, namespaceLabel } from "../layout/box.js";
import { naturalCompare } from "../layout/natural.js";
import type { Target } from "../map/hit.js";
import { targetHref } from "../route.js";
import { h, icon, setText } from "./dom.js";
import { count, traceName } from "./names.js";
import { PodFilter } from "./podfilterbox.js";

/** Pods up to which all nodes are open at first. */
const ALL_OPEN_LIMIT = 2500;
const ROW_H = 28;
/** Rows that are kept beyond those seen. */
const BEYOND = 12;

type Row =
  | { kind: "node"; id: string; name: string; place: number; of: number }
  | { kind: "pod"; id: string; key: string; node: string; place: number; of: number }
  | { kind: "hosted"; id: string; key: string; node: string; place: number; of: number }
  | { kind: "reading"; id: string; node: string; place: number; of: number };

export class PodList {
  readonly element = h("nav", { id: "pods", "aria-label": "Nodes and pods" });
  private readonly scroller = h("div", { class: "podlist", role: "tree", "aria-label": "Nodes and pods" });
  private readonly space = h("div", { class: "rows", role: "presentation" });
  private readonly filter: PodFilter;
  private readonly shown = new Map<string, HTMLElement>();
  /** Nodes that somebody opened or closed. */
  private readonly toggled = new Map<string, boolean>();
  private readonly podsOf = new Map<string, NetnsObj[]>();
  private names: string[] | null = null;
  private rows: Row[] = [];
  private selected: string | null = null;
  private focused: string | null = null;

  constructor(
    private readonly graph: Graph,
    private readonly onPick: (target: Target, extend: boolean) => void,
    private readonly onOpen: () => void,
    endpointsOf: (service: string) => Promise<Set<string>>,
    /** What the map's colours say of something. */
    private readonly says: (target: Target) => string,
  ) {
    this.filter = new PodFilter(() => this.update(), endpointsOf);
    this.scroller.append(this.space);
    this.element.append(h("h2", {}, "Nodes and pods"), this.filter.element, this.scroller);
    this.scroller.addEventListener("scroll", () => this.render());
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.scroller.addEventListener("focusin", (event) => {
      const row = (event.target as HTMLElement).closest<HTMLElement>("[data-row]");
      if (row) this.focused = row.dataset.row ?? null;
    });
    new ResizeObserver(() => this.render()).observe(this.scroller);
  }

  /** What of the graph changed: it is looked at anew with the next update. */
  changed(change: Change): void {
    if (change.nodes) this.names = null;
    for (const name of change.details) this.podsOf.delete(name);
  }

  focusFilter(): void {
    this.filter.focus();
  }

  update(): void {
    this.rows = this.makeRows();
    this.space.style.height = `${this.rows.length * ROW_H}px`;
    this.render();
  }

  /** Nodes that somebody opened: their details are wanted. */
  get opened(): string[] {
    return [...this.toggled].filter(([, isOpen]) => isOpen).map(([name]) => name);
  }

  select(target: Target | null): void {
    const id =
      !target || target.type === "link"
        ? null
        : target.type === "node"
          ? `n ${target.name}`
          : `p ${target.key}`;
    if (id === this.selected) return;
    this.selected = id;
    const row = this.rows.findIndex((one) => one.id === id);
    if (row >= 0) this.reveal(row);
    this.render();
  }

  private isOpen(name: string): boolean {
    return this.toggled.get(name) ?? this.graph.podCount() <= ALL_OPEN_LIMIT;
  }

  private makeRows(): Row[] {
    this.names ??= [...this.graph.nodes.keys()].sort(naturalCompare);
    const areOpen = this.graph.podCount() <= ALL_OPEN_LIMIT;
    const rows: Row[] = [];
    const of = this.names.length;
    this.names.forEach((name, i) => {
      const isOpen = this.toggled.get(name) ?? areOpen;
      const isKnown = this.graph.rootOf(name) !== undefined;
      const [pods, hosted] = isOpen || !this.filter.isEmpty ? this.fitting(name) : [[], []];
      // What isn't read of a node can't be said not to fit.
      if (!this.filter.isEmpty && isKnown && pods.length + hosted.length === 0) return;
      rows.push({ kind: "node", id: `n ${name}`, name, place: i + 1, of });
      if (!isOpen) return;
      if (!isKnown) {
        rows.push({ kind: "reading", id: `r ${name}`, node: name, place: 1, of: 1 });
        return;
      }
      const all = pods.length + hosted.length;
      pods.forEach(({ key }, j) => {
        rows.push({ kind: "pod", id: `p ${key}`, key, node: name, place: j + 1, of: all });
      });
      hosted.forEach(({ key }, j) => {
        const place = pods.length + j + 1;
        rows.push({ kind: "hosted", id: `h ${key}`, key, node: name, place, of: all });
      });
    });
    return rows;
  }

  /** The pods of a node that the filter lets through, and those of the API's that are in its own network. */
  private fitting(name: string): [NetnsObj[], KubePodObj[]] {
    const { graph, filter } = this;
    const hosted = graph.hostPodsOf(name).sort((a, b) => naturalCompare(a.key, b.key));
    const pods = this.podsAt(name);
    if (filter.isEmpty) return [pods, hosted];
    const node = graph.nodes.get(name);
    return [
      pods.filter((ns) => filter.fits({ ns, pod: graph.podOf(ns.key), node })),
      hosted.filter((pod) => filter.fits({ ns: null, pod, node })),
    ];
  }

  private podsAt(name: string): NetnsObj[] {
    let pods = this.podsOf.get(name);
    if (!pods) {
      pods = this.graph
        .netnsOf(name)
        .filter((ns) => !ns.root)
        .sort(compareNamespaces);
      this.podsOf.set(name, pods);
    }
    return pods;
  }

  /** Put the rows that are seen into the page, in their order; those that were there stay the same elements. */
  private render(): void {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW_H) - BEYOND);
    const last = Math.min(this.rows.length, Math.ceil((scrollTop + clientHeight) / ROW_H) + BEYOND);
    const wanted = this.rows.slice(first, last);
    const ids = new Set(wanted.map((row) => row.id));
    for (const [id, element] of this.shown) {
      if (ids.has(id)) continue;
      element.remove();
      this.shown.delete(id);
    }
    const tabStop = ids.has(this.focused ?? "")
      ? this.focused
      : (wanted[first === 0 ? 0 : BEYOND]?.id ?? null);
    wanted.forEach((row, i) => {
      let element = this.shown.get(row.id);
      if (!element) {
        element = this.makeRow(row);
        this.shown.set(row.id, element);
      }
      if (this.space.children[i] !== element)
        this.space.insertBefore(element, this.space.children[i] ?? null);
      element.style.top = `${(first + i) * ROW_H}px`;
      element.tabIndex = row.id === tabStop ? 0 : -1;
      element.setAttribute("aria-posinset", String(row.place));
      element.setAttribute("aria-setsize", String(row.of));
      if (row.id === this.selected) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
      this.updateRow(row, element);
    });
  }

  private makeRow(row: Row): HTMLElement {
    const common = { role: "treeitem", "data-row": row.id, "aria-level": row.kind === "node" ? 1 : 2 };
    if (row.kind === "reading") return h("div", { ...common, class: "row reading" });
    if (row.kind === "pod") return this.makePodRow(row, common);
    if (row.kind === "hosted") return this.makeHosted(row, common);
    const caret = h("span", { class: "caret", "aria-hidden": "true" });
    caret.addEventListener("click", (event) => {
      event.stopPropagation();
      this.toggle(row.name, !this.isOpen(row.name));
    });
    const link = h("a", { href: targetHref({ type: "node", name: row.name }), tabindex: -1 }, row.name);
    link.addEventListener("click", (event) => this.pick(event, { type: "node", name: row.name }));
    return h(
      "div",
      { ...common, class: "row node", "data-node": row.name },
      caret,
      h("span", { class: "node-name" }, link),
      h("span", { class: "problem-mark" }),
      h("span", { class: "count" }),
      h("span", { class: "sr says" }),
    );
  }

  private makePodRow(row: Row & { kind: "pod" }, common: Record<string, string | number>): HTMLElement {
    const target: Target = { type: "pod", key: row.key };
    const link = h(
      "a",
      { href: targetHref(target), tabindex: -1 },
      h("span", { class: "name" }),
      h("span", { class: "addr" }),
      h("span", { class: "flag" }),
      h("span", { class: "sr says" }),
    );
    link.addEventListener("click", (event) => this.pick(event, target));
    return h("div", { ...common, class: "row pod", "data-key": row.key }, link);
  }

  /** A pod that has no namespace of its own: it stands for its node. */
  private makeHosted(row: Row & { kind: "hosted" }, common: Record<string, string | number>): HTMLElement {
    const target: Target = { type: "node", name: row.node };
    const [name, addr] = [
      h("span", { class: "name" }, row.key.split("/")[1] ?? ""),
      h("span", { class: "addr" }),
    ];
    const link = h("a", { href: targetHref(target), tabindex: -1, title: row.key }, name, addr);
    link.addEventListener("click", (event) => this.pick(event, target));
    return h("div", { ...common, class: "row pod hosted", "data-hosted": row.key }, link);
  }

  private pick(event: MouseEvent, target: Target): void {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.onPick(target, event.shiftKey);
  }

  private updateRow(row: Row, element: HTMLElement): void {
    const says = element.querySelector(".says");
    if (says && row.kind === "node") setText(says, this.says({ type: "node", name: row.name }));
    if (says && row.kind === "pod") setText(says, this.says({ type: "pod", key: row.key }));
    if (row.kind === "node") this.updateNode(row.name, element);
    else if (row.kind === "pod") updatePod(element, this.graph.netns.get(row.key));
    else if (row.kind === "hosted") updateHosted(element, this.graph.pods.get(row.key));
    else setText(element, `Reading ${count(this.graph.nodes.get(row.node)?.pods ?? 0, "pod", "pods")}…`);
  }

  private updateNode(name: string, element: HTMLElement): void {
    const node = this.graph.nodes.get(name);
    const [, , mark, pods] = [...element.children] as HTMLElement[];
    if (!mark || !pods) return;
    element.setAttribute("aria-expanded", String(this.isOpen(name)));
    element.dataset.health = node?.health ?? "warning";
    setText(pods, String(node?.pods ?? 0));
    this.markProblems(mark, name, node);
  }

  /** A node's mark: that it is away, or how many problems have their cause there. */
  private markProblems(mark: HTMLElement, name: string, node: NodeObj | undefined): void {
    const problems = this.graph.problemsAt(name);
    const text = node?.connected ? (problems.length > 0 ? String(problems.length) : "") : "offline";
    const drawn = `${text} ${node?.health}`;
    if (mark.dataset.drawn === drawn) return;
    mark.dataset.drawn = drawn;
    mark.title = problems[0]?.headline ?? "";
    const words = node?.connected
      ? count(problems.length, "problem", "problems")
      : "its collector is not connected";
    mark.replaceChildren(
      ...(text ? [icon(signOf(node?.health)), text, h("span", { class: "sr" }, words)] : []),
    );
  }

  private toggle(name: string, isOpen: boolean): void {
    this.toggled.set(name, isOpen);
    this.update();
    this.onOpen();
  }

  private reveal(index: number): void {
    const top = index * ROW_H;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + ROW_H > scrollTop + clientHeight) this.scroller.scrollTop = top + ROW_H - clientHeight;
  }

  private key(event: KeyboardEvent): void {
    const at = this.rows.findIndex((row) => row.id === this.focused);
    const row = this.rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const node = row.kind === "node" ? row.name : row.node;
    let to = at;
    switch (event.key) {
      case "ArrowDown":
        to = at + 1;
        break;
      case "ArrowUp":
        to = at - 1;
        break;
      case "Home":
        to = 0;
        break;
      case "End":
        to = this.rows.length - 1;
        break;
      case "ArrowRight":
        if (row.kind === "node" && !this.isOpen(node)) this.toggle(node, true);
        else if (row.kind === "node") to = at + 1;
        break;
      case "ArrowLeft":
        if (row.kind === "node") this.toggle(node, false);
        else to = this.rows.findIndex((one) => one.id === `n ${node}`);
        break;
      case "Enter":
        if (row.kind === "reading") return;
        this.onPick(
          row.kind === "pod" ? { type: "pod", key: row.key } : { type: "node", name: node },
          event.shiftKey,
        );
        break;
      default:
        return;
    }
    event.preventDefault();
    this.focus(Math.max(0, Math.min(this.rows.length - 1, to)));
  }

  private focus(index: number): void {
    const row = this.rows[index];
    if (!row) return;
    this.focused = row.id;
    this.reveal(index);
    this.render();
    this.shown.get(row.id)?.focus({ preventScroll: true });
  }
}

function updateHosted(element: HTMLElement, pod: KubePodObj | undefined): void {
  const addr = element.querySelector<HTMLElement>(".addr");
  if (!pod || !addr) return;
  setText(addr, pod.host_network ? "node’s network" : pod.waits || pod.phase.toLowerCase());
}

function updatePod(element: HTMLElement, ns: NetnsObj | undefined): void {
  const [name, addr, flag] = [...(element.firstElementChild as HTMLElement).children] as HTMLElement[];
  if (!ns || !name || !addr || !flag) return;
  if (ns.pod) element.dataset.pod = traceName(ns);
  else delete element.dataset.pod;
  setText(name, namespaceLabel(ns));
  name.title = ns.pod ? traceName(ns) : namespaceLabel(ns);
  setText(addr, ns.addrs[0]?.split("/")[0] ?? "");
  if (element.dataset.health === ns.health) return;
  element.dataset.health = ns.health;
  const words = { ok: "", warning: "has a warning", error: "has an error" }[ns.health];
  flag.replaceChildren(...(words ? [icon(signOf(ns.health)), h("span", { class: "sr" }, words)] : []));
}

/** Errors and warnings have the shapes that they have on the map. */
function signOf(health: Health | undefined): string {
  return health === "error" ? "breaks" : "alert";
}

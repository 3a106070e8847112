// What is selected: facts, addresses, peers, and the kernel's own tables.

import type { Gap, LinkObj, NetnsObj, NodeObj, ProblemObj, RoutesObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { naturalCompare } from "../layout/natural.js";
import { explained } from "../learn/learn.js";
import { thingText } from "../learn/texts.js";
import type { Target } from "../map/hit.js";
import { linkFault } from "../map/picture.js";
import { formatRoute, type TablesView, targetHref } from "../route.js";
import type { Sorting } from "../tables.js";
import { CapturePart } from "./capturepart.js";
import { ConnectionsPart } from "./connections.js";
import { type Context, type Panel, VIEWER_REASON } from "./context.js";
import { dataTable } from "./datatable.js";
import { NetnsTables } from "./detail.js";
import { copyButton, h, icon } from "./dom.js";
import { DropsPart } from "./dropspart.js";
import { note } from "./errors.js";
import { heading } from "./heading.js";
import { hostPods, kubeNode, namespaceOf, podFacts, resolvFacts } from "./kubefacts.js";
import { bytes, count, linkLink, netnsLink, netnsTitle, seconds, traceName } from "./names.js";
import { nodeStates } from "./nodestates.js";
import { Addresses, Departed } from "./places.js";
import { RateView } from "./rateview.js";

export class Inspector implements Panel {
  readonly element = h("div", { class: "inspector", "data-testid": "inspector" });
  private readonly facts = h("div", { class: "facts" });
  private readonly counters = h("div");
  private readonly rates: RateView;
  private readonly connections: ConnectionsPart | null;
  private readonly drops: DropsPart | null;
  private readonly capture: CapturePart | null;
  private shown = "";
  private view: TablesView | undefined;
  private tables: NetnsTables | null = null;
  private readonly departed: Departed;
  private sorting: Sorting | null = null;

  constructor(
    private readonly context: Context,
    private readonly target: Target,
    view?: TablesView,
  ) {
    this.view = view;
    this.departed = new Departed(context.graph, target);
    this.rates = new RateView(context.graph, context.rates, target);
    const watchable = target.type === "link" ? null : target.type === "node" ? target.name : target.key;
    this.connections = target.type === "pod" ? new ConnectionsPart(context, target.key) : null;
    this.drops = watchable ? new DropsPart(context, watchable) : null;
    this.element.append(this.facts, this.rates.element, this.counters);
    this.capture =
      target.type === "link" ? new CapturePart(context, () => ({ link: target.key }), "Capture") : null;
    for (const part of [this.connections, this.drops, this.capture])
      if (part) this.element.append(part.element);
    this.update();
  }

  /** Show what the address of the page says of the tables. */
  look(view: TablesView | undefined): void {
    this.view = view;
    this.tables?.look(view);
  }

  update(): void {
    this.readTables();
    this.rates.update();
    const parts = this.render();
    const text = parts.map((part) => part.outerHTML).join("");
    if (text === this.shown) return;
    this.shown = text;
    const focusable = () => [...this.facts.querySelectorAll<HTMLElement>("a, button")];
    const focused = focusable().indexOf(document.activeElement as HTMLElement);
    this.facts.replaceChildren(...parts);
    if (focused >= 0) focusable()[focused]?.focus();
  }

  dispose(): void {
    this.rates.dispose();
    this.tables?.dispose();
    this.connections?.dispose();
    this.drops?.dispose();
    this.capture?.dispose();
  }

  /** The kernel's tables, as soon as it is known which namespace's they are. */
  private readTables(): void {
    const { graph, api } = this.context;
    const key = netnsOfTarget(graph, this.target);
    const ns = key === undefined ? undefined : graph.netns.get(key);
    if (this.tables || key === undefined || !ns) return;
    const addresses = new Addresses(graph);
    this.tables = new NetnsTables(
      key,
      netnsTitle(ns),
      {
        api,
        linkOf: (netns, name, value) => {
          if (name !== "dev") return addresses.hrefOf(value);
          const link = graph.linksOf(netns).find((one) => one.ifname === value);
          return link ? targetHref({ type: "link", key: link.key }) : null;
        },
        onDetail: (detail) => this.showCounters(detail.links ?? []),
        onView: (tables) => {
          this.view = tables;
          this.context.go({ page: "select", target: this.target, tables }, true);
        },
      },
      this.view,
    );
    if (this.target.type !== "link") this.element.append(this.tables.element);
  }

  private render(): HTMLElement[] {
    const { graph } = this.context;
    const target = this.target;
    const found =
      target.type === "node"
        ? graph.nodes.get(target.name)
        : target.type === "pod"
          ? graph.netns.get(target.key)
          : graph.links.get(target.key);
    this.departed.note();
    if (!found) return this.departed.render();
    if (target.type === "node") return this.node(found as NodeObj);
    return target.type === "pod" ? this.netns(found as NetnsObj) : this.link(found as LinkObj);
  }

  private node(node: NodeObj): HTMLElement[] {
    const { graph } = this.context;
    const root = graph.rootOf(node.name);
    const pods = graph.netnsOf(node.name).filter((ns) => ns.pod).length;
    const c = node.collector;
    return [
      heading(
        "Node",
        node.name,
        `${count(pods, "pod", "pods")}${node.kernel ? ` · Linux ${node.kernel}` : ""}`,
      ),
      ...explanation("node"),
      this.actions(root, { type: "node", name: node.name }),
      ...nodeStates(node, this.context.role),
      ...problemNotes(graph.problemsAt(node.name)),
      ...gapNotes(node.gaps),
      list([
        ["Addresses", values(node.addrs)],
        ["Pod CIDRs", values(node.pod_cidrs)],
        ["Kubernetes", kubeNode(node)],
        [
          "Collector",
          c ? `${c.version} · ${bytes(c.rss_bytes)} · ${(c.cpu * 100).toFixed(1)} % of a core` : "none",
        ],
        ["Events", c ? `${c.lost_events} lost · ${c.shed_events} shed · lag ${seconds(c.lag_s)}` : null],
      ]),
      ...hostPods(graph.hostPodsOf(node.name)),
      h("h3", {}, "Routes to other places"),
      ...this.routes(this.context.graph.routes.get(node.name)),
      h("h3", {}, "Links"),
      root ? this.links(root) : h("p", { class: "muted" }, "None known."),
    ];
  }

  private routes(out: RoutesObj | undefined): HTMLElement[] {
    if (!out) return [h("p", { class: "muted" }, "Not known.")];
    if (out.routes.length === 0) return [h("p", { class: "muted" }, "None.")];
    const rows = out.routes.map((route) =>
      h(
        "tr",
        {},
        h("td", {}, route.dst.replace(/^(0\.0\.0\.0|::)\/0$/, "default")),
        h("td", {}, route.via ?? "link"),
        h("td", {}, route.dev),
        h(
          "td",
          {},
          route.to_node
            ? h("a", { href: targetHref({ type: "node", name: route.to_node }) }, route.to_node)
            : "",
        ),
      ),
    );
    const head = ["dst", "via", "dev", "node"].map((name) => h("th", { scope: "col" }, name));
    return [
      h(
        "div",
        { class: "scroll" },
        h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
      ),
      ...(out.left_off > 0 ? [h("p", { class: "muted" }, `${out.left_off} more are not listed.`)] : []),
    ];
  }

  private netns(ns: NetnsObj): HTMLElement[] {
    const { graph } = this.context;
    const kind = ns.pod ? "Pod" : ns.root ? "Node namespace" : "Network namespace";
    const holders = ns.holders.map(
      (held) => `${held.name || held.kind}${held.pid ? ` (pid ${held.pid})` : ""}`,
    );
    const place = h("span", {}, ...namespaceOf(ns, graph), nodeLink(ns.node));
    return [
      heading(kind, netnsTitle(ns), place),
      ...explanation(ns.pod ? "pod" : ns.root ? "node" : "netns"),
      this.actions(ns, { type: "pod", key: ns.key }),
      ...problemNotes(graph.problemsAt(ns.key)),
      ...gapNotes(ns.gaps),
      list([
        ["Addresses", values(ns.addrs)],
        ...podFacts(graph.podOf(ns.key)),
        ...resolvFacts(ns),
        ["Held by", holders.length > 0 ? holders.join(", ") : "nothing known"],
        ["Namespace", ns.name && ns.name !== netnsTitle(ns) ? ns.name : null],
        ["Key", h("span", { class: "value" }, h("code", {}, ns.key), copyButton(ns.key))],
      ]),
      h("h3", {}, "Links"),
      this.links(ns),
    ];
  }

  private links(ns: NetnsObj): HTMLElement {
    const links = this.context.graph
      .linksOf(ns.key)
      .filter((link) => link.ifname !== "lo")
      .sort((a, b) => naturalCompare(a.ifname, b.ifname));
    if (links.length === 0) return h("p", { class: "muted" }, "Only the loopback link.");
    return h("ul", { class: "links" }, ...links.map((link) => this.linkItem(link)));
  }

  private linkItem(link: LinkObj): HTMLElement {
    const fault = linkFault(link);
    return h(
      "li",
      {},
      h("span", { class: "ifname" }, linkLink(link)),
      h(
        "span",
        { class: "muted" },
        [link.kind || "physical", ...link.addrs.filter((addr) => !addr.startsWith("fe80:"))].join(" · "),
      ),
      h("span", { class: fault ? "state bad" : "state" }, fault ?? link.state),
      this.peerLine(link),
    );
  }

  private peerLine(link: LinkObj): HTMLElement | null {
    const { graph } = this.context;
    const peer = link.peer ? graph.links.get(link.peer) : undefined;
    const master = link.master ? graph.links.get(link.master) : undefined;
    if (!peer && !master && !link.peer_state) return null;
    const parts: (Node | string)[] = [];
    if (peer) parts.push("↔ ", linkLink(peer), " in ", netnsLink(graph, peer.netns));
    else if (link.peer_state) parts.push(h("span", { class: "warn" }, `peer ${link.peer_state}`));
    if (master) parts.push(parts.length > 0 ? " · port of " : "port of ", linkLink(master));
    return h("span", { class: "peer" }, ...parts);
  }

  private link(link: LinkObj): HTMLElement[] {
    const { graph } = this.context;
    const ns = graph.netns.get(link.netns);
    const fault = linkFault(link);
    const place = h("span", {}, "in ", netnsLink(graph, link.netns), ns && !ns.root ? ` on ${ns.node}` : "");
    const problems = graph.problemsAt(link.netns).filter((problem) => problem.where.dev === link.ifname);
    return [
      heading(link.kind ? `${link.kind} link` : "Link", link.ifname, place),
      ...explanation("link", link.kind),
      this.actions(undefined, { type: "link", key: link.key }),
      ...(fault ? [note("bad", `This link carries nothing: ${fault}.`)] : []),
      ...problemNotes(problems),
      list([
        ["Addresses", values(link.addrs)],
        ["MAC", link.mac ? values([link.mac]) : null],
        ["MTU", String(link.mtu)],
        ["State", `${link.state} · ${link.up ? "up" : "down"} · ${link.carrier ? "carrier" : "no carrier"}`],
        ["Port state", link.port_state],
        ["ifindex", String(link.ifindex)],
        ["VNI", link.vni === null ? null : String(link.vni)],
        ["Wired", this.peerLine(link)],
      ]),
    ];
  }

  private showCounters(
    links: { key: string; counters: Record<string, number> | null; details: Record<string, unknown> }[],
  ): void {
    if (this.target.type !== "link") return;
    const key = this.target.key;
    const found = links.find((link) => link.key === key);
    if (!found) return;
    const rows = [...Object.entries(found.counters ?? {}), ...Object.entries(found.details ?? {})];
    const shown = rows.map(([name, value]) => ({
      name,
      value: typeof value === "object" ? JSON.stringify(value) : value,
    }));
    const draw = () =>
      this.counters.replaceChildren(
        h("h3", {}, "Counters and details"),
        dataTable(shown, {
          columns: ["name", "value"],
          label: "Counters and details",
          sorting: this.sorting,
          onSort: (sorting) => {
            this.sorting = sorting;
            draw();
          },
        }),
      );
    draw();
  }

  private actions(ns: NetnsObj | undefined, target: Target): HTMLElement {
    const { context } = this;
    const show = h(
      "button",
      { type: "button", class: "icon-button", title: "Show on map", "aria-label": "Show on map" },
      icon("fit"),
    );
    show.addEventListener("click", () => context.showOnMap(target));
    if (!ns) {
      show.classList.remove("icon-button");
      show.append("Show on map");
      return h("div", { class: "actions" }, show);
    }
    const name = traceName(ns);
    const disabled = !context.mayTrace;
    const from = h(
      "button",
      { type: "button", class: "primary", "data-testid": "trace-from", disabled },
      icon("path"),
      "Trace from here",
    );
    from.addEventListener("click", () => context.go({ page: "compose", from: name, to: "" }));
    const to = h("button", { type: "button", "data-testid": "trace-to", disabled }, "Trace to here");
    to.addEventListener("click", () =>
      context.go({ page: "compose", from: "", to: ns.pod ? name : (ns.addrs[0]?.split("/")[0] ?? name) }),
    );
    const reason = disabled
      ? h("p", { class: "muted reason", "data-testid": "trace-reason" }, VIEWER_REASON)
      : null;
    return h("div", { class: "actions" }, from, to, show, reason);
  }
}

function explanation(kind: string, linkKind?: string): HTMLElement[] {
  const text = explained(thingText(kind, linkKind));
  return text ? [text] : [];
}

function netnsOfTarget(graph: Graph, target: Target): string | undefined {
  if (target.type === "node") return graph.rootOf(target.name)?.key;
  if (target.type === "pod") return target.key;
  return graph.links.get(target.key)?.netns;
}

/** Each problem with the way to all that is known of it. */
export function problemNotes(problems: ProblemObj[]): HTMLElement[] {
  return problems.map((problem) => {
    const href = formatRoute({ page: "problems", id: problem.id, list: "now" });
    return note(problem.severity === "error" ? "bad" : "warn", h("a", { href }, problem.headline));
  });
}

function gapNotes(gaps: Gap[]): HTMLElement[] {
  return gaps.map((gap) => note("warn", `${gap.section} can't be read: ${gap.reason}`));
}

function nodeLink(name: string): HTMLElement {
  return h("a", { href: targetHref({ type: "node", name }) }, name);
}

function values(items: string[]): HTMLElement | null {
  if (items.length === 0) return null;
  return h(
    "span",
    { class: "values" },
    ...items.map((item) => h("span", { class: "value" }, h("code", {}, item), copyButton(item))),
  );
}

function list(rows: [string, HTMLElement | string | null][]): HTMLElement {
  const shown = rows.filter((row) => row[1] !== null);
  return h("dl", {}, ...shown.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

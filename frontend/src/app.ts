// The page: holds what is shown (the address bar says it), and tells map and panels.

import { Api, socketUrl } from "./api.js";
import { Feed, type FeedStatus } from "./feed.js";
import type { NetnsObj, ProblemObj } from "./graph/model.js";
import { nodeOfKey, Scope } from "./graph/scope.js";
import { Graph } from "./graph/store.js";
import { KeyHelp } from "./map/help.js";
import type { Target } from "./map/hit.js";
import type { MapView } from "./map/mapview.js";
import { MapPane } from "./mappane.js";
import { FIRST_VIEW, formatRoute, parseRoute, type Route, type TraceView } from "./route.js";
import { failsOnlyOnReturn } from "./trace/format.js";
import { viewOf } from "./trace/keep.js";
import type { TraceRequest, TraceRun } from "./trace/types.js";
import { StaleBanner, TopBar } from "./ui/chrome.js";
import { Compose } from "./ui/compose.js";
import { type Context, type Panel, whyNotObserve } from "./ui/context.js";
import { h, icon } from "./ui/dom.js";
import { Inspector } from "./ui/inspector.js";
import { netnsOfPods, placeOf, traceName } from "./ui/names.js";
import { PodList } from "./ui/podlist.js";
import { SearchBox } from "./ui/searchbox.js";
import { Strip } from "./ui/strip.js";
import { toggleTheme } from "./ui/themes.js";
import { TracePanel } from "./ui/tracepanel.js";
import { Views } from "./ui/views.js";

const UPDATE_EVERY_MS = 100;

export class App implements Context {
  readonly graph = new Graph();
  readonly api: Api;
  readonly role: string;
  readonly whyNotObserve: string;
  private route: Route = { page: "home" };
  /** What was started last, as the server answered. */
  private started: TraceRun | null = null;
  private shownHash: string | null = null;
  private panel: Panel | null = null;
  private run: TraceRun | null = null;
  private stopFollowing: () => void = () => {};
  private updateTimer: number | undefined;
  private updatedAt = 0;
  private readonly feed: Feed;
  private readonly scope = new Scope(this.graph);
  private readonly help = new KeyHelp();
  private readonly pane: MapPane;
  private readonly topbar: TopBar;
  private readonly strip = new Strip();
  private readonly banner: StaleBanner;
  private readonly pods: PodList;
  private readonly panelBody = h("div", { class: "panel-body" });
  private readonly panelBox = h("aside", { id: "panel", "aria-label": "Details", hidden: true });
  private readonly main = h("main", { class: "main" });
  private readonly views = new Views(this, this.main);

  constructor(private readonly root: HTMLElement) {
    this.role = root.dataset.role ?? "viewer";
    this.whyNotObserve = whyNotObserve(this.mayTrace, root.dataset.observe);
    this.api = new Api(root.dataset.csrf ?? "");
    this.pane = new MapPane(this.graph, this.role, {
      onPick: (target, extend) => this.pick(target, extend),
      onScene: () => this.light(),
      onSight: () => this.rescope(),
      onView: (view) => {
        if (this.route.page === "trace") this.go({ ...this.route, view }, true);
      },
      onLeave: () => this.go({ page: "home" }),
    });
    this.topbar = new TopBar({
      search: new SearchBox(this.graph, (target) => this.choose(target)).element,
      user: root.dataset.user ?? "",
      role: this.role,
      csrf: root.dataset.csrf ?? "",
      onTheme: () => {
        toggleTheme();
        this.map.themeChanged();
      },
      onPods: () => this.togglePods(),
    });
    this.pods = new PodList(
      this.graph,
      (target, extend) => {
        this.pick(target, extend);
        const rect = this.map.rectOf(target);
        if (rect) this.map.camera.reveal(rect);
      },
      () => this.rescope(),
      (service) => this.api.endpoints(service),
    );
    this.feed = new Feed(socketUrl("/ws/topology"), this.graph, (status) => this.feedChanged(status));
    this.banner = new StaleBanner(() => this.feed.reconnectNow());
    this.build();
  }

  get mayTrace(): boolean {
    return this.role === "operator" || this.role === "administrator";
  }

  start(): void {
    this.graph.onChange((change) => {
      this.map.changed(change);
      this.pods.changed(change);
      if (change.nodes) this.rescope();
      this.scheduleUpdate();
    });
    window.addEventListener("hashchange", () => this.navigate());
    window
      .matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => this.map.themeChanged());
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented) return;
      const isField = event.target instanceof HTMLElement && event.target.matches("input, select");
      if (event.key === "?" && !isField) this.help.toggle();
      else if (!isField && this.pane.key(event)) event.preventDefault();
      else if (event.key !== "Escape") {
        const panel = this.panel instanceof TracePanel ? this.panel : null;
        if (!isField && (this.views.key(event) || panel?.key(event))) event.preventDefault();
      } else if (isField) (event.target as HTMLElement).blur();
      else this.go({ page: "home" });
    });
    this.navigate();
    this.feed.start();
  }

  go(route: Route, replace = false): void {
    const hash = formatRoute(route);
    if (hash === location.hash) return;
    if (replace) {
      history.replaceState(null, "", hash);
      this.navigate();
    } else {
      location.hash = hash;
      this.navigate();
    }
  }

  showOnMap(target: Target): void {
    this.map.flyTo(target);
  }

  showProblem(problem: ProblemObj): void {
    const target = placeOf(this.graph, problem);
    this.go({ page: "select", target });
    this.map.picture.ringed = netnsOfPods(this.graph, problem.affects.pods);
    this.map.flyTo(target);
  }

  async startTrace(request: TraceRequest, keep = false): Promise<void> {
    const run = await this.api.startTrace(request);
    this.started = run;
    this.go({ page: "trace", id: run.id, view: keep ? viewOf(run, this.route, this.run) : FIRST_VIEW });
  }

  private build(): void {
    const close = h(
      "button",
      { type: "button", class: "quiet icon-button close", "aria-label": "Close" },
      icon("close"),
    );
    close.addEventListener("click", () => this.go({ page: "home" }));
    this.panelBox.append(close, this.panelBody);
    this.main.append(this.pods.element, this.pane.element, this.panelBox);
    const skip = h("a", { href: "#map", class: "skip" }, "Skip to the map");
    skip.addEventListener("click", (event) => {
      event.preventDefault();
      this.map.canvas.focus();
    });
    this.root.replaceChildren(
      skip,
      this.topbar.element,
      this.strip.element,
      this.banner.element,
      this.main,
      this.help.element,
    );
  }

  /** Watch the nodes that are seen from near, and those that are selected or on a trace. */
  private rescope(): void {
    if (this.graph.nodes.size === 0) return;
    this.feed.watchNodes(
      this.scope.watch([...this.nodesOfRoute(), ...this.pane.sight.near, ...this.pods.opened]),
    );
  }

  private nodesOfRoute(): string[] {
    const { route, run } = this;
    if (route.page === "select") {
      const { target } = route;
      return [target.type === "node" ? target.name : nodeOfKey(target.key)];
    }
    if (route.page !== "trace" || !run?.trace) return [];
    const hops = run.trace.branches.flatMap((branch) => [
      ...branch.forward.hops,
      ...(branch.reply?.hops ?? []),
    ]);
    return [...new Set(hops.map((hop) => hop.node))].slice(0, 200);
  }

  private togglePods(): void {
    const narrow = window.matchMedia("(max-width: 1100px)").matches;
    this.main.classList.toggle(narrow ? "pods-open" : "pods-closed");
  }

  get map(): MapView {
    return this.pane.map;
  }

  private feedChanged(status: FeedStatus): void {
    this.graph.staleSince = status.state === "stale" ? new Date(status.heardAt ?? Date.now()) : null;
    this.strip.setState(status.state, this.graph);
    this.banner.show(status);
    this.map.element.classList.toggle("stale", status.state === "stale");
    if (status.state === "stale" && status.retryAt !== null) void this.checkLogin();
  }

  private async checkLogin(): Promise<void> {
    if (!(await this.api.loggedIn()) && this.feed.status.state !== "live") this.banner.showLogin();
  }

  /** Bring lists and panels up to date: at once after a pause, otherwise ten times a second at most. */
  private scheduleUpdate(): void {
    if (this.updateTimer !== undefined) return;
    const wait = Math.max(0, UPDATE_EVERY_MS - (performance.now() - this.updatedAt));
    this.updateTimer = window.setTimeout(() => this.update(), wait);
  }

  private update(): void {
    this.updateTimer = undefined;
    this.updatedAt = performance.now();
    this.topbar.update(this.graph);
    this.strip.update(this.graph);
    this.views.update();
    this.pane.update();
    this.pods.update();
    this.panel?.update();
    this.pods.select(this.map.picture.selected);
  }

  /** The address bar has changed: show what it says. */
  private navigate(): void {
    if (location.hash === this.shownHash) return;
    this.shownHash = location.hash;
    const before = this.route;
    this.map.picture.ringed = new Set();
    this.route = parseRoute(location.hash);
    const route = this.route;
    if (route.page === "trace" && before.page === "trace" && route.id === before.id) {
      if (this.run) this.showRun(this.run);
      return;
    }
    this.stopFollowing();
    this.run = null;
    this.pane.forgetTrace();
    this.panel?.dispose?.();
    this.panel = this.makePanel(route);
    this.panelBody.replaceChildren(...(this.panel ? [this.panel.element] : []));
    this.panelBox.hidden = this.panel === null;
    const view = this.views.show(route);
    this.topbar.show(view);
    this.pods.element.inert = this.pane.element.inert = view !== "map";
    this.panelBox.scrollTop = 0;
    document.title = this.titleOf(route);
    if (route.page === "trace") this.follow(route.id);
    this.rescope();
    this.light();
  }

  private titleOf(route: Route): string {
    if (route.page === "home") return "netviz";
    if (route.page === "select") {
      const { target } = route;
      const name =
        target.type === "node"
          ? target.name
          : target.type === "pod"
            ? this.graph.netns.get(target.key)?.pod?.name
            : this.graph.links.get(target.key)?.ifname;
      return `${name ?? target.type} · netviz`;
    }
    return `${{ problems: "Problems", kube: "Services", compose: "Trace", trace: "Trace" }[route.page]} · netviz`;
  }

  private makePanel(route: Route): Panel | null {
    switch (route.page) {
      case "home":
      case "problems":
      case "kube":
        return null;
      case "select":
        return new Inspector(this, route.target);
      case "compose":
        return new Compose(this, route.from, route.to);
      case "trace": {
        const { id } = route;
        const onView = (view: TraceView) => this.go({ page: "trace", id, view }, true);
        return new TracePanel(this, route.view, onView, () => this.light());
      }
    }
  }

  private follow(id: string): void {
    this.stopFollowing = this.api.followTrace(
      id,
      this.started?.id === id ? this.started : null,
      (run) => this.showRun(run),
      (error) => {
        if (this.panel instanceof TracePanel) this.panel.fail(error);
      },
    );
  }

  private showRun(run: TraceRun): void {
    const isFirst = !this.run?.trace;
    this.run = run;
    if (this.route.page !== "trace" || !(this.panel instanceof TracePanel)) return;
    if (run.trace && isFirst && failsOnlyOnReturn(run.trace) && !location.hash.includes("?")) {
      this.go({ ...this.route, view: { ...this.route.view, direction: "reply" } }, true);
      return;
    }
    this.panel.show(run, this.route.view);
    this.rescope();
    this.light();
  }

  /** Set what is emphasised on the map from what is shown. */
  private light(): void {
    const shown = this.panel instanceof TracePanel ? this.panel.shownTrace() : null;
    this.pane.show(this.route, shown ?? this.run?.trace ?? null);
    this.main.classList.toggle("staged", this.pane.isStaged);
    this.pods.select(this.pane.map.picture.selected);
  }

  /** Something was chosen by search: select it and go there. */
  private choose(target: Target): void {
    if (this.route.page === "compose") {
      this.pick(target, false);
      return;
    }
    this.go({ page: "select", target });
    this.map.flyTo(target);
    this.map.canvas.focus();
  }

  /** Something was clicked. While a trace is being composed, a pod is its other end. */
  private pick(target: Target | null, extend: boolean): void {
    const route = this.route;
    const picked = target?.type === "pod" ? this.graph.netns.get(target.key) : undefined;
    if (picked && route.page === "compose" && this.mayTrace) {
      const name = traceName(picked);
      if (route.from && route.from !== name) void this.traceTo(route.from, targetName(picked));
      else if (route.to && route.to !== name) void this.traceTo(name, route.to);
      else this.go({ page: "compose", from: name, to: "" }, true);
      return;
    }
    if (picked && extend && route.page === "select" && route.target.type === "pod" && this.mayTrace) {
      const from = this.graph.netns.get(route.target.key);
      if (from && from.key !== picked.key) void this.traceTo(traceName(from), targetName(picked));
      return;
    }
    if (target) this.go({ page: "select", target });
    else if (route.page === "select") this.go({ page: "home" });
  }

  /** Trace to what listens there; the server chooses. */
  private async traceTo(from: string, to: string): Promise<void> {
    const request: TraceRequest = { from, to, proto: "auto" };
    try {
      await this.startTrace(request);
    } catch (error) {
      this.go({ page: "compose", from, to }, true);
      if (this.panel instanceof Compose) this.panel.form.show(request, error as Error);
    }
  }
}

/** How a trace names a namespace as its target. */
function targetName(ns: NetnsObj): string {
  return ns.pod ? traceName(ns) : (ns.addrs[0]?.split("/")[0] ?? traceName(ns));
}

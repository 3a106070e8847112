// The page: holds what is shown (the address bar says it), and tells map and panels.

import { Api, socketUrl } from "./api.js";
import { ArrivalWatch } from "./arrivals.js";
import type { Doing } from "./commands.js";
import { Feed, type FeedStatus } from "./feed.js";
import type { Command } from "./find/commands.js";
import type { ProblemObj } from "./graph/model.js";
import { Scope } from "./graph/scope.js";
import { Graph } from "./graph/store.js";
import { FIRST_LOOK, keepLook, lookIn, type MapLook, withLook } from "./look.js";
import type { Target } from "./map/hit.js";
import { isSame } from "./map/keys.js";
import type { MapView } from "./map/mapview.js";
import { MapPane } from "./mappane.js";
import { meaningOf } from "./pick.js";
import { Rates, ratesPath } from "./rates.js";
import { FIRST_VIEW, formatRoute, parseRoute, type Route } from "./route.js";
import { type PictureForm, savePicture } from "./share/save.js";
import { failsOnlyOnReturn } from "./trace/format.js";
import { viewOf } from "./trace/keep.js";
import { nodesOf } from "./trace/nodes.js";
import type { TraceRequest, TraceRun } from "./trace/types.js";
import { closeButton, StaleBanner, skipLink, TopBar } from "./ui/chrome.js";
import { Compose } from "./ui/compose.js";
import { type Context, type Panel, whyNotObserve } from "./ui/context.js";
import { Desk } from "./ui/desk.js";
import { h } from "./ui/dom.js";
import { Inspector } from "./ui/inspector.js";
import { netnsOfPods, placeOf } from "./ui/names.js";
import { panelOf } from "./ui/panels.js";
import { PodList } from "./ui/podlist.js";
import { Strip } from "./ui/strip.js";
import { toggleTheme } from "./ui/themes.js";
import { titleOf } from "./ui/titles.js";
import { TracePanel } from "./ui/tracepanel.js";
import { Views } from "./ui/views.js";

const UPDATE_EVERY_MS = 100;

export class App implements Context, Doing {
  readonly graph = new Graph();
  readonly api: Api;
  readonly role: string;
  readonly hasLab: boolean;
  readonly whyNotObserve: string;
  readonly rates: Rates;
  private route: Route = { page: "home" };
  private look: MapLook = FIRST_LOOK;
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
  /** Where to fly when its details have come. */
  private bound: Target | null = null;
  private readonly desk: Desk;
  private readonly pane: MapPane;
  private readonly topbar: TopBar;
  private readonly strip: Strip;
  private readonly banner: StaleBanner;
  private readonly pods: PodList;
  private readonly panelBody = h("div", { class: "panel-body" });
  private readonly panelBox = h("aside", {
    id: "panel",
    "aria-label": "Details",
    tabindex: -1,
    hidden: true,
  });
  private readonly main = h("main", { class: "main" });
  private readonly views = new Views(this, this.main);

  constructor(private readonly root: HTMLElement) {
    this.role = root.dataset.role ?? "viewer";
    this.hasLab = root.dataset.lab === "yes";
    this.whyNotObserve = whyNotObserve(this.mayTrace, root.dataset.observe);
    this.api = new Api(root.dataset.csrf ?? "");
    this.rates = new Rates((nodes) => this.api.get(ratesPath(nodes)));
    this.rates.onChange(() => this.scheduleUpdate());
    const arrivals = new ArrivalWatch(this.graph, () => this.api.arrivals());
    this.strip = new Strip(arrivals);
    this.pane = new MapPane(this.graph, this.rates, this.role, arrivals, {
      onPick: (target, extend) => this.pick(target, extend),
      onScene: () => {
        this.light();
        this.arrive();
      },
      onSight: () => this.rescope(),
      onView: (view) => {
        if (this.route.page === "trace") this.go({ ...this.route, view }, true);
      },
      onLeave: () => this.go({ page: "home" }),
      onLook: (part) => this.lookAt(part),
    });
    this.desk = new Desk(this, this.api, this.graph);
    this.topbar = new TopBar({
      search: this.desk.searchBox.element,
      user: root.dataset.user ?? "",
      role: this.role,
      hasLab: this.hasLab,
      arrivals,
      csrf: root.dataset.csrf ?? "",
      onTheme: () => this.toggleTheme(),
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
      (target) => this.pane.says(target),
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
    keepLook(() => this.look);
    window
      .matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => this.map.themeChanged());
    document.addEventListener("keydown", (event) => {
      this.desk.key(event, () => {
        const panel = this.panel instanceof TracePanel ? this.panel : null;
        return this.pane.key(event) || this.views.key(event) || (panel?.key(event) ?? false);
      });
    });
    this.navigate();
    this.feed.start();
  }

  go(route: Route, replace = false): void {
    const hash = withLook(formatRoute(route), this.look);
    if (hash === location.hash) return;
    if (replace) {
      history.replaceState(null, "", hash);
      this.navigate();
    } else {
      location.hash = hash;
      this.navigate();
    }
  }

  private lookAt(part: Partial<MapLook>): void {
    this.look = { ...this.look, ...part };
    this.pane.look(this.look);
    this.scheduleUpdate();
    this.shownHash = withLook(location.hash || "#/", this.look);
    history.pushState(null, "", this.shownHash);
  }

  showOnMap(target: Target): void {
    this.map.flyTo(target);
  }

  announce(text: string): void {
    this.desk.toast.say(text);
  }

  savePicture(form: PictureForm): Promise<void> {
    const trace = this.panel instanceof TracePanel ? this.panel.shownTrace() : null;
    return savePicture(form, this.map, this.graph, this.route, trace);
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

  panelCommands(): Command[] {
    return this.panel?.commands?.() ?? [];
  }

  focusFilter(): void {
    if (this.views.focusFilter()) return;
    if (this.pods.element.offsetWidth === 0) this.togglePods();
    this.pods.focusFilter();
  }

  toggleTheme(): void {
    toggleTheme();
    this.map.themeChanged();
  }

  showAll(): void {
    this.go({ page: "home" });
    this.map.camera.showAll();
  }

  focusMap(): void {
    this.map.canvas.focus();
  }

  private build(): void {
    const close = closeButton(() => this.go({ page: "home" }));
    this.panelBox.append(close, this.panelBody);
    this.main.append(this.pods.element, this.pane.element, this.panelBox);
    this.root.replaceChildren(
      skipLink(() => this.focusMap()),
      this.topbar.element,
      this.strip.element,
      this.banner.element,
      this.main,
      ...this.desk.dialogs,
    );
  }

  /** Watch the nodes that are seen from near, and those that are selected or on a trace. */
  private rescope(): void {
    if (this.graph.nodes.size === 0) return;
    this.feed.watchNodes(
      this.scope.watch([...nodesOf(this.route, this.run), ...this.pane.sight.near, ...this.pods.opened]),
    );
  }

  togglePods(): void {
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
    // Before the server's first data there is nothing to say of it.
    if (this.updateTimer !== undefined || this.graph.revision < 0) return;
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
    this.look = lookIn(location.hash);
    this.pane.look(this.look);
    this.scheduleUpdate();
    const route = this.route;
    if (route.page === "trace" && before.page === "trace" && route.id === before.id) {
      if (this.run) this.showRun(this.run);
      return;
    }
    if (route.page === "select" && before.page === "select" && isSame(route.target, before.target)) {
      if (this.panel instanceof Inspector) this.panel.look(route.tables);
      return;
    }
    this.bound = null;
    this.stopFollowing();
    this.run = null;
    this.pane.forgetTrace();
    this.panel?.dispose?.();
    this.panel = panelOf(this, route, () => this.light());
    // Before anything is written: afterwards it would have all of it laid out.
    this.panelBox.scrollTop = 0;
    this.panelBody.replaceChildren(...(this.panel ? [this.panel.element] : []));
    this.panelBox.hidden = this.panel === null;
    const view = this.views.show(route);
    this.topbar.show(view);
    this.pods.element.inert = this.pane.element.inert = view !== "map";
    if (this.panel instanceof Compose && this.mayTrace) this.panel.focus();
    document.title = titleOf(route, this.graph, null);
    if (route.page === "trace") this.follow(route.id);
    // What is known of a trace already is shown by now.
    if (this.run) return;
    this.rescope();
    this.light();
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
    document.title = titleOf(this.route, this.graph, run);
    if (this.route.page !== "trace" || !(this.panel instanceof TracePanel)) return;
    if (run.trace && isFirst && failsOnlyOnReturn(run.trace) && !formatRoute(this.route).includes("?")) {
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

  /** Something was chosen by search: select it and go there. While a trace is composed, a pod is its end. */
  choose(route: Route): void {
    if (this.route.page === "compose" && route.page === "select" && route.target.type === "pod") {
      this.pick(route.target, false);
      return;
    }
    this.go(route);
    if (route.page !== "select") return;
    this.bound = route.target;
    this.map.flyTo(route.target);
    this.arrive();
    this.panelBox.focus();
  }

  /** Fly to what was looked for as soon as it is drawn: its node may have to be brought in first. */
  private arrive(): void {
    const target = this.bound;
    if (!target) return;
    const isDrawn = target.type === "pod" ? this.map.podPosition(target.key) !== null : true;
    if (!isDrawn || (target.type === "link" && !this.graph.links.has(target.key))) return;
    this.bound = null;
    this.map.flyTo(target);
  }

  private pick(target: Target | null, extend: boolean): void {
    const meaning = meaningOf(this.graph, this.route, target, extend, this.mayTrace);
    if (meaning.do === "trace") void this.traceTo(meaning.from, meaning.to);
    else if (meaning.do === "go") this.go(meaning.route, meaning.replace);
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

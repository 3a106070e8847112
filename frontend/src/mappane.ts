// The middle of the page: the map with what belongs to it, and over it the stage of a trace.

import type { ArrivalWatch } from "./arrivals.js";
import type { Graph } from "./graph/store.js";
import type { Point, Scene } from "./layout/scene.js";
import { framing, litRoutes, litTrace } from "./lit.js";
import type { MapLook } from "./look.js";
import { MapBar } from "./map/bar.js";
import type { Target } from "./map/hit.js";
import { isAtLeast } from "./map/level.js";
import { MapView, type Sight } from "./map/mapview.js";
import { NO_OVERLAY } from "./map/overlay.js";
import { Stage } from "./map/stage.js";
import { makeOverlay } from "./overlays/all.js";
import type { Overlay } from "./overlays/overlay.js";
import { saysOf } from "./overlays/says.js";
import { MOST_NODES, type Rates } from "./rates.js";
import type { Route, TraceView } from "./route.js";
import type { Trace } from "./trace/types.js";
import { ArrivalsNote } from "./ui/arrivalsnote.js";
import { emptyNote, HoverCard, mapButtons, mapHint } from "./ui/chrome.js";
import { h } from "./ui/dom.js";
import { findEnd, netnsTitle } from "./ui/names.js";
import { Playback } from "./ui/playback.js";

export interface PaneEvents {
  onPick(target: Target | null, extend: boolean): void;
  /** The scene is another one, or its stage is. */
  onScene(): void;
  onSight(): void;
  onView(view: TraceView): void;
  onLeave(): void;
  /** The map is to be looked at in another way. */
  onLook(part: Partial<MapLook>): void;
}

const SETTLED_MS = 50;

export class MapPane {
  readonly element: HTMLElement;
  readonly map: MapView;
  sight: Sight = { level: "tile", count: 0, near: [], leftOut: "" };
  private readonly bar: MapBar;
  private readonly stage: Stage;
  private readonly playback: Playback;
  private readonly hover: HoverCard;
  private readonly hint = mapHint();
  private readonly empty: HTMLElement;
  private route: Route = { page: "home" };
  private trace: Trace | null = null;
  /** In a trace: the whole map is shown, not the stage. */
  private isWhole = false;
  /** The trace that the camera was led to. */
  private framed: string | null = null;

  constructor(
    private readonly graph: Graph,
    private readonly rates: Rates,
    private readonly role: string,
    arrivals: ArrivalWatch,
    private readonly events: PaneEvents,
  ) {
    this.hover = new HoverCard(graph, (target) => this.says(target));
    this.empty = emptyNote(role);
    const away = new ArrivalsNote(role, arrivals);
    this.map = new MapView(graph, makeOverlay("problems", graph, rates), {
      onPick: (target, extend) => events.onPick(target, extend),
      onHover: (target, at) => this.showHover(target, at),
      onScene: () => events.onScene(),
      onSight: (sight) => this.sighted(sight),
    });
    this.bar = new MapBar(events.onLook);
    rates.onChange(() => {
      this.overlay.forget();
      this.map.redraw();
      this.showBar();
    });
    this.stage = new Stage({
      onView: (view) => events.onView(view),
      onWhole: () => this.toggleWhole(),
      onLeave: () => events.onLeave(),
    });
    this.playback = new Playback((view) => events.onView(view));
    const { camera } = this.map;
    const buttons = mapButtons({
      in: () => camera.zoomBy(1.4),
      out: () => camera.zoomBy(1 / 1.4),
      fit: () => camera.showAll(),
    });
    this.map.element.append(buttons, this.hint.element, away.element, this.empty, this.hover.element);
    this.element = h(
      "div",
      { class: "mapframe" },
      this.bar.element,
      this.map.element,
      h("h2", { class: "sr" }, "Map and path"),
      this.stage.element,
      this.playback.element,
    );
  }

  get isStaged(): boolean {
    return this.trace !== null && !this.isWhole;
  }

  private get overlay(): Overlay {
    return this.map.picture.overlay;
  }

  /** What the map's colours say, and by what nodes are put together. */
  look({ colour, group }: MapLook): void {
    if (group !== this.map.layout.grouping) this.map.groupBy(group);
    if (colour !== this.overlay.id) {
      this.map.colourBy(makeOverlay(colour, this.graph, this.rates));
      this.sample();
    }
    this.showBar();
  }

  /** What the colours say of something, in words. */
  says(target: Target): string {
    return saysOf(this.graph, this.overlay, target);
  }

  /** Have the counters read of the nodes of which the colours speak. */
  private sample(): void {
    const all = this.graph.nodes.size <= MOST_NODES ? [...this.graph.nodes.keys()] : this.sight.near;
    this.rates.want("map", this.overlay.isSampled ? all : []);
  }

  /** The graph has changed. */
  update(): void {
    this.empty.hidden = this.graph.nodes.size > 0;
    this.showBar();
    this.hint.say(this.hintText());
  }

  /** Emphasise what is shown: the selection, or a trace's path; a trace has the stage, unless the whole map is wanted. */
  show(route: Route, trace: Trace | null): void {
    this.route = route;
    this.trace = route.page === "trace" ? trace : null;
    const { picture } = this.map;
    const target = route.page === "select" ? route.target : null;
    picture.selected = target;
    picture.lit = null;
    const end = route.page === "compose" ? findEnd(this.graph, route.from || route.to) : undefined;
    picture.origin = end?.key ?? null;
    this.map.element.classList.toggle("choosing", picture.origin !== null);
    if (route.page === "trace" && this.trace) {
      // Below the stage nothing is seen of it.
      if (this.isWhole) this.light(route, this.trace);
    } else if (target?.type === "node")
      this.map.setOverlay(litRoutes(this.graph, this.map.scene, target.name));
    else this.map.setOverlay(NO_OVERLAY);
    this.showStage();
    this.hint.say(this.hintText());
  }

  /** Another page than this trace is shown. */
  forgetTrace(): void {
    this.framed = null;
    this.isWhole = false;
  }

  /** Keys of a trace that is open. Tells whether the key was taken. */
  key(event: KeyboardEvent): boolean {
    if (!this.trace) return false;
    if (event.key.toLowerCase() === "m" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      this.toggleWhole();
      return true;
    }
    return this.playback.key(event) || this.stage.key(event);
  }

  private light(route: Route & { page: "trace" }, trace: Trace): void {
    const { picture, scene, camera } = this.map;
    // From far, where insides aren't drawn, paths lead to the nodes' edges.
    const isNear = isAtLeast(this.sight.level, "pods");
    const drawn: Scene = isNear ? scene : { ...scene, boxes: new Map() };
    const lit = litTrace(this.graph, drawn, trace, route.view);
    if (lit) {
      picture.lit = { netns: lit.netns, nodes: lit.nodes };
      if (this.isWhole && this.framed !== route.id && lit.frame.points.length > 1) {
        this.framed = route.id;
        // When the map has its size: the list beside it comes back, too.
        const { rect, others } = framing(scene, lit);
        window.setTimeout(() => camera.showAlone(rect, others, 1.25), SETTLED_MS);
      }
    }
    this.map.setOverlay(lit?.overlay ?? NO_OVERLAY);
  }

  private toggleWhole(): void {
    this.isWhole = !this.isWhole;
    this.events.onScene();
    if (this.isWhole) this.map.canvas.focus();
  }

  private showStage(): void {
    const { route, trace } = this;
    const goal = trace ? findEnd(this.graph, trace.flow.dst) : undefined;
    this.stage.show(
      this.isStaged ? trace : null,
      route.page === "trace" ? route.view : null,
      goal ? { node: goal.node, title: netnsTitle(goal), isPod: goal.pod !== null } : null,
    );
    this.playback.show(trace, route.page === "trace" ? route.view : null);
    this.bar.element.hidden = this.isStaged;
    this.map.element.inert = this.isStaged;
    this.map.cover(this.isStaged);
    this.bar.offerTrace(trace && this.isWhole ? () => this.toggleWhole() : null);
  }

  /** Something else is in sight. */
  private sighted(sight: Sight): void {
    const isOther = sight.level !== this.sight.level;
    this.sight = sight;
    this.events.onSight();
    this.sample();
    this.showBar();
    if (isOther) this.events.onScene();
  }

  private showBar(): void {
    this.bar.offer(this.map.layout.useful, this.map.layout.grouping);
    this.bar.show(this.sight, this.graph.nodes.size, this.overlay);
  }

  private showHover(target: Target | null, at: Point): void {
    this.hover.show(target, at, this.map.element.getBoundingClientRect());
  }

  private hintText(): string {
    const mayTrace = this.role === "operator" || this.role === "administrator";
    if (this.graph.revision < 0) return "Waiting for the server’s first data…";
    if (this.graph.nodes.size === 0 || !mayTrace) return "";
    const { route } = this;
    if (route.page === "home")
      return "Click a pod to look into it; shift-click another one to trace the path.";
    if (route.page === "select" && route.target.type === "pod")
      return "Shift-click another pod to trace the path to it.";
    if (route.page === "compose" && this.map.picture.origin)
      return route.from
        ? "Click the pod that the packet goes to."
        : "Click the pod that the packet comes from.";
    return "";
  }
}

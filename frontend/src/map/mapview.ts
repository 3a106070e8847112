// The map on the page: puts scene, camera, drawing and input together. Draws when something has
// changed, at most once a frame, and never lays out while drawing.

import type { Graph } from "../graph/store.js";
import { layoutScene } from "../layout/layout.js";
import { EMPTY_SCENE, type Point, type Rect, type Scene } from "../layout/scene.js";
import { h, s } from "../ui/dom.js";
import { Camera } from "./camera.js";
import { drawScene } from "./draw.js";
import { HitIndex, type Target } from "./hit.js";
import { nextTile } from "./keys.js";
import { drawOverlay, type OverlayData } from "./overlay.js";
import type { Picture } from "./picture.js";
import { readTheme, type Theme } from "./theme.js";

export interface MapEvents {
  onPick(target: Target | null, extend: boolean): void;
  onHover(target: Target | null, at: Point): void;
  onScene(): void;
}

const GLOW_MS = 1600;
const LAYOUT_EVERY_MS = 80;

export class MapView {
  scene: Scene = EMPTY_SCENE;
  readonly canvas = h("canvas", {
    id: "map",
    tabindex: 0,
    role: "application",
    "aria-label":
      "Map of nodes and pods. Arrow keys move between pods, Enter selects, plus and minus zoom, 0 shows all.",
  });
  readonly element = h("div", { class: "map" });
  readonly camera: Camera;
  readonly picture: Picture;
  private readonly overlay = s("svg", { class: "overlay", "aria-hidden": "true" });
  private readonly ctx: CanvasRenderingContext2D;
  private hits = new HitIndex(EMPTY_SCENE);
  private theme: Theme | null = null;
  private overlayData: OverlayData = { lines: [], marks: [] };
  private readonly born = new Map<string, number>();
  private frame = 0;
  private drawn = false;
  private layoutTimer: number | undefined;
  private laidOutAt = 0;
  private layoutTook = 0;

  constructor(
    private readonly graph: Graph,
    private readonly events: MapEvents,
  ) {
    this.element.append(this.canvas, this.overlay);
    this.ctx = this.canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D;
    this.camera = new Camera(this.canvas, () => this.redraw());
    this.picture = this.makePicture();
    this.listen();
  }

  private makePicture(): Picture {
    const graph = this.graph;
    return {
      node: (name) => graph.nodes.get(name),
      netns: (key) => graph.netns.get(key),
      link: (key) => graph.links.get(key),
      podHealth: (key) => graph.netns.get(key)?.health ?? "warning",
      nodeHealth: (name) => graph.nodes.get(name)?.health ?? "warning",
      problemsAt: (name) => graph.problemsAt(name).length,
      selected: null,
      hovered: null,
      origin: null,
      lit: null,
      captioned: null,
      ringed: new Set(),
      fresh: new Map(),
    };
  }

  /** The graph has changed: lay out anew if its structure did, and draw. */
  changed(structure: boolean): void {
    if (structure) this.scheduleLayout();
    else this.redraw();
  }

  setOverlay(data: OverlayData): void {
    this.overlayData = data;
    this.redraw();
  }

  themeChanged(): void {
    this.theme = null;
    this.redraw();
  }

  redraw(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame((now) => this.draw(now));
  }

  rectOf(target: Target): Rect | null {
    if (target.type === "node") return this.scene.nodeByName.get(target.name) ?? null;
    if (target.type === "pod") {
      const tile = this.scene.tileByKey.get(target.key);
      if (tile) return tile;
      const ns = this.graph.netns.get(target.key);
      return ns?.root ? (this.scene.nodeByName.get(ns.node) ?? null) : null;
    }
    return this.rectOfLink(target.key);
  }

  private rectOfLink(key: string): Rect | null {
    const ns = this.graph.netns.get(this.graph.links.get(key)?.netns ?? "");
    if (!ns) return null;
    const box = this.scene.nodeByName.get(ns.node);
    if (!ns.root || !box) return this.rectOf({ type: "pod", key: ns.key });
    const device = [...box.nics, ...box.devices].find((item) => item.link === key);
    if (device) return device;
    for (const group of box.groups) {
      const row = group.rows[0];
      if (group.link === key && row) return { x: row.x0, y: row.y - 8, w: row.x1 - row.x0, h: 16 };
      const tile = group.tiles.find((item) => item.hostLink === key);
      if (tile) return tile;
    }
    return box;
  }

  flyTo(target: Target): void {
    const rect = this.rectOf(target);
    if (!rect) return;
    const around = target.type === "node" ? 40 : 170;
    const wide = { x: rect.x - around, y: rect.y - around, w: rect.w + 2 * around, h: rect.h + 2 * around };
    this.camera.showRect(wide, target.type === "node" ? 1.1 : 1.5);
  }

  /** Where a pod's tile is on the page, for tests. */
  podPosition(key: string): Point | null {
    const tile = this.scene.tileByKey.get(key);
    if (!tile) return null;
    const at = this.camera.toScreen({ x: tile.x + tile.w / 2, y: tile.y + tile.h / 2 });
    const frame = this.canvas.getBoundingClientRect();
    return { x: frame.left + at.x, y: frame.top + at.y };
  }

  private scheduleLayout(): void {
    if (this.layoutTimer !== undefined) return;
    // A large cluster's layout takes longer: it never gets more than a fifth of the time.
    const pause = Math.max(LAYOUT_EVERY_MS, this.layoutTook * 4);
    const wait = Math.max(0, pause - (performance.now() - this.laidOutAt));
    this.layoutTimer = window.setTimeout(() => this.layout(), wait);
  }

  private layout(): void {
    this.layoutTimer = undefined;
    this.laidOutAt = performance.now();
    const before = this.scene;
    this.scene = layoutScene(this.graph);
    this.hits = new HitIndex(this.scene);
    this.layoutTook = performance.now() - this.laidOutAt;
    if (before !== EMPTY_SCENE) {
      for (const key of this.scene.tileByKey.keys()) {
        if (!before.tileByKey.has(key)) this.born.set(key, this.laidOutAt);
      }
    }
    this.camera.setBounds(this.scene.bounds, before !== EMPTY_SCENE);
    this.events.onScene();
    this.redraw();
  }

  private draw(now: number): void {
    this.frame = 0;
    this.drawn = true;
    this.theme ??= readTheme(this.element);
    this.picture.fresh.clear();
    for (const [key, at] of this.born) {
      const left = 1 - (now - at) / GLOW_MS;
      if (left <= 0) this.born.delete(key);
      else this.picture.fresh.set(key, Math.min(1, left));
    }
    const { k, x, y } = this.camera.transform;
    const view = {
      k,
      x,
      y,
      width: this.canvas.clientWidth,
      height: this.canvas.clientHeight,
      ratio: devicePixelRatio,
    };
    drawScene(this.ctx, view, this.scene, this.picture, this.theme);
    drawOverlay(this.overlay, this.overlayData, (point) => this.camera.toScreen(point));
    if (this.born.size > 0) this.redraw();
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.element;
    this.canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(clientHeight * devicePixelRatio);
    this.camera.setBounds(this.scene.bounds, this.drawn);
    this.redraw();
    this.events.onScene();
  }

  private listen(): void {
    new ResizeObserver(() => this.resize()).observe(this.element);
    const canvas = this.canvas;
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons === 0) this.hover(event);
    });
    canvas.addEventListener("pointerleave", (event) => this.setHovered(null, event));
    canvas.addEventListener("pointerdown", () => this.events.onHover(null, { x: 0, y: 0 }));
    canvas.addEventListener("click", (event) => {
      this.events.onPick(this.targetAt(event), event.shiftKey);
    });
    canvas.addEventListener("dblclick", (event) => {
      const target = this.targetAt(event);
      if (target) this.flyTo(target);
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  private targetAt(event: MouseEvent): Target | null {
    const at = this.camera.toWorld(event.offsetX, event.offsetY);
    return this.hits.at(at.x, at.y, this.camera.transform.k < 0.4);
  }

  private hover(event: PointerEvent): void {
    this.setHovered(this.targetAt(event), event);
  }

  private setHovered(target: Target | null, event: PointerEvent): void {
    this.events.onHover(target, { x: event.offsetX, y: event.offsetY });
    if (JSON.stringify(target) === JSON.stringify(this.picture.hovered)) return;
    this.picture.hovered = target;
    this.canvas.classList.toggle("pointing", target !== null);
    this.redraw();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const selected = this.picture.selected;
    if (event.key.startsWith("Arrow")) {
      const next = nextTile(this.scene, selected?.type === "pod" ? selected.key : null, event.key);
      if (next) {
        this.events.onPick({ type: "pod", key: next.key }, false);
        this.camera.reveal(next);
      }
    } else if (event.key === "Enter" && selected) this.flyTo(selected);
    else if (event.key === "+" || event.key === "=") this.camera.zoomBy(1.4);
    else if (event.key === "-") this.camera.zoomBy(1 / 1.4);
    else if (event.key === "0") this.camera.showAll();
    else return;
    event.preventDefault();
  }
}

// The map on the page: puts layout, camera, drawing and input together. Draws when something has
// changed, at most once a frame, and never lays out while drawing.

import { nodeOfKey } from "../graph/keys.js";
import { MOST_WATCHED } from "../graph/scope.js";
import type { Change, Graph } from "../graph/store.js";
import type { Grouping } from "../layout/groups.js";
import { Layout } from "../layout/layout.js";
import { CELL_W } from "../layout/metrics.js";
import { cellsWithin, findTile, type Point, type Rect, type Scene, tileRect } from "../layout/scene.js";
import { needsDetails, type Overlay } from "../overlays/overlay.js";
import { h, s, setText } from "../ui/dom.js";
import { Camera } from "./camera.js";
import { type Drawn, drawScene } from "./draw.js";
import { hitAt, type Target } from "./hit.js";
import { nextTarget } from "./keys.js";
import { isAtLeast, type Level, levelAt, widthOf } from "./level.js";
import { drawOverlay, NO_OVERLAY, type OverlayData } from "./overlay.js";
import { isSeen, seen, type View } from "./pen.js";
import type { Picture } from "./picture.js";
import { makePicture } from "./reading.js";
import { readTheme, type Theme } from "./theme.js";

export interface MapEvents {
  onPick(target: Target | null, extend: boolean): void;
  onHover(target: Target | null, at: Point): void;
  /** The scene is another one. */
  onScene(): void;
  /** What is seen: all nodes in sight by number, and those whose insides are drawn. */
  onSight(sight: Sight): void;
}

export interface Sight {
  level: Level;
  count: number;
  near: string[];
  /** What the groups' titles leave out because all have it. */
  leftOut: string;
}

const GLOW_MS = 1600;
const LAYOUT_EVERY_MS = 80;
const SIGHT_AFTER_MS = 120;
/** From this part of the width at which insides are drawn on, they are asked for. */
const AHEAD = 0.8;

export class MapView {
  readonly layout: Layout;
  readonly canvas = h("canvas", {
    id: "map",
    tabindex: 0,
    role: "application",
    "aria-label":
      "Map of nodes and pods. Arrow keys move, Enter goes in, plus and minus zoom, 0 shows all. The list beside it has the same order.",
  });
  readonly element = h("div", { class: "map" });
  readonly camera: Camera;
  readonly picture: Picture;
  level: Level = "tile";
  /** When the first picture of nodes was drawn, by the page's clock; null before. */
  pictureAt: number | null = null;
  private readonly overlay = s("svg", { class: "overlay", "aria-hidden": "true" });
  private readonly spoken = h("div", { class: "sr", role: "status", "data-testid": "map-says" });
  private readonly ctx: CanvasRenderingContext2D;
  private theme: Theme | null = null;
  private overlayData = NO_OVERLAY;
  private drawn: Drawn = { leftOut: "" };
  private readonly born = new Map<string, number>();
  private pending = { nodes: false, details: new Set<string>() };
  private isCovered = false;
  private frame = 0;
  private layoutTimer: number | undefined;
  private laidOutAt = 0;
  private layoutTook = 0;
  private sightTimer: number | undefined;
  private sight = "";

  constructor(
    private readonly graph: Graph,
    overlay: Overlay,
    private readonly events: MapEvents,
  ) {
    this.layout = new Layout(graph);
    this.element.append(this.canvas, this.overlay, this.spoken);
    this.ctx = this.canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D;
    this.camera = new Camera(this.canvas, () => this.redraw());
    this.picture = makePicture(graph, overlay);
    this.listen();
  }

  get scene(): Scene {
    return this.layout.scene;
  }

  /** The graph has changed: lay out anew what the change concerns, and draw. */
  changed(change: Change): void {
    this.picture.forget();
    if (!change.nodes && change.details.size === 0) {
      if (this.isDrawn(change.touched)) this.redraw();
      return;
    }
    this.pending.nodes ||= change.nodes;
    for (const name of change.details) this.pending.details.add(name);
    this.scheduleLayout();
  }

  /** Whether some of these nodes are in sight, or count in the title of a block that is. */
  private isDrawn(nodes: Change["touched"]): boolean {
    if (nodes === null) return true;
    const view = this.view();
    for (const name of nodes) {
      const block = this.scene.cells.get(name)?.block;
      if (!block || isSeen(view, block)) return true;
    }
    return false;
  }

  groupBy(by: Grouping): void {
    this.layout.groupBy(by);
    this.picture.forget();
    this.camera.setBounds(this.scene.bounds);
    this.camera.showAll();
    this.events.onScene();
    this.redraw();
  }

  /** Let the colours say something else. */
  colourBy(overlay: Overlay): void {
    this.picture.overlay = overlay;
    this.redraw();
  }

  setOverlay(data: OverlayData): void {
    this.overlayData = data;
    this.redraw();
  }

  themeChanged(): void {
    this.theme = null;
    this.redraw();
  }

  /** Something lies over all of the map: it is laid out, but not drawn until it is seen again. */
  cover(isCovered: boolean): void {
    if (isCovered === this.isCovered) return;
    this.isCovered = isCovered;
    this.redraw();
  }

  redraw(): void {
    if (this.frame === 0 && !this.isCovered) this.frame = requestAnimationFrame((now) => this.draw(now));
  }

  rectOf(target: Target): Rect | null {
    const { scene } = this;
    if (target.type === "node") return scene.cells.get(target.name) ?? null;
    if (target.type === "pod") {
      const found = findTile(scene, target.key);
      if (found) return tileRect(found.cell, found.tile);
      return scene.cells.get(this.graph.netns.get(target.key)?.node ?? nodeOfKey(target.key)) ?? null;
    }
    return this.rectOfLink(target.key);
  }

  private rectOfLink(key: string): Rect | null {
    const ns = this.graph.netns.get(this.graph.links.get(key)?.netns ?? "");
    if (!ns) return this.scene.cells.get(nodeOfKey(key)) ?? null;
    const box = this.scene.boxes.get(ns.node);
    const cell = this.scene.cells.get(ns.node);
    if (!ns.root || !box || !cell) return this.rectOf({ type: "pod", key: ns.key });
    const device = [...box.nics, ...box.tunnels, ...box.devices].find((item) => item.link === key);
    if (device) return tileRect(cell, device);
    for (const group of box.groups) {
      const { y, x0, x1 } = group.line;
      if (group.link === key) return tileRect(cell, { x: x0, y: y - 8, w: x1 - x0, h: 16 });
      const tile = group.tiles.find((item) => item.hostLink === key);
      if (tile) return tileRect(cell, tile);
    }
    return cell;
  }

  /** Go to where a target can be read. */
  flyTo(target: Target): void {
    const rect = this.rectOf(target);
    if (!rect) return;
    const isWhole = rect.w >= CELL_W;
    const around = isWhole ? 60 : 190;
    const wide = { x: rect.x - around, y: rect.y - around, w: rect.w + 2 * around, h: rect.h + 2 * around };
    this.camera.showRect(wide, isWhole ? 1.1 : 1.5);
  }

  /** Look at a node from where it is drawn at a level. */
  look(name: string, level: Level): void {
    const cell = this.scene.cells.get(name);
    if (cell) this.camera.lookAt({ x: cell.x + cell.w / 2, y: cell.y + cell.h / 2 }, widthOf(level) / cell.w);
  }

  /** Where a pod's tile is on the page, for tests. */
  podPosition(key: string): Point | null {
    const found = findTile(this.scene, key);
    if (!found) return null;
    const rect = tileRect(found.cell, found.tile);
    const at = this.camera.toScreen({ x: rect.x + rect.w / 2, y: rect.y + rect.h / 2 });
    const frame = this.canvas.getBoundingClientRect();
    return { x: frame.left + at.x, y: frame.top + at.y };
  }

  private scheduleLayout(): void {
    if (this.layoutTimer !== undefined) return;
    // Where laying out takes long, it never gets more than a fifth of the time.
    const pause = Math.max(LAYOUT_EVERY_MS, this.layoutTook * 4);
    const wait = Math.max(0, pause - (performance.now() - this.laidOutAt));
    this.layoutTimer = window.setTimeout(() => this.layOut(), wait);
  }

  private layOut(): void {
    this.layoutTimer = undefined;
    this.laidOutAt = performance.now();
    const before = new Map([...this.pending.details].map((name) => [name, this.scene.boxes.get(name)]));
    this.layout.update(this.pending, Date.now());
    this.pending = { nodes: false, details: new Set() };
    this.layoutTook = performance.now() - this.laidOutAt;
    for (const [name, old] of before) {
      for (const key of (old && this.scene.boxes.get(name)?.tileByKey.keys()) ?? [])
        if (!old?.tileByKey.has(key) && !this.isCovered) this.born.set(key, this.laidOutAt);
    }
    if (this.scene.cells.size > 0) this.camera.setBounds(this.scene.bounds);
    this.events.onScene();
    this.redraw();
  }

  private view(): View {
    const { k, x, y } = this.camera.transform;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { k, x, y, width, height, ratio: devicePixelRatio };
  }

  private draw(now: number): void {
    this.frame = 0;
    if (this.isCovered) return;
    this.theme ??= readTheme(this.element);
    this.picture.fresh.clear();
    for (const [key, at] of this.born) {
      const left = 1 - (now - at) / GLOW_MS;
      if (left <= 0) this.born.delete(key);
      else this.picture.fresh.set(key, Math.min(1, left));
    }
    const view = this.view();
    this.level = levelAt(view.k, this.level);
    this.drawn = drawScene(this.ctx, view, this.level, this.scene, this.picture, this.theme);
    drawOverlay(this.overlay, this.overlayData, view.k, (point) => this.camera.toScreen(point));
    if (this.scene.cells.size > 0) this.pictureAt ??= performance.now();
    this.lookSoon();
    if (this.born.size > 0) this.redraw();
  }

  /** Tell what is in sight, when it has been so for a moment. */
  private lookSoon(): void {
    this.sightTimer ??= window.setTimeout(() => this.tellSight(), SIGHT_AFTER_MS);
  }

  private tellSight(): void {
    this.sightTimer = undefined;
    const view = this.view();
    const names = this.inSight(view);
    const isClose = isAtLeast(this.level, "pods") || isAtLeast(levelAt(view.k / AHEAD, null), "pods");
    const isNear = isClose || (needsDetails(this.picture.overlay.id) && names.length <= MOST_WATCHED);
    const { leftOut } = this.drawn;
    const sight = { level: this.level, count: names.length, near: isNear ? names : [], leftOut };
    const text = JSON.stringify(sight);
    if (text === this.sight) return;
    this.sight = text;
    this.events.onSight(sight);
  }

  private inSight(view: View): string[] {
    const part = seen(view);
    const names: string[] = [];
    for (const block of this.scene.blocks) {
      const { firstRow, lastRow, firstCol, lastCol } = cellsWithin(block, part);
      for (let row = firstRow; row < lastRow; row += 1)
        for (let col = firstCol; col < lastCol; col += 1) {
          const name = block.cells[row * block.cols + col];
          if (name != null) names.push(name);
        }
    }
    return names;
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.element;
    this.canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(clientHeight * devicePixelRatio);
    this.camera.resized();
    // A panel that opens for it doesn't cover what is selected.
    const { selected } = this.picture;
    const rect = selected && this.rectOf(selected);
    if (rect) this.camera.reveal(rect);
    // At once: a canvas whose size is set is empty until it is drawn.
    cancelAnimationFrame(this.frame);
    this.draw(performance.now());
  }

  private listen(): void {
    new ResizeObserver(() => this.resize()).observe(this.element);
    const canvas = this.canvas;
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons === 0) this.setHovered(this.targetAt(event), event);
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
    return hitAt(this.scene, at.x, at.y, this.level, 6 / this.camera.transform.k);
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
      const next = nextTarget(this.scene, selected, event.key, isAtLeast(this.level, "pods"));
      if (next) {
        this.events.onPick(next.target, false);
        this.camera.reveal(next.rect);
        setText(this.spoken, this.picture.nameOf(next.target));
      }
    } else if (event.key === "Enter" && selected) this.flyTo(selected);
    else if (event.key === "+" || event.key === "=") this.camera.zoomBy(1.4);
    else if (event.key === "-") this.camera.zoomBy(1 / 1.4);
    else if (event.key === "0") this.camera.showAll();
    else return;
    event.preventDefault();
  }
}

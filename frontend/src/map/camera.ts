// Where the map is looked at from: pan and zoom by d3-zoom, fitting, and flights between places.

import { interpolateZoom } from "d3-interpolate";
import { select } from "d3-selection";
import { type D3ZoomEvent, type ZoomTransform, zoom, zoomIdentity, zoomTransform } from "d3-zoom";
import type { Point, Rect } from "../layout/scene.js";
import { beside, windowStart } from "./framing.js";

export interface Insets {
  top: number;
  right: number;
  bottom: number;
  left: number;
}

/** Below there is room for the hint and the buttons. */
const MARGIN: Insets = { top: 20, right: 24, bottom: 58, left: 24 };
const MAX_SCALE = 4;
/** The scale at which the whole is shown at most: a node then has room for its pods' names. */
const MOST_WHOLE = 1;

/** The transform that shows a rectangle whole and centred, at no more than `most` times its size. */
export function fitTransform(rect: Rect, width: number, height: number, most: number, margin = MARGIN) {
  const roomX = Math.max(40, width - margin.left - margin.right);
  const roomY = Math.max(40, height - margin.top - margin.bottom);
  const k = Math.min(most, roomX / Math.max(1, rect.w), roomY / Math.max(1, rect.h));
  return {
    k,
    x: margin.left + (roomX - rect.w * k) / 2 - rect.x * k,
    y: margin.top + (roomY - rect.h * k) / 2 - rect.y * k,
  };
}

/** For a rectangle that is to be shown alone: its own margin is enough at the sides. */
const ALONE: Insets = { ...MARGIN, left: 0, right: 0 };

/** The transform that shows a rectangle whole, and of the others that lie beside it no sliver, if that can be. */
export function fitAlone(rect: Rect, others: Rect[], width: number, height: number, most: number) {
  const { k } = fitTransform(rect, width, height, most, ALONE);
  const start = (axis: "x" | "y", size: number, before: number, after: number, window: number) =>
    windowStart(
      { from: rect[axis] - before / k, to: rect[axis] + size + after / k },
      beside(rect, others, axis),
      window / k,
    );
  return {
    k,
    x: -start("x", rect.w, ALONE.left, ALONE.right, width) * k,
    y: -start("y", rect.h, ALONE.top, ALONE.bottom, height) * k,
  };
}

export class Camera {
  private readonly behaviour = zoom<HTMLCanvasElement, unknown>();
  private readonly stillness = window.matchMedia("(prefers-reduced-motion: reduce)");
  private flight = 0;
  private bounds: Rect | null = null;
  private size = { width: 0, height: 0 };

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly onMove: () => void,
  ) {
    this.behaviour
      .scaleExtent([0.005, MAX_SCALE])
      .clickDistance(5)
      .filter(
        (event: MouseEvent | WheelEvent) => event.type === "wheel" || (!event.button && !event.shiftKey),
      )
      .on("zoom", (event: D3ZoomEvent<HTMLCanvasElement, unknown>) => {
        if (event.sourceEvent) cancelAnimationFrame(this.flight);
        this.onMove();
      });
    select(canvas).call(this.behaviour).on("dblclick.zoom", null);
  }

  get transform(): ZoomTransform {
    return zoomTransform(this.canvas);
  }

  toWorld(x: number, y: number): Point {
    const [wx, wy] = this.transform.invert([x, y]);
    return { x: wx, y: wy };
  }

  toScreen(point: Point): Point {
    const { k, x, y } = this.transform;
    return { x: point.x * k + x, y: point.y * k + y };
  }

  /** Tell the camera how large the picture is. The first one is shown whole; after that the camera moves by itself no more. */
  setBounds(bounds: Rect): void {
    const isFirst = this.bounds === null;
    this.bounds = bounds;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const whole = fitTransform(bounds, width, height, MAX_SCALE);
    this.behaviour.scaleExtent([Math.min(0.5, whole.k * 0.6), MAX_SCALE]);
    if (isFirst && width > 0) this.showAll(false);
  }

  /** The window has another size: its middle stays where it was. */
  resized(): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { width: w, height: h } = this.size;
    this.size = { width, height };
    if (!this.bounds || width === 0) return;
    const { k, x, y } = this.transform;
    if (w === 0) this.showAll(false);
    else this.set({ k, x: x + (width - w) / 2, y: y + (height - h) / 2 });
  }

  showAll(smooth = true): void {
    if (!this.bounds) return;
    const { clientWidth, clientHeight } = this.canvas;
    this.go(fitTransform(this.bounds, clientWidth, clientHeight, MOST_WHOLE), smooth);
  }

  /** Show a rectangle with its surroundings, at a scale where it can be read. */
  showRect(rect: Rect, most: number): void {
    const { clientWidth, clientHeight } = this.canvas;
    this.go(fitTransform(rect, clientWidth, clientHeight, most), true);
  }

  /** Show a rectangle, and as little as can be of the others. */
  showAlone(rect: Rect, others: Rect[], most: number): void {
    const { clientWidth, clientHeight } = this.canvas;
    this.go(fitAlone(rect, others, clientWidth, clientHeight, most), true);
  }

  /** Put a point of the world into the middle, at a scale. */
  lookAt(point: Point, k: number): void {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    this.go({ k, x: w / 2 - point.x * k, y: h / 2 - point.y * k }, false);
  }

  /** Bring a rectangle into view without changing the scale, if it isn't. */
  reveal(rect: Rect): void {
    const { k, x, y } = this.transform;
    const { clientWidth, clientHeight } = this.canvas;
    const pad = 30;
    const dx = shift(rect.x * k + x, rect.w * k, clientWidth, pad);
    const dy = shift(rect.y * k + y, rect.h * k, clientHeight, pad);
    if (dx !== 0 || dy !== 0) this.go({ k, x: x + dx, y: y + dy }, true);
  }

  zoomBy(factor: number): void {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const { k, x, y } = this.transform;
    const [low, high] = this.behaviour.scaleExtent();
    const next = Math.min(high, Math.max(low, k * factor));
    this.go({ k: next, x: w / 2 - ((w / 2 - x) * next) / k, y: h / 2 - ((h / 2 - y) * next) / k }, true);
  }

  private go(to: { k: number; x: number; y: number }, smooth: boolean): void {
    cancelAnimationFrame(this.flight);
    const from = this.transform;
    if (!smooth || this.stillness.matches || document.hidden) {
      this.set(to);
      return;
    }
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const view = (t: { k: number; x: number; y: number }): [number, number, number] => [
      (w / 2 - t.x) / t.k,
      (h / 2 - t.y) / t.k,
      w / t.k,
    ];
    const path = interpolateZoom(view(from), view(to));
    const length = Math.min(700, Math.max(180, path.duration * 0.6));
    const begin = performance.now();
    const frame = (now: number) => {
      const t = Math.min(1, Math.max(0, (now - begin) / length));
      const [cx, cy, width] = path(ease(t));
      const k = w / width;
      this.set(t < 1 ? { k, x: w / 2 - cx * k, y: h / 2 - cy * k } : to);
      if (t < 1) this.flight = requestAnimationFrame(frame);
    };
    this.flight = requestAnimationFrame(frame);
  }

  private set(to: { k: number; x: number; y: number }): void {
    const transform = zoomIdentity.translate(to.x, to.y).scale(to.k);
    this.behaviour.transform(select(this.canvas), transform);
  }
}

function ease(t: number): number {
  return t < 0.5 ? 4 * t * t * t : 1 - (-2 * t + 2) ** 3 / 2;
}

function shift(start: number, size: number, room: number, pad: number): number {
  if (size > room - 2 * pad) return 0;
  if (start < pad) return pad - start;
  if (start + size > room - pad) return room - pad - start - size;
  return 0;
}

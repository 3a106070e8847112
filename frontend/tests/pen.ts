// A recorded pen: a canvas that writes down what is drawn on it. Text is 6.2 pixels a character at 11 pixels.

import { placed } from "../dev/placed.js";
import { Graph } from "../src/graph/store.js";
import type { Layout } from "../src/layout/layout.js";
import type { Point, Rect } from "../src/layout/scene.js";
import { drawScene, type Drawn as Told } from "../src/map/draw.js";
import type { Level } from "../src/map/level.js";
import type { View } from "../src/map/pen.js";
import type { Picture } from "../src/map/picture.js";
import type { Theme } from "../src/map/theme.js";

export interface Text extends Rect {
  text: string;
  colour: string;
  /** What was drawn before it, and after, by numbers. */
  order: number;
}

export interface Drawn {
  texts: Text[];
  /** Filled and stroked shapes by colour: how many. */
  fills: Map<string, number>;
  strokes: Map<string, number>;
  /** Rectangles that were put onto a path, with the colour in which it was filled. */
  rects: { rect: Rect; colour: string; order: number }[];
  /** Straight lines that were stroked. */
  lines: { from: Point; to: Point; colour: string; isDashed: boolean; order: number }[];
  dashes: number;
}

/** Every colour is its own name. */
const THEME = new Proxy({} as Theme, { get: (_, name) => String(name) });

/** A rectangle's edges above and below: text is beside those at its sides. */
function edgesOf({ x, y, w, h }: Rect): { from: Point; to: Point }[] {
  return [y, y + h].map((at) => ({ from: { x, y: at }, to: { x: x + w, y: at } }));
}

export function record(): { ctx: CanvasRenderingContext2D; drawn: Drawn } {
  const drawn: Drawn = { texts: [], fills: new Map(), strokes: new Map(), rects: [], lines: [], dashes: 0 };
  let isDashed = false;
  let path: Rect[] = [];
  let lines: { from: Point; to: Point }[] = [];
  let at: Point = { x: 0, y: 0 };
  let order = 0;
  const next = () => {
    order += 1;
    return order;
  };
  const count = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
  const state = { font: "", fillStyle: "", strokeStyle: "", textAlign: "left", globalAlpha: 1, lineWidth: 1 };
  const size = () => Number(/(\d+)px/.exec(state.font)?.[1] ?? 11);
  const methods: Record<string, (...args: never[]) => unknown> = {
    measureText: (text: string) => ({ width: text.length * size() * 0.56 }),
    beginPath: () => {
      path = [];
      lines = [];
    },
    moveTo: (x: number, y: number) => {
      at = { x, y };
    },
    lineTo: (x: number, y: number) => {
      lines.push({ from: at, to: { x, y } });
      at = { x, y };
    },
    rect: (x: number, y: number, w: number, h: number) => path.push({ x, y, w, h }),
    roundRect: (x: number, y: number, w: number, h: number) => path.push({ x, y, w, h }),
    fill: () => {
      count(drawn.fills, state.fillStyle);
      for (const rect of path) drawn.rects.push({ rect, colour: state.fillStyle, order: next() });
    },
    stroke: () => {
      count(drawn.strokes, state.strokeStyle);
      for (const line of lines)
        drawn.lines.push({ ...line, colour: state.strokeStyle, isDashed, order: next() });
      for (const rect of path)
        for (const line of edgesOf(rect))
          drawn.lines.push({ ...line, colour: state.strokeStyle, isDashed, order: next() });
    },
    setLineDash: (dash: number[]) => {
      isDashed = dash.length > 0;
      if (isDashed) drawn.dashes += 1;
    },
    fillText: (text: string, x: number, y: number) => {
      const w = text.length * size() * 0.56;
      const left = { right: x - w, center: x - w / 2 }[state.textAlign] ?? x;
      drawn.texts.push({
        text,
        x: left,
        y: y - size() / 2,
        w,
        h: size(),
        colour: state.fillStyle,
        order: next(),
      });
    },
  };
  const ctx = new Proxy(state as unknown as CanvasRenderingContext2D, {
    get: (target, name) =>
      methods[String(name)] ?? (name in target ? target[name as keyof typeof target] : () => undefined),
  });
  return { ctx, drawn };
}

export const SIZE = { width: 1160, height: 760 };

/** Draw a graph, from where it is whole or its first node is at a level, or so many pixels wide. */
export function drawGraph(
  graph: Graph,
  at: Level | "whole" | number,
  adjust: (picture: Picture, layout: Layout) => void = () => {},
): Drawn & { view: View; layout: Layout; level: Level; told: Told } {
  const { layout, picture, view, level } = placed(graph, at, SIZE);
  adjust(picture, layout);
  const { ctx, drawn } = record();
  const told = drawScene(ctx, view, level, layout.scene, picture, THEME);
  return { ...drawn, view, layout, level, told };
}

export { Graph };

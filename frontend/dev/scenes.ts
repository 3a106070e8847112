// Six scenes of made-up data, drawn alike everywhere: in a font of their own, at a size of their own. A browser test holds
// them against the pictures in tests/data/scenes.

import "../../netviz/static/netviz/tokens.css";
import "../src/style/page.css";
import "../src/style/shared.css";
import "../src/style/map.css";
import "../src/style/stage.css";
import "@fontsource/inter/latin-400.css";
import "@fontsource/inter/latin-600.css";
import "./scenes.css";
import { Graph } from "../src/graph/store.js";
import { drawScene } from "../src/map/draw.js";
import type { Level } from "../src/map/level.js";
import { Stage } from "../src/map/stage.js";
import { readTheme } from "../src/map/theme.js";
import { FIRST_VIEW } from "../src/route.js";
import { type ClusterOptions, makeCluster } from "./cluster.js";
import { placed } from "./placed.js";
import { type Fault, sampleTrace } from "./sampletrace.js";

interface Size {
  width: number;
  height: number;
}

interface Scene extends Size {
  theme: "light" | "dark";
  show(size: Size): HTMLElement;
}

function map(options: ClusterOptions, at: Level | "whole" | number) {
  return (size: Size): HTMLElement => {
    const graph = new Graph();
    graph.apply(makeCluster(options));
    const { layout, picture, view, level } = placed(graph, at, size);
    const canvas = Object.assign(document.createElement("canvas"), size);
    const ctx = canvas.getContext("2d");
    if (ctx) drawScene(ctx, view, level, layout.scene, picture, readTheme(document.body));
    return canvas;
  };
}

function stage(fault: Fault) {
  return (): HTMLElement => {
    const cluster = makeCluster({ nodes: 2, pods: 3 });
    const request = { from: "shop/web-0", to: "data/redis-0", proto: "tcp", dport: 80 } as const;
    const stage = new Stage({ onView: () => {}, onWhole: () => {}, onLeave: () => {} });
    stage.show(sampleTrace(cluster, request, fault), FIRST_VIEW);
    return stage.element;
  };
}

const SCENES: Record<string, Scene> = {
  tiles: {
    theme: "light",
    width: 320,
    height: 230,
    show: map({ nodes: 400, pods: 1, rack: 40, troubled: true }, "whole"),
  },
  cards: {
    theme: "dark",
    width: 480,
    height: 300,
    show: map({ nodes: 6, pods: 30, vxlan: true, troubled: true }, "card"),
  },
  pods: {
    theme: "light",
    width: 480,
    height: 420,
    show: map({ nodes: 3, pods: 5, vxlan: true, troubled: true }, "pods"),
  },
  links: {
    theme: "dark",
    width: 560,
    height: 420,
    show: map({ nodes: 3, pods: 5, twoNics: true, troubled: true }, "links"),
  },
  path: { theme: "light", width: 860, height: 520, show: stage("none") },
  failure: { theme: "dark", width: 860, height: 520, show: stage("no-route") },
};

interface Difference {
  /** The share of pixels that differ, 0 to 1. */
  share: number;
  /** Those pixels in red over the new picture, as a data URL. */
  picture: string;
}

declare global {
  interface Window {
    scenes: {
      readonly all: Record<string, { theme: string; width: number; height: number }>;
      /** Show one scene alone, at the page's top left corner. */
      show(name: string): Promise<void>;
      /** Compare two pictures of one size, given as PNGs in base64. */
      compare(before: string, now: string): Promise<Difference>;
    };
  }
}

async function show(name: string): Promise<void> {
  const scene = SCENES[name];
  if (!scene) throw new Error(`no scene ${name}`);
  document.documentElement.dataset.theme = scene.theme;
  await Promise.all([document.fonts.load("400 13px Inter"), document.fonts.load("600 13px Inter")]);
  const frame = document.createElement("div");
  frame.className = "scene";
  frame.style.width = `${scene.width}px`;
  frame.style.height = `${scene.height}px`;
  document.body.replaceChildren(frame);
  frame.append(scene.show(scene));
  // What follows its own size is drawn again when it is known.
  for (let i = 0; i < 2; i += 1) await new Promise((done) => requestAnimationFrame(done));
}

/** A channel that differs by less is the same: a smoothed edge. */
const LEAST = 24;

async function pixelsOf(png: string): Promise<ImageData> {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const ctx = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  ctx.drawImage(image, 0, 0);
  return ctx.getImageData(0, 0, image.width, image.height);
}

async function compare(before: string, now: string): Promise<Difference> {
  const [a, b] = await Promise.all([pixelsOf(before), pixelsOf(now)]);
  if (a.width !== b.width || a.height !== b.height) return { share: 1, picture: "" };
  let count = 0;
  for (let i = 0; i < a.data.length; i += 4) {
    const apart = [0, 1, 2].some((c) => Math.abs((a.data[i + c] ?? 0) - (b.data[i + c] ?? 0)) > LEAST);
    if (apart) count += 1;
    b.data.set(apart ? [255, 0, 0, 255] : [0, 1, 2].map((c) => 190 + (b.data[i + c] ?? 0) / 4), i);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: b.width, height: b.height });
  canvas.getContext("2d")?.putImageData(b, 0, 0);
  return { share: count / (a.width * a.height), picture: canvas.toDataURL("image/png") };
}

window.scenes = { all: SCENES, show, compare };

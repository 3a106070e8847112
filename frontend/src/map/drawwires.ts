// The wires from a group's line to its pods, with a port at one end and a mark where they come to the pod.

import type { Cell, Group, Point } from "../layout/scene.js";
import { type Tone, worst } from "../overlays/overlay.js";
import { at, isPicked, type Pen, stroke } from "./pen.js";
import { linkFault, shadeOf } from "./picture.js";
import { fillOf, type Line, lineOf } from "./tones.js";

/** Wires nearer to each other than this, in CSS pixels, are drawn as one with a branch to each pod. */
const LEAST_APART = 2;

/** A wire where it is drawn: side by side with others, or with them as one. */
function drawnWire(wire: Point[], middle: number | null): Point[] {
  return middle === null || wire.length === 2
    ? wire
    : wire.map((point, i) => (i === wire.length - 1 ? point : { x: middle, y: point.y }));
}

export function drawPodWires(pen: Pen, cell: Cell, group: Group): void {
  const { theme, picture, ctx } = pen;
  const alike = new Map<string, { line: Line; isMarked: boolean; wires: Point[][] }>();
  const picked: Point[][] = [];
  const ports = new Map<Tone, Point[]>();
  const apart = group.wireStep * pen.view.k;
  const isComb = apart < LEAST_APART;
  for (const tile of group.tiles) {
    if (tile.wire.length < 2) continue;
    const points = at(pen, cell, drawnWire(tile.wire, isComb ? tile.x - group.wireMiddle : null));
    const host = tile.hostLink ? picture.link(tile.hostLink) : undefined;
    const inside = tile.podLink ? picture.link(tile.podLink) : undefined;
    const fault = linkFault(host) ?? linkFault(inside);
    const { tone } = worst([shadeOf(picture, tile.hostLink), shadeOf(picture, tile.podLink)]);
    const key = `${tone} ${fault !== null}`;
    const known = alike.get(key);
    const isMarked = fault !== null || tone === "bad" || tone === "warn";
    if (known) known.wires.push(points);
    else alike.set(key, { line: lineOf(theme, tone, fault !== null), isMarked, wires: [points] });
    if ((tile.hostLink && isPicked(pen, tile.hostLink)) || (tile.podLink && isPicked(pen, tile.podLink)))
      picked.push(points);
    const port = shadeOf(picture, tile.hostLink).tone;
    ports.set(port, [...(ports.get(port) ?? []), points[0] as Point]);
  }
  for (const { line, isMarked, wires } of alike.values()) {
    stroke(
      pen,
      line.colour,
      isMarked || isComb ? line.width : Math.min(line.width, apart * 0.5),
      wires,
      line.dash,
    );
    drawPodEnds(pen, line.colour, wires);
  }
  stroke(pen, theme.text, 2.5, picked);
  const width = isComb ? 2 : Math.max(1, Math.min(4, apart * 0.6));
  const height = Math.max(4, Math.min(8, 7 * pen.view.k + 2));
  for (const [tone, points] of ports) {
    const isMarked = tone === "bad" || tone === "warn";
    // Without a bridge a port is drawn only for what is wrong there.
    if (group.kind !== "bridge" && !isMarked) continue;
    ctx.fillStyle = isMarked ? fillOf(theme, tone) : theme.text;
    ctx.beginPath();
    for (const point of points) ctx.rect(point.x - width / 2, point.y - height / 2, width, height);
    ctx.fill();
  }
}

/** Where wires end at their pods. */
function drawPodEnds({ ctx, view }: Pen, colour: string, wires: Point[][]): void {
  if (view.k < 0.4) return;
  const [long, short] = [Math.max(4, 8 * view.k), 2];
  ctx.fillStyle = colour;
  ctx.beginPath();
  for (const wire of wires) {
    const [before, end] = [wire.at(-2), wire.at(-1)];
    if (!before || !end) continue;
    const [w, h] = before.y === end.y ? [short, long] : [long, short];
    ctx.rect(end.x - w / 2, end.y - h / 2, w, h);
  }
  ctx.fill();
}

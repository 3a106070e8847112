// The lines between nodes: each subnet's line of the underlay, to which nodes hang by their NICs; the overlay's dotted
// rail, to which they hang by their tunnels' ends; the trunk that joins a block's rows; and the way out.

import * as m from "../layout/metrics.js";
import { nicRect } from "../layout/nodeplan.js";
import type { Block, Cell, Point, Scene } from "../layout/scene.js";
import { cellsWithin, laneX, laneY, rowTop } from "../layout/scene.js";
import { outsidePoint } from "../layout/wires.js";
import type { Tone } from "../overlays/overlay.js";
import { tunnelName } from "../overlays/tunnels.js";
import { isNear, type Pen, SMALL_PX, seen, setFont, stroke, sx, sy, write } from "./pen.js";
import { linkFault, shadeOf } from "./picture.js";
import { firstThatFits, textWidth } from "./text.js";
import { lineOf } from "./tones.js";

interface Hang {
  x: number;
  lane: number;
  cell: Cell;
  tone: Tone;
  isDown: boolean;
}

export function drawRails(pen: Pen, scene: Scene, block: Block): void {
  const rows = rowsOf(pen, scene, block);
  const overlay = scene.lanes.length;
  const ends: Cell[] = [];
  const lastOfLane = new Map<number, number>();
  const overlays: { row: number; tunnels: Hang[] }[] = [];
  for (const { row, cells } of rows) {
    const nics = cells.flatMap((cell) => nicsOf(pen, scene, cell));
    for (let lane = 0; lane < overlay; lane += 1) {
      const hanging = nics.filter((nic) => nic.lane === lane);
      if (hanging.length === 0) continue;
      lastOfLane.set(lane, row);
      drawLane(pen, block, row, lane, hanging);
    }
    const tunnels = cells.flatMap((cell) => tunnelsOf(pen, scene, cell));
    if (tunnels.length > 0) {
      lastOfLane.set(overlay, row);
      overlays.push({ row, tunnels });
    }
    ends.push(...cells);
  }
  for (const { row, tunnels } of overlays) drawOverlay(pen, block, row, overlay, tunnels, hasTrunk(block));
  // An only row's lines lead nowhere else, but for the first one: out.
  if (!hasTrunk(block)) for (const lane of lastOfLane.keys()) if (lane > 0) lastOfLane.delete(lane);
  drawTrunk(pen, scene, block, lastOfLane);
  drawLaneNames(pen, scene, block, rows);
  drawOutside(pen, block, ends);
}

/** Whether there are rows of an overlay's line to join. */
function hasTrunk(block: Block): boolean {
  return block.cells.length > block.cols;
}

/** The rows that are seen, each with its nodes that reach into sight. */
function rowsOf(pen: Pen, scene: Scene, block: Block): { row: number; cells: Cell[] }[] {
  const part = cellsWithin(block, seen(pen.view, 120));
  const rows = [];
  for (let row = part.firstRow; row < part.lastRow; row += 1) {
    const cells = block.cells
      .slice(row * block.cols, (row + 1) * block.cols)
      .flatMap((name) => (name == null ? [] : (scene.cells.get(name) ?? [])));
    if (cells.length > 0) rows.push({ row, cells });
  }
  return rows;
}

/** A node's NICs: as its details have them, else as its subnets tell. */
function nicsOf(pen: Pen, scene: Scene, cell: Cell): Hang[] {
  const box = isNear(pen, "pods") ? scene.boxes.get(cell.name) : undefined;
  if (box)
    return box.nics.map((nic) => ({
      x: cell.x + nic.x + nic.w / 2,
      lane: nic.lane,
      cell,
      ...stateOfLink(pen, nic.link),
    }));
  const subnets = pen.picture.node(cell.name)?.subnets ?? [];
  return subnets.slice(0, 4).map(({ dev }, i) => {
    const rect = nicRect(i);
    return {
      x: cell.x + rect.x + rect.w / 2,
      lane: scene.laneOf(cell.name, dev),
      cell,
      tone: "none",
      isDown: false,
    };
  });
}

function stateOfLink({ picture }: Pen, key: string): Pick<Hang, "tone" | "isDown"> {
  return { tone: shadeOf(picture, key).tone, isDown: linkFault(picture.link(key)) !== null };
}

function tunnelsOf(pen: Pen, scene: Scene, cell: Cell): Hang[] {
  const box = scene.boxes.get(cell.name);
  return (box?.tunnels ?? []).map((tunnel) => ({
    x: cell.x + tunnel.x + tunnel.w / 2,
    lane: 0,
    cell,
    ...stateOfLink(pen, tunnel.link),
  }));
}

function dim(pen: Pen): void {
  pen.ctx.globalAlpha = pen.picture.lit ? 0.5 : 1;
}

function drawLane(pen: Pen, block: Block, row: number, lane: number, hanging: Hang[]): void {
  const { view, theme } = pen;
  const y = sy(view, rowTop(block, row) + laneY(lane));
  const isJoined = lane === 0 || hasTrunk(block);
  const from = sx(view, isJoined ? block.x + laneX(lane) : Math.min(...hanging.map((nic) => nic.x)));
  const to = sx(view, Math.max(...hanging.map((nic) => nic.x)));
  dim(pen);
  stroke(pen, theme["line-strong"], 2, [
    [
      { x: from, y },
      { x: to, y },
    ],
  ]);
  const styles = new Map(hanging.map((nic) => [`${nic.tone} ${nic.isDown}`, nic]));
  for (const { tone, isDown } of styles.values()) {
    const drops = hanging
      .filter((nic) => nic.tone === tone && nic.isDown === isDown)
      .map((nic) => [
        { x: sx(view, nic.x), y },
        { x: sx(view, nic.x), y: sy(view, nic.cell.y) },
      ]);
    const line = lineOf(theme, tone, isDown);
    stroke(pen, line.colour, line.width, drops, line.dash);
  }
  pen.ctx.globalAlpha = 1;
}

function drawOverlay(
  pen: Pen,
  block: Block,
  row: number,
  lane: number,
  ends: Hang[],
  isJoined: boolean,
): void {
  const { view, theme } = pen;
  const y = sy(view, rowTop(block, row) + laneY(lane));
  const from = sx(view, isJoined ? block.x + laneX(lane) : Math.min(...ends.map((end) => end.x)));
  const to = sx(view, Math.max(...ends.map((end) => end.x)));
  dim(pen);
  const lines: Point[][] = [
    [
      { x: from, y },
      { x: to, y },
    ],
  ];
  for (const end of ends)
    lines.push([
      { x: sx(view, end.x), y },
      { x: sx(view, end.x), y: sy(view, end.cell.y) },
    ]);
  stroke(pen, theme["line-strong"], 1.5, lines, [2, 3]);
  pen.ctx.globalAlpha = 1;
}

/** What joins the rows of a block, and leads out of it. */
function drawTrunk(pen: Pen, scene: Scene, block: Block, lastOfLane: Map<number, number>): void {
  const { view, theme } = pen;
  const overlay = scene.lanes.length;
  dim(pen);
  for (const [lane, row] of lastOfLane) {
    const x = sx(view, block.x + laneX(lane));
    const bottom = sy(view, rowTop(block, row) + laneY(lane));
    const top = lane === 0 ? rowTop(block, 0) - m.RAILS_H + 18 : rowTop(block, 0) + laneY(lane);
    const line = [
      [
        { x, y: sy(view, top) },
        { x, y: bottom },
      ],
    ];
    if (lane === overlay) stroke(pen, theme["line-strong"], 1.5, line, [2, 3]);
    else stroke(pen, theme["line-strong"], 2, line);
  }
  pen.ctx.globalAlpha = 1;
}

/** What each line is, once a block: behind its end in the first row that is seen. The block's title says it of an only line. */
function drawLaneNames(pen: Pen, scene: Scene, block: Block, rows: { row: number; cells: Cell[] }[]): void {
  const first = rows.find(({ row }) => sy(pen.view, rowTop(block, row) - m.RAIL_RISE) > 24);
  if (!first || !isNear(pen, "pods")) return;
  const names = new Map<number, string>();
  const vnis = new Set(
    first.cells.flatMap((cell) =>
      (scene.boxes.get(cell.name)?.tunnels ?? []).map((tunnel) => overlayName(pen, tunnel.link)),
    ),
  );
  if (vnis.size > 0) names.set(scene.lanes.length, [...vnis].join(", "));
  if (scene.lanes.length > 1) scene.lanes.forEach((label, lane) => void names.set(lane, label));
  const right = Math.min(pen.view.width - 12, sx(pen.view, lastEdge(first.cells)));
  const nics = first.cells.flatMap((cell) => nicsOf(pen, scene, cell));
  const tunnels = first.cells.flatMap((cell) => tunnelsOf(pen, scene, cell));
  for (const [lane, text] of names) {
    // What hangs from a line that is farther off crosses this one.
    const hanging = [...nics.filter((nic) => nic.lane >= lane), ...tunnels];
    const end = Math.max(Number.NEGATIVE_INFINITY, ...hanging.map((one) => sx(pen.view, one.x)));
    writeLaneName(pen, text, end + 8, right, sy(pen.view, rowTop(block, first.row) + laneY(lane)));
  }
}

/** The right edge of a row's last node. */
function lastEdge(cells: Cell[]): number {
  return Math.max(...cells.map((cell) => cell.x + cell.w));
}

/** Where a line is at its end, as far as there is room: lines may be too near one above the other for a name between them. */
function writeLaneName(pen: Pen, text: string, left: number, right: number, line: number): void {
  setFont(pen, SMALL_PX);
  const width = textWidth(pen.ctx, text);
  if (right - width < left) return;
  const rect = pen.labels.place([
    { x: left, y: line - 7, w: width, h: 14 },
    { x: right - width, y: line - 7, w: width, h: 14 },
  ]);
  if (rect) write(pen, text, rect.x, line, pen.theme.muted);
}

function overlayName(pen: Pen, key: string): string {
  const link = pen.picture.link(key);
  return link ? tunnelName(link) : "";
}

const OUTSIDE_R = 6;

/** The way out: the gateways that aren't nodes, as far as the routes of this block's nodes are known. */
function drawOutside(pen: Pen, block: Block, cells: Cell[]): void {
  const [cell] = cells;
  const { ctx, view, theme, labels } = pen;
  const { gateways } = pen.picture.facts(block);
  if (!cell || gateways.length === 0) return;
  const at = outsidePoint(cell);
  const [x, y] = [sx(view, at.x), sy(view, at.y)];
  // Half a circle at the window's edge would say nothing.
  if (x < OUTSIDE_R + 1 || y < OUTSIDE_R + 1) return;
  ctx.beginPath();
  ctx.arc(x, y, OUTSIDE_R, 0, Math.PI * 2);
  ctx.fillStyle = theme.surface;
  ctx.fill();
  ctx.strokeStyle = theme["line-strong"];
  ctx.lineWidth = 1.5;
  ctx.stroke();
  setFont(pen, SMALL_PX);
  const [first = "", ...others] = gateways;
  const all = `${others.length > 0 ? "routers" : "router"} ${gateways.join(", ")}`;
  const short = others.length > 0 ? `router ${first} and ${others.length} more` : `router ${first}`;
  const what = others.length > 0 ? "not nodes: the way out" : "not a node: the way out";
  const texts = [`${all}, ${what}`, all, `${short}, ${what}`, short, "router"];
  const text = firstThatFits(ctx, texts, Math.max(60, block.w * view.k - 60));
  const width = textWidth(ctx, text);
  if (labels.place([{ x: x + 12, y: y - 7, w: width, h: 14 }])) write(pen, text, x + 12, y, theme.muted);
}

// One node's box: frame, header, uplinks, devices, bridges.

import type { Health, NodeObj } from "../graph/model.js";
import * as m from "../layout/metrics.js";
import type { BarRow, Device, Group, NodeBox, Rect } from "../layout/scene.js";
import { laneOffset } from "../layout/scene.js";
import { drawTile, drawTrouble } from "./drawtile.js";
import { isPicked, type Pen, roundRect, sx, sy } from "./pen.js";
import { linkFault } from "./picture.js";
import { fitText, textWidth } from "./text.js";

export function drawNodeBox(pen: Pen, box: NodeBox, railY: number): void {
  const { ctx, detail, picture } = pen;
  const dimmed = picture.lit !== null && !picture.lit.nodes.has(box.name);
  ctx.globalAlpha = dimmed ? 0.45 : 1;
  const health = picture.nodeHealth(box.name);
  drawFrame(pen, box, health);
  if (detail.tiles) {
    if (detail.wires) drawUplinks(pen, box, railY);
    for (const group of box.groups) drawGroup(pen, box, group);
    for (const device of box.devices) drawDevice(pen, device);
  }
  drawHeader(pen, box, health);
  if (!detail.tiles) for (const group of box.groups) for (const tile of group.tiles) drawTrouble(pen, tile);
  ctx.globalAlpha = 1;
}

function drawFrame(pen: Pen, box: NodeBox, health: Health): void {
  const { ctx, view, theme, picture } = pen;
  const selected = picture.selected?.type === "node" && picture.selected.name === box.name;
  const hovered = picture.hovered?.type === "node" && picture.hovered.name === box.name;
  roundRect(ctx, view, box, 12 * Math.min(1, view.k + 0.15));
  const away = isAway(picture.node(box.name));
  ctx.fillStyle = away ? theme["box-off"] : theme.box;
  ctx.fill();
  ctx.lineWidth = selected ? 2.5 : 1;
  const colour = { ok: theme["box-line"], warning: theme.warn, error: away ? theme.warn : theme.bad }[health];
  ctx.strokeStyle = selected || hovered ? theme.accent : colour;
  ctx.setLineDash(away ? [5, 4] : []);
  ctx.stroke();
  ctx.setLineDash([]);
}

function drawUplinks(pen: Pen, box: NodeBox, railY: number): void {
  const { ctx, view, theme, picture, detail } = pen;
  const trunkX = box.x + m.TRUNK_X;
  const lastRow = box.groups.flatMap(joiningRows).at(-1);
  const lastDevice = box.devices.at(-1);
  const bottom = Math.max(lastRow?.y ?? 0, lastDevice ? lastDevice.y + lastDevice.h / 2 : 0, box.y + m.HUB_Y);
  ctx.strokeStyle = theme.wire;
  ctx.lineWidth = Math.max(1, 2 * view.k);
  ctx.beginPath();
  for (const nic of box.nics) {
    const x = sx(view, nic.x + nic.w / 2);
    ctx.moveTo(x, sy(view, railY - laneOffset(nic.lane)));
    ctx.lineTo(x, sy(view, box.y + m.HUB_Y));
    ctx.lineTo(sx(view, trunkX), sy(view, box.y + m.HUB_Y));
  }
  ctx.moveTo(sx(view, trunkX), sy(view, box.y + m.HUB_Y));
  ctx.lineTo(sx(view, trunkX), sy(view, bottom));
  for (const device of box.devices) {
    const y = sy(view, device.y + device.h / 2);
    ctx.moveTo(sx(view, trunkX), y);
    ctx.lineTo(sx(view, device.x), y);
  }
  ctx.stroke();
  if (detail.podNames) {
    ctx.beginPath();
    ctx.arc(sx(view, trunkX), sy(view, box.y + m.HUB_Y), 4.5 * Math.min(view.k, 1.4), 0, Math.PI * 2);
    ctx.fillStyle = theme.wire;
    ctx.fill();
  }
  for (const nic of box.nics) {
    const fault = linkFault(picture.link(nic.link));
    roundRect(ctx, view, nic, 3);
    ctx.fillStyle = fault ? theme.bad : isPicked(pen, nic.link) ? theme.accent : theme.bar;
    ctx.fill();
    if (detail.podAddrs && picture.captioned !== box.name)
      drawNicLabel(pen, nic, fault, box.nics.length === 1);
  }
}

/** The rows of a group that wires lead to from the trunk: a bridge's rows hang together by themselves. */
function joiningRows(group: Group): BarRow[] {
  if (group.kind === "detached") return [];
  return group.kind === "bridge" ? group.rows.slice(0, 1) : group.rows;
}

function drawNicLabel(pen: Pen, nic: Device, fault: string | null, isOnly: boolean): void {
  const { ctx, view, theme, picture } = pen;
  const link = picture.link(nic.link);
  ctx.font = `${smallSize(view.k)}px ${theme.sans}`;
  ctx.fillStyle = fault ? theme.bad : theme.muted;
  ctx.textBaseline = "bottom";
  const addr = link?.addrs[0] ? ` ${link.addrs[0]}` : "";
  const text = `${nic.ifname}${addr}${fault ? ` · ${fault}` : ""}`;
  const room = Math.max(40, m.NIC_PITCH * view.k - 24);
  ctx.fillText(isOnly ? text : fitText(ctx, text, room), sx(view, nic.x + nic.w) + 5, sy(view, nic.y) - 1);
}

/** Nothing is known of the node now: what is drawn of it is old, or missing. */
function isAway(node: NodeObj | undefined): boolean {
  return !node?.connected || node.not_understood !== null || node.leaves_in_s !== null;
}

function stateOf(node: NodeObj | undefined, health: Health, problems: number): string {
  if (node?.not_understood) return "not understood";
  if (node && node.leaves_in_s !== null) return "revoked";
  if (!node?.connected) return "disconnected";
  if (problems > 0) return problems === 1 ? "1 problem" : `${problems} problems`;
  if (!node.complete) return "incomplete";
  return health === "ok" ? "" : health;
}

function drawHeader(pen: Pen, box: NodeBox, health: Health): void {
  const { ctx, view, theme, picture, detail } = pen;
  const wide = box.w * view.k;
  if (wide < 30) return;
  const node = picture.node(box.name);
  const pods = `${box.podCount} ${box.podCount === 1 ? "pod" : "pods"}`;
  const size = wide < 90 ? 11 : wide < 180 ? 12 : Math.min(18, 14 * Math.max(1, Math.sqrt(view.k)));
  const beside = Math.max(m.GROUP_X * view.k, m.TRUNK_X * view.k + 14);
  const left = sx(view, box.x) + (detail.wires ? beside : Math.min(10, wide * 0.08));
  const right = sx(view, box.x + box.w) - Math.max(6, m.PAD * view.k);
  const state = stateOf(node, health, picture.problemsAt(box.name));
  const tone = health === "error" && !isAway(node) ? theme.bad : theme.warn;
  ctx.textBaseline = "middle";
  const hasSecond = view.k >= 0.72 && node !== undefined;
  const middle = headerMiddle(pen, box, hasSecond);
  ctx.textAlign = "right";
  ctx.font = `${Math.max(11, size - 2)}px ${theme.sans}`;
  const note = state ? (wide > 280 ? `${state} · ${pods}` : state) : pods;
  const noteWidth = wide > 124 ? ctx.measureText(note).width : 0;
  if (noteWidth > 0) {
    ctx.fillStyle = state ? tone : theme.muted;
    ctx.fillText(note, right, middle);
  }
  ctx.textAlign = "left";
  ctx.font = `600 ${size}px ${theme.sans}`;
  ctx.fillStyle = theme.text;
  const room = right - left - noteWidth - (noteWidth ? 10 : 0);
  const name = textWidth(ctx, box.name) <= room ? box.name : box.shortName || box.name;
  ctx.fillText(fitText(ctx, name, room, 2), left, middle);
  if (!detail.wires && wide > 44 && box.h * view.k > 44) {
    ctx.font = `11px ${theme.sans}`;
    ctx.fillStyle = state ? tone : theme.muted;
    const short = textWidth(ctx, pods) <= right - left ? pods : String(box.podCount);
    ctx.fillText(short, left, middle + 14);
  }
  if (hasSecond && node) {
    ctx.font = `${smallSize(view.k)}px ${theme.sans}`;
    ctx.fillStyle = theme.muted;
    const facts = listThatFits(ctx, node.pod_cidrs.length > 0 ? node.pod_cidrs : node.addrs, right - left);
    ctx.fillText(fitText(ctx, facts, right - left, 6), left, middle + size / 2 + smallSize(view.k) - 2);
  }
}

function drawGroup(pen: Pen, box: NodeBox, group: Group): void {
  const { ctx, view, theme, detail, picture } = pen;
  const k = view.k;
  const trunkX = sx(view, box.x + m.TRUNK_X);
  const fault = group.link ? linkFault(picture.link(group.link)) : null;
  const colour = fault ? theme.bad : group.link && isPicked(pen, group.link) ? theme.accent : theme.bar;
  if (detail.wires) {
    ctx.strokeStyle = theme.wire;
    ctx.lineWidth = Math.max(1, 2 * k);
    ctx.beginPath();
    for (const row of joiningRows(group)) {
      ctx.moveTo(trunkX, sy(view, row.y));
      ctx.lineTo(sx(view, group.kind === "bridge" ? row.x0 : row.x1), sy(view, row.y));
    }
    ctx.stroke();
    if (group.kind === "bridge") drawBridge(pen, group.rows, colour, fault !== null);
  }
  if (detail.podNames) drawGroupLabel(pen, group, fault);
  for (const tile of group.tiles) drawTile(pen, tile);
}

/** A bridge: one bar, or a comb of bars when its ports fill several rows. */
function drawBridge(pen: Pen, rows: BarRow[], colour: string, isFaulty: boolean): void {
  const { ctx, view } = pen;
  const [first, last] = [rows[0], rows.at(-1)];
  if (!first || !last) return;
  const half = m.BAR_H / 2;
  const shapes: Rect[] = rows.map((row) => ({ x: row.x0, y: row.y - half, w: row.x1 - row.x0, h: m.BAR_H }));
  if (rows.length > 1)
    shapes.push({ x: first.x0, y: first.y - half, w: m.SPINE_W, h: last.y - first.y + m.BAR_H });
  ctx.beginPath();
  for (const shape of shapes) {
    const radius = Math.min(4 * view.k, (shape.w * view.k) / 2);
    ctx.roundRect(sx(view, shape.x), sy(view, shape.y), shape.w * view.k, shape.h * view.k, radius);
  }
  const alpha = ctx.globalAlpha;
  ctx.globalAlpha = alpha * (isFaulty ? 1 : Math.min(1, 0.45 + view.k));
  ctx.fillStyle = colour;
  ctx.fill();
  ctx.globalAlpha = alpha;
}

function drawGroupLabel(pen: Pen, group: Group, fault: string | null): void {
  const { ctx, view, theme, picture } = pen;
  const row = group.rows[0];
  if (!row) return;
  const link = group.link ? picture.link(group.link) : undefined;
  const above = group.tiles[0]?.podLink;
  const names = {
    bridge: group.ifname,
    over: `${(above && picture.link(above)?.kind) ?? "pods"} over ${group.ifname}`,
    routed: "routed, no bridge",
    detached: "not attached to this node",
  };
  const addr = group.kind === "bridge" && link?.addrs[0] && pen.detail.podAddrs ? `  ${link.addrs[0]}` : "";
  ctx.font = `500 ${smallSize(pen.view.k)}px ${theme.sans}`;
  ctx.textBaseline = "alphabetic";
  ctx.fillStyle = fault ? theme.bad : theme.muted;
  const x = sx(view, row.x0 + (group.kind === "bridge" ? m.GROUP_X - m.SPINE_X : 0));
  const text = `${names[group.kind]}${addr}${fault ? ` · ${fault}` : ""}`;
  ctx.fillText(text, x, sy(view, row.y - m.BAR_H / 2) - 4);
}

function drawDevice(pen: Pen, device: Device): void {
  const { ctx, view, theme, detail, picture } = pen;
  const link = picture.link(device.link);
  const y = sy(view, device.y + device.h / 2);
  roundRect(ctx, view, device, 12);
  ctx.fillStyle = theme.tile;
  ctx.fill();
  ctx.lineWidth = isPicked(pen, device.link) ? 2 : 1;
  ctx.strokeStyle = isPicked(pen, device.link) ? theme.accent : theme["tile-line"];
  ctx.stroke();
  if (!detail.podNames) return;
  ctx.font = `11px ${theme.sans}`;
  ctx.fillStyle = linkFault(link) ? theme.bad : theme.text;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const room = device.w * view.k - 12;
  const withVni = link?.vni != null ? `${device.ifname} · vni ${link.vni}` : device.ifname;
  const text = textWidth(ctx, withVni) <= room ? withVni : fitText(ctx, device.ifname, room);
  ctx.fillText(text, sx(view, device.x + device.w / 2), y);
  ctx.textAlign = "left";
}

/** Where the node's name stands: beside the trunk, higher when there is a second line, lower when far away. */
function headerMiddle(pen: Pen, box: NodeBox, hasSecond: boolean): number {
  const { view, detail } = pen;
  const top = sy(view, box.y);
  if (!detail.tiles) return top + Math.max(11, box.h * view.k * 0.25);
  return top + (hasSecond ? 36 * view.k - 6 : (detail.wires ? 40 : 34) * view.k);
}

/** As many items of a list as there is room for, and how many are left out. */
function listThatFits(ctx: CanvasRenderingContext2D, items: string[], room: number): string {
  for (let count = items.length; count > 1; count -= 1) {
    const more = count < items.length ? ` +${items.length - count}` : "";
    const text = `${items.slice(0, count).join(", ")}${more}`;
    if (textWidth(ctx, text) <= room) return text;
  }
  return items.length > 1 ? `${items[0]} +${items.length - 1}` : (items[0] ?? "");
}

/** Secondary text grows a little as one comes nearer. */
function smallSize(k: number): number {
  return Math.min(13.5, Math.max(11, 11.5 * Math.sqrt(k)));
}

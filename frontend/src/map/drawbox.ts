// A node and what is in it: NICs and tunnels on its edge, the hub that routes between them, other devices, and each
// bridge as one thin line with its ports, from which the pods hang.

import * as m from "../layout/metrics.js";
import type { Cell, Device, Group, NodeBox, Point } from "../layout/scene.js";
import { drawFrame, nicSquare, podsText, shadeOfNode, tunnelRing } from "./drawcard.js";
import { drawGhost, drawPods } from "./drawpod.js";
import { drawPodWires } from "./drawwires.js";
import { badge } from "./marks.js";
import {
  at,
  BODY_PX,
  inCell,
  isNear,
  isPicked,
  onScreen,
  type Pen,
  roundRect,
  SMALL_PX,
  setFont,
  stroke,
  write,
} from "./pen.js";
import { linkFault, shadeOf } from "./picture.js";
import { firstThatFits, fitText, textWidth } from "./text.js";
import { lineOf, markOf, textOf } from "./tones.js";

export function drawBox(pen: Pen, cell: Cell, box: NodeBox): void {
  drawFrame(pen, cell.name, onScreen(pen.view, cell), 8);
  drawWires(pen, cell, box);
  drawHeader(pen, cell, box);
  for (const device of box.devices) drawChip(pen, cell, device);
  drawMoreDevices(pen, cell, box);
  for (const ghost of box.ghosts) drawGhost(pen, cell, ghost);
  for (const group of box.groups) drawGroup(pen, cell, group);
  drawMore(pen, cell, box);
  drawEdge(pen, cell, box);
}

/** The wires inside: from the NICs and tunnels to the hub, and from there down to each group's line. */
function drawWires(pen: Pen, cell: Cell, box: NodeBox): void {
  const { ctx, theme } = pen;
  const joined = box.groups.filter((group) => group.kind !== "detached" && group.line.x1 > group.line.x0);
  const bottom = Math.max(m.HUB_Y, ...joined.map((group) => group.line.y));
  const lines: Point[][] = [];
  box.nics.forEach((nic, i) => {
    const x = nic.x + nic.w / 2;
    if (i === 0)
      lines.push([
        { x, y: 0 },
        { x, y: bottom },
      ]);
    else
      lines.push([
        { x, y: 0 },
        { x, y: m.NICS_Y },
        { x: m.TRUNK_X, y: m.NICS_Y },
      ]);
  });
  if (box.nics.length === 0 && (bottom > m.HUB_Y || box.tunnels.length > 0))
    lines.push([
      { x: m.TRUNK_X, y: box.tunnels.length > 0 ? m.TUNNELS_Y : m.HUB_Y },
      { x: m.TRUNK_X, y: bottom },
    ]);
  for (const { line } of joined)
    lines.push([
      { x: m.TRUNK_X, y: line.y },
      { x: line.x0, y: line.y },
    ]);
  stroke(
    pen,
    theme.wire,
    1.25,
    lines.map((points) => at(pen, cell, points)),
  );
  const tunnels = box.tunnels.map((tunnel) => {
    const x = tunnel.x + tunnel.w / 2;
    return at(pen, cell, [
      { x, y: 0 },
      { x, y: m.TUNNELS_Y },
      { x: m.TRUNK_X, y: m.TUNNELS_Y },
    ]);
  });
  if (tunnels.length > 0) stroke(pen, theme["line-strong"], 1.25, tunnels, [2, 3]);
  const [hub] = at(pen, cell, [{ x: m.TRUNK_X, y: m.HUB_Y }]) as [Point];
  const r = Math.max(3, m.HUB_R * pen.view.k * 0.75);
  ctx.beginPath();
  ctx.arc(hub.x, hub.y, r, 0, Math.PI * 2);
  ctx.fillStyle = theme.surface;
  ctx.fill();
  ctx.strokeStyle = theme["line-strong"];
  ctx.lineWidth = 1.5;
  ctx.stroke();
  if (r >= 6) drawSignpost(pen, hub, r);
}

/** Two arrows: here it is decided which way a packet goes. */
function drawSignpost(pen: Pen, hub: Point, r: number): void {
  const s = r * 0.5;
  stroke(pen, pen.theme.muted, 1.25, [
    [
      { x: hub.x - s, y: hub.y - s * 0.5 },
      { x: hub.x + s, y: hub.y - s * 0.5 },
    ],
    [
      { x: hub.x + s * 0.4, y: hub.y - s },
      { x: hub.x + s, y: hub.y - s * 0.5 },
      { x: hub.x + s * 0.4, y: hub.y },
    ],
    [
      { x: hub.x + s, y: hub.y + s * 0.5 },
      { x: hub.x - s, y: hub.y + s * 0.5 },
    ],
    [
      { x: hub.x - s * 0.4, y: hub.y },
      { x: hub.x - s, y: hub.y + s * 0.5 },
      { x: hub.x - s * 0.4, y: hub.y + s },
    ],
  ]);
}

function drawHeader(pen: Pen, cell: Cell, box: NodeBox): void {
  const { ctx, view, theme, picture } = pen;
  const k = view.k;
  const node = picture.node(cell.name);
  const shade = shadeOfNode(pen, cell.name);
  const mark = markOf(shade);
  const [start, end] = at(pen, cell, [
    { x: m.TRUNK_X + 20, y: m.HEAD_Y },
    { x: m.CELL_W - 18, y: m.HEAD_Y },
  ]) as [Point, Point];
  const word = shade.label;
  const pods = podsText(node?.pods ?? 0);
  setFont(pen, SMALL_PX);
  write(pen, pods, end.x, end.y, theme.muted, "right");
  const room = end.x - textWidth(ctx, pods) - 10 - start.x;
  setFont(pen, BODY_PX, 600);
  const name = fitText(ctx, cell.name, room - (mark === "ok" ? 0 : 20), 2);
  write(pen, name, start.x, start.y, theme.text);
  const nameWidth = textWidth(ctx, name);
  let x = start.x + nameWidth + 8;
  if (mark !== "ok") {
    badge(pen, x + 7, start.y, mark);
    x += 20;
  }
  setFont(pen, SMALL_PX, mark === "ok" ? 400 : 600);
  if (x + textWidth(ctx, word) < start.x + room) write(pen, word, x, start.y + 1, textOf(theme, shade.tone));
  if (m.HEAD_Y * k < 17) return;
  const y = start.y + Math.max(15, 26 * k);
  const cidrs = node?.pod_cidrs ?? [];
  const facts = cidrs.length > 0 ? [`pods ${cidrs.join(", ")}`, cidrs[0] ?? ""] : ["no pod range known"];
  setFont(pen, SMALL_PX);
  const limit = box.devices.at(-1)?.x ?? m.CELL_W - 18;
  const shown = firstThatFits(ctx, facts, (limit - m.TRUNK_X - 30) * k);
  if (y + 6 < start.y + (m.HUB_Y - m.HEAD_Y + 4) * k) write(pen, shown, start.x, y, theme.muted);
  drawRoutes(pen, cell, limit);
}

/** Beside the hub: how many routes lead elsewhere. */
function drawRoutes(pen: Pen, cell: Cell, limit: number): void {
  const routes = pen.picture.routesOf(cell.name);
  if (routes === null || pen.view.k < 0.7) return;
  const [hub] = at(pen, cell, [{ x: m.TRUNK_X + m.HUB_R + 10, y: m.HUB_Y }]) as [Point];
  const text = `${routes} ${routes === 1 ? "route" : "routes"}`;
  setFont(pen, SMALL_PX);
  const room = (limit - m.TRUNK_X - 40) * pen.view.k;
  const y = hub.y + 10;
  if (textWidth(pen.ctx, text) <= room) write(pen, text, hub.x - 4, y, pen.theme.muted);
}

/** A device that leads nowhere else: a name, and no wire. */
function drawChip(pen: Pen, cell: Cell, device: Device): void {
  const { ctx, theme, view } = pen;
  const rect = inCell(view, cell, device);
  if (rect.h < 9) return;
  const fault = linkFault(pen.picture.link(device.link));
  roundRect(ctx, rect, 4);
  ctx.fillStyle = theme.sunken;
  ctx.fill();
  ctx.strokeStyle = isPicked(pen, device.link) ? theme.text : theme.line;
  ctx.lineWidth = isPicked(pen, device.link) ? 2 : 1;
  ctx.stroke();
  if (rect.h < 14) return;
  setFont(pen, SMALL_PX);
  const text = fitText(ctx, device.ifname, rect.w - 8);
  write(pen, text, rect.x + rect.w / 2, rect.y + rect.h / 2, fault ? theme.bad : theme.muted, "center");
}

/** How many devices found no place. */
function drawMoreDevices(pen: Pen, cell: Cell, box: NodeBox): void {
  const last = box.devices.at(-1);
  if (box.moreDevices === 0) return;
  const right = last ? last.x - 8 : m.CELL_W - 18;
  const [corner] = at(pen, cell, [{ x: right, y: m.CHIP_Y + m.CHIP_H / 2 }]) as [Point];
  if (m.CHIP_H * pen.view.k < 14) return;
  setFont(pen, SMALL_PX);
  const text = `+${box.moreDevices}`;
  const width = textWidth(pen.ctx, text);
  const rect = pen.labels.place([{ x: corner.x - width, y: corner.y - 7, w: width, h: 14 }]);
  if (rect) write(pen, text, rect.x, corner.y, pen.theme.muted);
}

function drawGroup(pen: Pen, cell: Cell, group: Group): void {
  const { theme, picture } = pen;
  const fault = group.link ? linkFault(picture.link(group.link)) : null;
  const hasLine = group.kind !== "detached" && group.line.x1 > group.line.x0;
  if (hasLine) {
    const { x0, x1, y } = group.line;
    const points = at(pen, cell, [
      { x: x0, y },
      { x: x1, y },
    ]);
    const isBridge = group.kind === "bridge";
    const { tone } = shadeOf(picture, group.link);
    const plain = isBridge ? theme.text : theme["line-strong"];
    const isMarked = fault !== null || tone === "bad" || tone === "warn";
    const colour = isMarked ? lineOf(theme, tone, fault !== null).colour : plain;
    const isThick = group.link !== null && isPicked(pen, group.link);
    stroke(pen, colour, isThick ? 4 : isBridge ? 2 : 1.5, [points], fault ? [5, 3] : []);
  }
  drawGroupName(pen, cell, group, fault);
  drawPodWires(pen, cell, group);
  drawPods(pen, cell, group);
}

function drawGroupName(pen: Pen, cell: Cell, group: Group, fault: string | null): void {
  const { ctx, theme, view, picture, labels } = pen;
  const link = group.link ? picture.link(group.link) : undefined;
  const first = group.tiles[0]?.podLink;
  const names = {
    bridge: group.ifname,
    over: `${(first && picture.link(first)?.kind) ?? "pods"} over ${group.ifname}`,
    routed: "routed, no bridge",
    detached: "not attached to this node",
  };
  const [start, end] = at(pen, cell, [
    { x: group.line.x0 + 8, y: group.line.y },
    { x: m.PODS_X + m.PODS_W, y: group.line.y },
  ]) as [Point, Point];
  // A path along the line has room below it.
  const y = start.y - 13;
  if ((group.line.y - m.HUB_Y) * view.k < 24) return;
  setFont(pen, SMALL_PX, 600);
  const name = `${names[group.kind]}${fault ? `, ${fault}` : ""}`;
  const width = textWidth(ctx, name);
  if (!labels.place([{ x: start.x, y: y - 7, w: width, h: 14 }])) return;
  write(pen, name, start.x, y, fault ? theme.bad : theme.text);
  if (!link || group.kind !== "bridge") return;
  setFont(pen, SMALL_PX);
  const said = picture.overlay.link(link).label;
  const mtu = said || `MTU ${link.mtu}`;
  const mtuWidth = textWidth(ctx, mtu);
  const room = end.x - start.x - width - 8;
  const addrs = link.addrs.filter((addr) => !addr.startsWith("fe80:"));
  // Its MTU comes before its further addresses.
  const addr = firstThatFits(ctx, [addrs.join(", "), addrs[0] ?? ""], room - mtuWidth - 16);
  write(pen, addr, start.x + width + 8, y, theme.muted);
  const facts = firstThatFits(
    ctx,
    said ? [said] : [`${link.mac}  ${mtu}`, mtu],
    room - textWidth(ctx, addr) - 16,
  );
  const shown = isNear(pen, "links")
    ? facts
    : facts && mtuWidth <= room - textWidth(ctx, addr) - 16
      ? mtu
      : "";
  write(pen, shown, end.x, y, theme.muted, "right");
}

/** The pods for which there is no row, and how many they are. */
function drawMore(pen: Pen, cell: Cell, box: NodeBox): void {
  const small = box.groups.flatMap((group) => group.tiles.filter((tile) => tile.isSmall));
  const count = small.length + box.morePods;
  if (count === 0) return;
  const { theme, picture, view } = pen;
  const bad = small.filter((tile) => (picture.netns(tile.key)?.health ?? "ok") !== "ok").length;
  const [start] = at(pen, cell, [{ x: m.PODS_X, y: m.MORE_Y + m.MORE_SIZE + 12 }]) as [Point];
  if (view.k < 0.55) return;
  setFont(pen, SMALL_PX);
  const text = `${count} more ${count === 1 ? "pod" : "pods"}${bad > 0 ? `, ${bad} not well` : ""}`;
  write(pen, text, start.x, start.y, bad > 0 ? theme.bad : theme.muted);
}

/** What is on the top edge: NICs and tunnels' ends, with their names above. */
function drawEdge(pen: Pen, cell: Cell, box: NodeBox): void {
  const { ctx, view, theme, picture } = pen;
  const tunnelsFrom = Math.min(m.CELL_W, ...box.tunnels.map((tunnel) => tunnel.x));
  for (const nic of box.nics) {
    const isAlone = box.nics.length === 1;
    const rect = inCell(view, cell, nic);
    nicSquare(pen, rect, shadeOf(picture, nic.link).tone);
    if (isPicked(pen, nic.link)) {
      ctx.strokeStyle = theme.text;
      ctx.lineWidth = 2;
      ctx.strokeRect(rect.x - 3, rect.y - 3, rect.w + 6, rect.h + 6);
    }
    drawEdgeName(
      pen,
      nic.link,
      rect.x + rect.w / 2 + 10,
      rect.y + rect.h / 2,
      (isAlone ? tunnelsFrom - nic.x - m.NIC_SIZE / 2 : m.NIC_PITCH) * view.k - (isAlone ? 14 : 24),
      isAlone,
    );
  }
  for (const tunnel of box.tunnels) {
    const rect = inCell(view, cell, tunnel);
    tunnelRing(pen, rect, shadeOf(picture, tunnel.link).tone, isPicked(pen, tunnel.link));
    // The outermost one's name stays off the next node's.
    const isOutermost = tunnel === box.tunnels[0];
    const reach = m.CELL_W + m.TUNNEL_OVERHANG - tunnel.x - m.TUNNEL_R;
    const room = (isOutermost ? reach : m.TUNNEL_PITCH) * view.k;
    drawEdgeName(pen, tunnel.link, rect.x + rect.w / 2 + 10, rect.y + rect.h / 2, room - 14, false);
  }
}

function drawEdgeName(pen: Pen, key: string, x: number, edge: number, room: number, isAlone: boolean): void {
  const link = pen.picture.link(key);
  // The space between the edge and the first line.
  const height = m.RAIL_RISE * pen.view.k;
  if (!link || height < 15) return;
  const { ctx, theme, labels } = pen;
  const fault = linkFault(link);
  const name = `${link.ifname}${fault ? `, ${fault}` : ""}`;
  setFont(pen, SMALL_PX, 600);
  // Two lines stand wholly between the node's edge and the line above.
  const hasTwo = isNear(pen, "links") && height >= 38;
  const y = edge - (hasTwo ? Math.max(24, height / 2 + 7) : Math.max(9, height / 2));
  const shown = isAlone ? name : fitText(ctx, name, room);
  const width = textWidth(ctx, shown);
  if (!labels.place([{ x, y: y - 7, w: width, h: 14 }])) return;
  write(pen, shown, x, y, fault ? theme.bad : theme.text);
  setFont(pen, SMALL_PX);
  const shade = pen.picture.overlay.link(link);
  const addrs = link.addrs.map((_, i) => link.addrs.slice(0, link.addrs.length - i).join(", "));
  // Without its subnet's length, if nothing else has room.
  if (link.addrs[0]) addrs.push(link.addrs[0].split("/")[0] ?? "");
  const fit = (shade.label ? [shade.label] : addrs).filter(
    (text) => textWidth(ctx, text) <= room - width - 6,
  );
  const beside = fit.find((text) =>
    labels.place([{ x: x + width + 6, y: y - 7, w: textWidth(ctx, text), h: 14 }]),
  );
  if (beside) write(pen, beside, x + width + 6, y, textOf(theme, shade.tone));
  if (!hasTwo) return;
  const facts = firstThatFits(ctx, [`${link.mac}  MTU ${link.mtu}`, `MTU ${link.mtu}`], room);
  const below = { x, y: y + 7, w: textWidth(ctx, facts), h: 14 };
  if (labels.place([below])) write(pen, facts, x, y + 14, theme.muted);
}

// One pod: its port on the bar, its veth, its tile.

import type { Health, NetnsObj } from "../graph/model.js";
import { namespaceLabel } from "../layout/box.js";
import * as m from "../layout/metrics.js";
import type { PodTile } from "../layout/scene.js";
import { isPicked, type Pen, roundRect, sx, sy } from "./pen.js";
import { linkFault } from "./picture.js";
import { fitText, shortenAddr, textWidth } from "./text.js";

export function drawTile(pen: Pen, tile: PodTile): void {
  const { ctx, detail, picture } = pen;
  const alpha = ctx.globalAlpha;
  const onPath = picture.lit?.netns.has(tile.key) ?? true;
  if (!onPath) ctx.globalAlpha = Math.min(alpha, 0.5);
  const health = picture.podHealth(tile.key);
  if (detail.wires) drawVeth(pen, tile);
  drawFrame(pen, tile, health);
  if (detail.podNames) drawLabels(pen, tile);
  ctx.globalAlpha = alpha;
  if (health !== "ok") drawBadge(pen, tile, health);
}

/** From far away only the pods with trouble are to be seen. */
export function drawTrouble(pen: Pen, tile: PodTile): void {
  const health = pen.picture.podHealth(tile.key);
  if (health !== "ok") drawBadge(pen, tile, health);
}

function drawVeth(pen: Pen, tile: PodTile): void {
  if (!tile.port) return;
  const { ctx, view, theme, picture } = pen;
  const host = tile.hostLink ? picture.link(tile.hostLink) : undefined;
  const fault = linkFault(host);
  const picked =
    (tile.hostLink !== null && isPicked(pen, tile.hostLink)) ||
    (tile.podLink !== null && isPicked(pen, tile.podLink));
  const x = sx(view, tile.port.x);
  ctx.strokeStyle = fault ? theme.bad : picked ? theme.accent : theme.wire;
  ctx.lineWidth = picked ? 2.5 : Math.max(1, 1.75 * view.k);
  ctx.setLineDash(fault ? [4, 3] : []);
  ctx.beginPath();
  ctx.moveTo(x, sy(view, tile.port.y));
  ctx.lineTo(x, sy(view, tile.y));
  ctx.stroke();
  ctx.setLineDash([]);
  if (view.k < 0.4) return;
  const size = 8 * view.k;
  ctx.fillStyle = fault ? theme.bad : theme.box;
  ctx.strokeStyle = fault ? theme.bad : picked ? theme.accent : theme.bar;
  ctx.lineWidth = Math.max(1, 2 * view.k);
  ctx.beginPath();
  ctx.rect(x - size / 2, sy(view, tile.port.y) - size / 2, size, size);
  ctx.fill();
  ctx.stroke();
  if (pen.detail.links && host) drawLinkLabels(pen, tile, host.ifname, fault);
}

function drawLinkLabels(pen: Pen, tile: PodTile, ifname: string, fault: string | null): void {
  const { ctx, view, theme, picture } = pen;
  if (!tile.port) return;
  const inner = tile.podLink ? picture.link(tile.podLink) : undefined;
  ctx.font = `10.5px ${theme.sans}`;
  ctx.textBaseline = "middle";
  ctx.fillStyle = fault ? theme.bad : theme.muted;
  const x = sx(view, tile.port.x) + 5;
  const room = (m.TILE_W / 2) * view.k - 6;
  const top = sy(view, tile.port.y + m.BAR_H / 2);
  const bottom = sy(view, tile.y);
  ctx.fillText(fitText(ctx, fault ? `${ifname} · ${fault}` : ifname, room), x, top + (bottom - top) * 0.28);
  if (inner) {
    ctx.fillStyle = theme.muted;
    ctx.fillText(fitText(ctx, inner.ifname, room), x, top + (bottom - top) * 0.74);
  }
}

function drawFrame(pen: Pen, tile: PodTile, health: Health): void {
  const { ctx, view, theme, picture } = pen;
  const target = (other: typeof picture.selected) => other?.type === "pod" && other.key === tile.key;
  const selected = target(picture.selected) || picture.origin === tile.key;
  const fresh = picture.fresh.get(tile.key) ?? 0;
  if (fresh > 0) {
    const alpha = ctx.globalAlpha;
    ctx.globalAlpha = alpha * fresh;
    const spread = 4;
    roundRect(ctx, view, grow(tile, spread / view.k), 9);
    ctx.fillStyle = theme.fresh;
    ctx.fill();
    ctx.globalAlpha = alpha;
  }
  roundRect(ctx, view, tile, 7 * Math.min(1, view.k + 0.1));
  const isPod = picture.netns(tile.key)?.pod != null;
  const fill = {
    ok: isPod ? theme.tile : theme["tile-other"],
    warning: theme["warn-soft"],
    error: theme["bad-soft"],
  };
  ctx.fillStyle = selected ? theme["accent-soft"] : fill[health];
  ctx.fill();
  const line = { ok: theme["tile-line"], warning: theme.warn, error: theme.bad };
  ctx.strokeStyle = selected || target(picture.hovered) ? theme.accent : line[health];
  ctx.lineWidth = selected ? 2.5 : target(picture.hovered) ? 2 : view.k < 0.12 ? 0.5 : 1;
  ctx.setLineDash(isPod ? [] : [4, 3]);
  ctx.stroke();
  ctx.setLineDash([]);
  if (!picture.ringed.has(tile.key)) return;
  roundRect(ctx, view, grow(tile, 4 / view.k), 9);
  ctx.strokeStyle = theme.text;
  ctx.lineWidth = 1;
  ctx.stroke();
}

function drawLabels(pen: Pen, tile: PodTile): void {
  const { ctx, view, theme, picture } = pen;
  const ns = picture.netns(tile.key);
  if (!ns) return;
  const k = view.k;
  const size = Math.min(15, Math.max(11, 12 * Math.sqrt(k)));
  const pad = Math.max(4, 9 * Math.min(k, 1.3));
  const room = tile.w * k - 2 * pad;
  const x = sx(view, tile.x) + pad;
  const middle = sy(view, tile.y + tile.h / 2);
  const lines = [namespaceLabel(ns), ...factsOf(pen, tile, ns)];
  const pitch = size + Math.min(6, 3 * k + 1);
  ctx.textBaseline = "middle";
  lines.forEach((text, i) => {
    ctx.font = i === 0 ? `600 ${size}px ${theme.sans}` : `${size - 0.5}px ${theme.sans}`;
    ctx.fillStyle = i === 0 ? theme.text : theme.muted;
    const shown = isAddr(text)
      ? shortenAddr(text, room, (part) => textWidth(ctx, part))
      : fitText(ctx, text, room);
    ctx.fillText(shown, x, middle + (i - (lines.length - 1) / 2) * pitch);
  });
}

function isAddr(text: string): boolean {
  return /^[\da-f]*[.:][\da-f.:/]+$/i.test(text);
}

/** What is written below a pod's name: the nearer one looks, the more. */
function factsOf(pen: Pen, tile: PodTile, ns: NetnsObj): string[] {
  const { detail, picture } = pen;
  const link = detail.linkFacts && tile.podLink ? picture.link(tile.podLink) : undefined;
  if (link) {
    const place = ns.pod ? [`namespace ${ns.pod.namespace}`] : [];
    return [...place, ...ns.addrs.slice(0, 2), `${link.mac} · mtu ${link.mtu}`];
  }
  const facts: string[] = [];
  const addr = ns.addrs[0]?.split("/")[0];
  if (detail.podAddrs && addr) facts.push(addr);
  if (detail.links && ns.pod) facts.push(ns.pod.namespace);
  return facts;
}

function drawBadge(pen: Pen, tile: PodTile, health: Health): void {
  const { ctx, view, theme } = pen;
  const radius = Math.min(8, Math.max(2.5, 9 * view.k));
  const x = sx(view, tile.x + tile.w) - radius * 0.4;
  const y = sy(view, tile.y) + radius * 0.4;
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, Math.PI * 2);
  ctx.fillStyle = health === "error" ? theme.bad : theme.warn;
  ctx.fill();
  ctx.lineWidth = 1.5;
  ctx.strokeStyle = theme.box;
  ctx.stroke();
  if (radius < 5) return;
  ctx.font = `700 ${radius * 1.4}px ${theme.sans}`;
  ctx.fillStyle = theme["bar-text"];
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  ctx.fillText(health === "error" ? "!" : "?", x, y + 0.5);
  ctx.textAlign = "left";
}

function grow(rect: { x: number; y: number; w: number; h: number }, by: number) {
  return { x: rect.x - by, y: rect.y - by, w: rect.w + 2 * by, h: rect.h + 2 * by };
}

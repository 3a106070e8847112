// Draws a scene: a function of data, a camera and a theme. No fetch, no layout, no state.
//
// Lines and boxes scale with the camera; text has the screen's size and appears when there is room
// for it (semantic zoom), so that it is always readable.

import type { Scene } from "../layout/scene.js";
import { laneOffset } from "../layout/scene.js";
import { drawNodeBox } from "./drawnode.js";
import { detailAt, isVisible, type Pen, sx, sy, type View } from "./pen.js";
import type { Picture } from "./picture.js";
import type { Theme } from "./theme.js";

export function drawScene(
  ctx: CanvasRenderingContext2D,
  view: View,
  scene: Scene,
  picture: Picture,
  theme: Theme,
): void {
  ctx.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  ctx.fillStyle = theme["map-bg"];
  ctx.fillRect(0, 0, view.width, view.height);
  const pen: Pen = { ctx, view, detail: detailAt(view.k), picture, theme };
  drawRails(pen, scene);
  for (const box of scene.nodes) {
    if (isVisible(view, box)) drawNodeBox(pen, box, scene.rails[box.row]?.y ?? box.y);
  }
}

function drawRails(pen: Pen, scene: Scene): void {
  const { ctx, view, theme } = pen;
  const faded = pen.picture.lit !== null;
  ctx.strokeStyle = theme.rail;
  ctx.globalAlpha = faded ? 0.6 : 1;
  ctx.lineWidth = Math.max(1.5, 5 * view.k);
  ctx.lineCap = "round";
  ctx.lineJoin = "round";
  ctx.beginPath();
  for (const offset of scene.lanes.map((_, lane) => laneOffset(lane))) {
    const left = scene.trunk ? offset : 0;
    for (const rail of scene.rails) {
      ctx.moveTo(sx(view, rail.x0 - left), sy(view, rail.y - offset));
      ctx.lineTo(sx(view, rail.x1), sy(view, rail.y - offset));
    }
    if (scene.trunk) {
      ctx.moveTo(sx(view, scene.trunk.x - left), sy(view, scene.trunk.y0 - offset));
      ctx.lineTo(sx(view, scene.trunk.x - left), sy(view, scene.trunk.y1 - offset));
    }
  }
  ctx.stroke();
  ctx.globalAlpha = 1;
  const first = scene.rails[0];
  if (first && view.k > (scene.lanes.length > 1 ? 0.6 : 0.18)) {
    ctx.font = `500 11px ${theme.sans}`;
    ctx.fillStyle = theme.muted;
    ctx.textBaseline = "bottom";
    ctx.textAlign = "right";
    scene.lanes.forEach((label, lane) => {
      ctx.fillText(label, sx(view, first.x1), sy(view, first.y - laneOffset(lane)) - 5);
    });
    ctx.textAlign = "left";
  }
}

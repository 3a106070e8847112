// How much is drawn, by the width of one node's cell on the screen.

import { CELL_W } from "../layout/metrics.js";

/** From far to near: a tile; a tile with the name in it; a card; bridge, ports and pods; the links' facts besides. */
export const LEVELS = ["tile", "name", "card", "pods", "links"] as const;
export type Level = (typeof LEVELS)[number];

/** From which width on, in CSS pixels, a level is drawn. */
const FROM: Record<Level, number> = { tile: 0, name: 52, card: 120, pods: 260, links: 480 };
/** A level is left only when the width is this much beyond its border. */
const HYSTERESIS = 0.1;

/** The level for a scale, where `before` is drawn now. */
export function levelAt(k: number, before: Level | null): Level {
  const width = CELL_W * k;
  let level: Level = "tile";
  for (const next of LEVELS) {
    const isNearer = before === null || LEVELS.indexOf(next) > LEVELS.indexOf(before);
    const from = before === null ? FROM[next] : FROM[next] * (isNearer ? 1 + HYSTERESIS : 1 - HYSTERESIS);
    if (width >= from) level = next;
  }
  return level;
}

export function isAtLeast(level: Level, least: Level): boolean {
  return LEVELS.indexOf(level) >= LEVELS.indexOf(least);
}

/** A width at which a level is drawn, whatever was drawn before. */
export function widthOf(level: Level): number {
  return FROM[level] * (1 + 2 * HYSTERESIS);
}

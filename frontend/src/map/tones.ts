// The overlays' tones as colours, and as the marks that go with them: each state that matters has a shape, too.

import type { Shade, Tone } from "../overlays/overlay.js";
import type { NodeState } from "./picture.js";
import type { Theme } from "./theme.js";

/** The colour of something filled: a tile, a bar. What isn't known is an outline, and has none. */
export function fillOf(theme: Theme, tone: Tone): string {
  return {
    none: theme["tile-soft"],
    ok: theme.tile,
    r1: theme["ramp-1"],
    r2: theme["ramp-2"],
    r3: theme["ramp-3"],
    r4: theme["ramp-4"],
    warn: theme["warn-fill"],
    bad: theme["bad-fill"],
    unknown: theme["map-bg"],
  }[tone];
}

export interface Line {
  colour: string;
  width: number;
  dash: number[];
}

/** How a line is drawn. Only what carries nothing is dashed in red: an error at a link that is up doesn't look like that. */
export function lineOf(theme: Theme, tone: Tone, isDown: boolean): Line {
  if (isDown) return { colour: theme.bad, width: 1.5, dash: [4, 3] };
  switch (tone) {
    case "none":
    case "ok":
      return { colour: theme.wire, width: 1.25, dash: [] };
    case "unknown":
      return { colour: theme.wire, width: 1.25, dash: [1.5, 3] };
    case "warn":
      return { colour: theme.warn, width: 2, dash: [] };
    case "bad":
      return { colour: theme.bad, width: 3, dash: [] };
    default:
      return { colour: fillOf(theme, tone), width: { r1: 1.5, r2: 2, r3: 2.5, r4: 3.5 }[tone], dash: [] };
  }
}

export function textOf(theme: Theme, tone: Tone): string {
  if (tone === "bad") return theme.bad;
  return tone === "warn" ? theme.warn : theme.muted;
}

/** The mark that goes with a tone. */
export function markOf({ tone }: Shade): NodeState {
  return tone === "bad" ? "error" : tone === "warn" ? "warning" : tone === "unknown" ? "away" : "ok";
}

/** Whether a tone is a step of the ramp. */
export function isStep(tone: Tone): boolean {
  return tone.startsWith("r");
}

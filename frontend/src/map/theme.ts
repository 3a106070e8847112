// The map's colours, read from the style sheet's custom properties so that page and canvas agree.

const NAMES = [
  "map-bg",
  "surface",
  "sunken",
  "text",
  "muted",
  "line",
  "line-strong",
  "wire",
  "tile",
  "tile-soft",
  "bad",
  "bad-soft",
  "bad-fill",
  "on-bad",
  "warn",
  "warn-soft",
  "warn-fill",
  "on-warn",
  "sel-soft",
  "ramp-1",
  "ramp-2",
  "ramp-3",
  "ramp-4",
] as const;

export type Theme = Record<(typeof NAMES)[number], string> & { sans: string; mono: string };

export function readTheme(element: Element): Theme {
  const style = getComputedStyle(element);
  const theme: Record<string, string> = {};
  for (const name of [...NAMES, "sans", "mono"]) theme[name] = style.getPropertyValue(`--${name}`).trim();
  return theme as Theme;
}

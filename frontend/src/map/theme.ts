// The map's colours, read from the style sheet's custom properties so that page and canvas agree.

const NAMES = [
  "map-bg",
  "box",
  "box-line",
  "box-off",
  "tile",
  "tile-line",
  "tile-other",
  "bar",
  "bar-text",
  "wire",
  "rail",
  "text",
  "muted",
  "accent",
  "accent-soft",
  "bad",
  "bad-soft",
  "warn",
  "warn-soft",
  "fresh",
] as const;

export type Theme = Record<(typeof NAMES)[number], string> & { sans: string; mono: string };

export function readTheme(element: Element): Theme {
  const style = getComputedStyle(element);
  const theme: Record<string, string> = {};
  for (const name of [...NAMES, "sans", "mono"]) theme[name] = style.getPropertyValue(`--${name}`).trim();
  return theme as Theme;
}

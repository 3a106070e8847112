// Text on the canvas: fonts that are set only when they change, widths that are measured once, and shortening in the middle
// (a pod's name tells its workload at the front and its replica at the end). While one zooms, each frame has other
// room for each name: what is tried is added up from its characters, not measured.

interface Font {
  name: string;
  widths: Map<string, number>;
  chars: Map<string, number>;
}

const fonts = new Map<string, Font>();
const LIMIT = 20_000;
/** The font that a canvas has now. Setting and reading `ctx.font` costs more than a short text. */
let current: { ctx: CanvasRenderingContext2D; font: Font } | null = null;
/** Of a name that is cut, the end that is kept: what tells replicas apart. */
const TAIL = 5;

/** A canvas begins a new picture: nothing is known of its font. */
export function forgetFont(): void {
  current = null;
}

export function useFont(ctx: CanvasRenderingContext2D, name: string): void {
  if (current?.ctx === ctx && current.font.name === name) return;
  let font = fonts.get(name);
  if (!font) {
    font = { name, widths: new Map(), chars: new Map() };
    fonts.set(name, font);
  }
  ctx.font = name;
  current = { ctx, font };
}

function fontOf(ctx: CanvasRenderingContext2D): Font {
  if (current?.ctx !== ctx) useFont(ctx, ctx.font);
  return (current as { font: Font }).font;
}

export function textWidth(ctx: CanvasRenderingContext2D, text: string): number {
  const { widths } = fontOf(ctx);
  const known = widths.get(text);
  if (known !== undefined) return known;
  if (widths.size > LIMIT) widths.clear();
  const width = ctx.measureText(text).width;
  widths.set(text, width);
  return width;
}

/** The width of a text as the sum of its characters': kerning makes it a little less. */
function roughWidth(ctx: CanvasRenderingContext2D, text: string): number {
  const { chars } = fontOf(ctx);
  let sum = 0;
  for (const char of text) {
    let width = chars.get(char);
    if (width === undefined) {
      width = ctx.measureText(char).width;
      chars.set(char, width);
    }
    sum += width;
  }
  return sum;
}

/** Shorten to `room`, keeping both ends; "" when fewer than `least` characters would be left. */
export function shorten(text: string, room: number, width: (text: string) => number, least = 3): string {
  if (width(text) <= room) return text;
  let low = 0;
  let high = text.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (width(cut(text, middle)) <= room) low = middle;
    else high = middle - 1;
  }
  return low < least ? "" : cut(text, low);
}

function cut(text: string, keep: number): string {
  const tail = Math.min(Math.max(Math.floor(keep / 2), keep - 3), TAIL);
  return `${text.slice(0, keep - tail)}…${tail > 0 ? text.slice(-tail) : ""}`;
}

export function fitText(ctx: CanvasRenderingContext2D, text: string, room: number, least = 3): string {
  if (textWidth(ctx, text) <= room) return text;
  return shorten(
    text,
    room,
    (part) => (part === text ? Number.POSITIVE_INFINITY : roughWidth(ctx, part)),
    least,
  );
}

/** The first of several texts, the fullest first, that has room; "" when none has. */
export function firstThatFits(ctx: CanvasRenderingContext2D, texts: string[], room: number): string {
  return texts.find((text) => textWidth(ctx, text) <= room) ?? "";
}

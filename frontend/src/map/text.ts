// Text on the canvas: a measuring cache, and shortening in the middle (a pod's name tells its
// workload at the front and its replica at the end).

const widths = new Map<string, number>();
const LIMIT = 20_000;
/** Of a name that is cut, the end that is kept: what tells replicas apart. */
const TAIL = 5;

export function textWidth(ctx: CanvasRenderingContext2D, text: string): number {
  const key = `${ctx.font}|${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  if (widths.size > LIMIT) widths.clear();
  const width = ctx.measureText(text).width;
  widths.set(key, width);
  return width;
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
  return shorten(text, room, (part) => textWidth(ctx, part), least);
}

/** The first of several texts, the fullest first, that has room; "" when none has. */
export function firstThatFits(ctx: CanvasRenderingContext2D, texts: string[], room: number): string {
  return texts.find((text) => textWidth(ctx, text) <= room) ?? "";
}

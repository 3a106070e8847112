// Text on the canvas: a measuring cache, and shortening in the middle (a pod's name tells its
// workload at the front and its replica at the end).

const widths = new Map<string, number>();
const LIMIT = 20_000;

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
  const tail = Math.min(Math.floor(keep / 2), 6);
  return `${text.slice(0, keep - tail)}…${tail > 0 ? text.slice(-tail) : ""}`;
}

/** Shorten an address from its front: what a node's addresses have in common is said once, on the bridge. */
export function shortenAddr(addr: string, room: number, width: (text: string) => number): string {
  let text = addr;
  for (let at = addr.search(/[.:]/); at >= 0 && width(text) > room; at = nextMark(addr, at))
    text = `…${addr.slice(at + 1)}`;
  return width(text) > room ? "" : text;
}

function nextMark(addr: string, at: number): number {
  const next = addr.slice(at + 1).search(/[.:]/);
  return next < 0 ? -1 : at + 1 + next;
}

export function fitText(ctx: CanvasRenderingContext2D, text: string, room: number, least = 3): string {
  return shorten(text, room, (part) => textWidth(ctx, part), least);
}

// A canvas that writes SVG: what the map's drawing uses of one, and no more. Pure, but for how wide text is.

export class SvgContext {
  fillStyle = "#000";
  strokeStyle = "#000";
  lineWidth = 1;
  lineCap = "butt";
  font = "400 11px sans-serif";
  textAlign = "left";
  textBaseline = "alphabetic";
  globalAlpha = 1;
  private readonly parts: string[] = [];
  private path = "";
  private dash: number[] = [];
  private clips = 0;
  private readonly open: number[] = [];

  constructor(private readonly widthOf: (text: string, font: string) => number) {}

  /** What was drawn, `overlay` over it. */
  document(width: number, height: number, overlay = ""): string {
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
      `${this.parts.join("")}${overlay}</svg>\n`
    );
  }

  setTransform(): void {}

  setLineDash(dash: number[]): void {
    this.dash = dash;
  }

  measureText(text: string): { width: number } {
    return { width: this.widthOf(text, this.font) };
  }

  save(): void {
    this.open.push(0);
  }

  restore(): void {
    this.parts.push("</g>".repeat(this.open.pop() ?? 0));
  }

  clip(): void {
    this.clips += 1;
    this.parts.push(
      `<clipPath id="clip${this.clips}"><path d="${this.path}"/></clipPath><g clip-path="url(#clip${this.clips})">`,
    );
    this.open.push((this.open.pop() ?? 0) + 1);
  }

  beginPath(): void {
    this.path = "";
  }

  closePath(): void {
    this.path += "Z";
  }

  moveTo(x: number, y: number): void {
    this.path += `M${n(x)},${n(y)}`;
  }

  lineTo(x: number, y: number): void {
    this.path += `L${n(x)},${n(y)}`;
  }

  rect(x: number, y: number, w: number, h: number): void {
    this.path += `M${n(x)},${n(y)}h${n(w)}v${n(h)}h${n(-w)}Z`;
  }

  roundRect(x: number, y: number, w: number, h: number, radius: number | number[] = 0): void {
    const r = Math.max(0, Math.min(Array.isArray(radius) ? (radius[0] ?? 0) : radius, w / 2, h / 2));
    const arc = (dx: number, dy: number) => `a${n(r)},${n(r)} 0 0 1 ${n(dx)},${n(dy)}`;
    this.path +=
      `M${n(x + r)},${n(y)}h${n(w - 2 * r)}${arc(r, r)}v${n(h - 2 * r)}${arc(-r, r)}` +
      `h${n(2 * r - w)}${arc(-r, -r)}v${n(2 * r - h)}${arc(r, -r)}Z`;
  }

  arc(x: number, y: number, r: number, from: number, to: number): void {
    const at = (angle: number) => `${n(x + r * Math.cos(angle))},${n(y + r * Math.sin(angle))}`;
    const isWhole = Math.abs(to - from) >= 2 * Math.PI - 1e-6;
    const middle = (from + to) / 2;
    this.path += `${this.path === "" ? "M" : "L"}${at(from)}`;
    // In two halves: an arc that ends where it begins is none.
    for (const [a, b] of [
      [from, middle],
      [middle, to],
    ] as const)
      this.path += `A${n(r)},${n(r)} 0 ${b - a > Math.PI ? 1 : 0} 1 ${at(b)}`;
    if (isWhole) this.path += "Z";
  }

  fill(): void {
    this.put(this.path, `fill="${xml(this.fillStyle)}"`);
  }

  stroke(): void {
    const dash = this.dash.length > 0 ? ` stroke-dasharray="${this.dash.map(n).join(" ")}"` : "";
    const cap = this.lineCap === "butt" ? "" : ` stroke-linecap="${this.lineCap}"`;
    this.put(
      this.path,
      `fill="none" stroke="${xml(this.strokeStyle)}" stroke-width="${n(this.lineWidth)}"${cap}${dash}`,
    );
  }

  fillRect(x: number, y: number, w: number, h: number): void {
    const before = this.path;
    this.path = "";
    this.rect(x, y, w, h);
    this.fill();
    this.path = before;
  }

  strokeRect(x: number, y: number, w: number, h: number): void {
    const before = this.path;
    this.path = "";
    this.rect(x, y, w, h);
    this.stroke();
    this.path = before;
  }

  fillText(text: string, x: number, y: number): void {
    const anchor = { right: "end", end: "end", center: "middle" }[this.textAlign] ?? "start";
    const baseline = this.textBaseline === "middle" ? ' dominant-baseline="central"' : "";
    this.parts.push(
      `<text x="${n(x)}" y="${n(y)}" fill="${xml(this.fillStyle)}" text-anchor="${anchor}"${baseline}` +
        `${this.alpha()} style="font:${xml(this.font)}">${xml(text)}</text>`,
    );
  }

  private put(path: string, how: string): void {
    if (path) this.parts.push(`<path d="${path}" ${how}${this.alpha()}/>`);
  }

  private alpha(): string {
    return this.globalAlpha === 1 ? "" : ` opacity="${n(this.globalAlpha)}"`;
  }
}

function n(value: number): string {
  return String(Math.round(value * 100) / 100);
}

export function xml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

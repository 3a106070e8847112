// What links carry (GET /api/rates), asked for again and again while something on the page wants it, with the last quarter
// of an hour of what was asked for. What isn't known is null, and never zero.

export interface Rate {
  rxBytes: number;
  txBytes: number;
  rxPackets: number;
  txPackets: number;
  dropped: number;
  errors: number;
}

export interface LinkRate {
  rate: Rate | null;
  /** What the link counted in all, in and out. */
  dropped: number;
  errors: number;
}

/** A moment of a link's history. */
export interface Sample {
  at: number;
  rate: Rate | null;
}

type Nodes = Record<
  string,
  { every_s: number; links: Record<string, { rate: number[] | null; dropped: number; errors: number }> }
>;

export interface RatesAnswer {
  nodes: Nodes;
}

/** Where the rates of some nodes' links are asked for. */
export function ratesPath(nodes: string[]): string {
  return `/api/rates?nodes=${nodes.map(encodeURIComponent).join()}`;
}

export const POLL_MS = 10_000;
export const KEPT_MS = 15 * 60_000;
/** Nodes that are asked for at once; the server answers for 200. */
export const MOST_NODES = 100;

export class Rates {
  private readonly links = new Map<string, LinkRate>();
  private readonly past = new Map<string, Sample[]>();
  private readonly wants = new Map<string, readonly string[]>();
  private timer: number | undefined;
  private isAsking = false;
  private lastAsked = new Set<string>();
  private listeners: (() => void)[] = [];

  constructor(
    private readonly ask: (nodes: string[]) => Promise<RatesAnswer>,
    private readonly now: () => number = Date.now,
  ) {}

  /** Somebody (`who`) wants the rates of some nodes' links from now on; none: no more. */
  want(who: string, nodes: readonly string[]): void {
    if (nodes.length > 0) this.wants.set(who, nodes);
    else this.wants.delete(who);
    if (this.wants.size === 0) {
      clearTimeout(this.timer);
      this.lastAsked.clear();
      // Nobody follows them any more: what was known grows old.
      this.links.clear();
    } else if (!this.isAsking && nodes.some((node) => !this.lastAsked.has(node))) void this.poll();
  }

  /** The nodes that are asked for, those who want few first. */
  get asked(): string[] {
    const lists = [...this.wants.values()].sort((a, b) => a.length - b.length);
    return [...new Set(lists.flat())].slice(0, MOST_NODES);
  }

  get(link: string): LinkRate | undefined {
    return this.links.get(link);
  }

  history(link: string): readonly Sample[] {
    return this.past.get(link) ?? [];
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Ask once, and again after a while as long as somebody wants it. */
  async poll(): Promise<void> {
    clearTimeout(this.timer);
    this.isAsking = true;
    const asked = this.asked;
    this.lastAsked = new Set(asked);
    try {
      const { nodes } = await this.ask(asked);
      this.take(nodes);
    } catch {
      // Nothing is known now; what was is not said of this moment.
      this.links.clear();
    }
    this.isAsking = false;
    for (const listener of this.listeners) listener();
    if (this.wants.size > 0) this.timer = setTimeout(() => void this.poll(), POLL_MS) as unknown as number;
  }

  private take(nodes: Nodes): void {
    const at = this.now();
    this.links.clear();
    for (const { links } of Object.values(nodes))
      for (const [key, { rate, dropped, errors }] of Object.entries(links)) {
        const known = rate && rateOf(rate);
        this.links.set(key, { rate: known, dropped, errors });
        const past = this.past.get(key) ?? [];
        past.push({ at, rate: known });
        this.past.set(key, past);
      }
    for (const [key, past] of this.past) {
      const first = past.findIndex((sample) => sample.at > at - KEPT_MS);
      if (first < 0) this.past.delete(key);
      else if (first > 0) past.splice(0, first);
    }
  }
}

function rateOf([
  rxBytes = 0,
  txBytes = 0,
  rxPackets = 0,
  txPackets = 0,
  dropped = 0,
  errors = 0,
]: number[]): Rate {
  return { rxBytes, txBytes, rxPackets, txPackets, dropped, errors };
}

/** Bits a second of so many bytes a second, with three figures. */
export function bitsText(bytes: number): string {
  let value = bytes * 8;
  if (value < 1) return "0 b/s";
  for (const unit of ["b/s", "kb/s", "Mb/s", "Gb/s"]) {
    if (value < 999.5 || unit === "Gb/s") return `${figures(value)} ${unit}`;
    value /= 1000;
  }
  return "";
}

/** A number with three figures at most. */
export function figures(value: number): string {
  if (value >= 99.95) return Math.round(value).toLocaleString("en");
  return value >= 9.995 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(2).replace(/\.?0+$/, "");
}

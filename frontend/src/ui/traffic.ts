// How many connections each of those who talk to a service has had since it is looked at: the server keeps no history of it.

import type { ServiceDetail } from "../kube.js";
import { KEPT_MS } from "../rates.js";
import { h } from "./dom.js";
import { sparkline, sparkOf } from "./sparkline.js";

interface Count {
  at: number;
  count: number;
}

export class Traffic {
  private readonly counts = new Map<string, Count[]>();
  private cells: (() => void)[] = [];

  constructor(private readonly now: () => number = Date.now) {}

  /** Something else is shown: nothing of before is kept. */
  reset(): void {
    this.counts.clear();
    this.cells = [];
  }

  /** Take what was just told of a service. */
  take(one: ServiceDetail): void {
    const at = this.now();
    const told = new Map(one.talkers.map((talker) => [`${talker.kind} ${talker.name}`, talker.conns]));
    for (const who of new Set([...told.keys(), ...this.counts.keys()])) {
      const past = (this.counts.get(who) ?? []).filter((sample) => sample.at > at - KEPT_MS);
      past.push({ at, count: told.get(who) ?? 0 });
      this.counts.set(who, past);
    }
  }

  /** The cells are about to be made anew. */
  begin(): void {
    this.cells = [];
  }

  /** How many connections somebody had since this is shown, as a line that is kept up to date. */
  countCell(kind: string, name: string): HTMLElement {
    const cell = h("span", { class: "traffic" });
    const draw = () => {
      const past = this.counts.get(`${kind} ${name}`) ?? [];
      const most = Math.max(0, ...past.map((sample) => sample.count));
      const line = sparkOf(past, this.now(), most, (sample) => sample.count);
      cell.replaceChildren(sparkline([{ name: "in", spark: line }]));
    };
    this.cells.push(draw);
    draw();
    return cell;
  }

  update(): void {
    for (const draw of this.cells) draw();
  }
}

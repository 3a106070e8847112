// Narrows a policy's matrix to some pods: what is typed stays while what is shown is drawn anew.

import type { Matrix } from "../kube.js";
import { h } from "./dom.js";
import { count } from "./names.js";
import { type Field, field } from "./policyasks.js";

const SETTLED_MS = 250;

export class Narrow {
  readonly element: HTMLElement;
  private readonly pods: Field;
  private readonly peers: Field;
  private timer = 0;

  constructor(private readonly onChange: () => void) {
    this.pods = field("Its pods", "name, workload or key=value", "narrow-pods");
    this.peers = field("Other ends", "name, workload or key=value", "narrow-peers");
    this.element = h("form", { class: "ask-form narrow", role: "search" }, this.pods.label, this.peers.label);
    this.element.addEventListener("submit", (event) => event.preventDefault());
    this.element.addEventListener("input", () => {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(this.onChange, SETTLED_MS);
    });
  }

  /** Begin anew: something else is shown. */
  reset(): void {
    window.clearTimeout(this.timer);
    this.pods.input.value = this.peers.input.value = "";
  }

  /** What is asked for, as the end of a path of the API. */
  get query(): string {
    const query = new URLSearchParams();
    const asked = { pods: this.pods.input.value.trim(), peers: this.peers.input.value.trim() };
    for (const [name, text] of Object.entries(asked)) if (text) query.set(name, text);
    const text = query.toString();
    return text ? `?${text}` : "";
  }

  /** The form and what isn't shown, where there is anything to narrow or to give up; null else. */
  part(matrices: (Matrix | null)[]): HTMLElement | null {
    const lacks = matrices.flatMap((one) => (one ? lacking(one) : []));
    if (lacks.length === 0 && !this.query) return null;
    const said = lacks.length > 0 ? `${[...new Set(lacks)].join("; ")}. Name some to see them.` : "";
    return h(
      "div",
      { "data-testid": "narrow" },
      said ? h("p", { class: "muted" }, said) : null,
      this.element,
    );
  }

  /** Draw something that may hold the form, and leave the caret where it was. */
  keepingFocus(draw: () => void): void {
    const active = document.activeElement;
    draw();
    if (active instanceof HTMLInputElement && this.element.contains(active)) active.focus();
  }
}

/** What a matrix says nothing of. */
export function lacking(matrix: Matrix): string[] {
  const found = [];
  if (matrix.pods_left_off > 0)
    found.push(
      `The matrix leaves out ${matrix.pods_left_off.toLocaleString("en")} of its ${count(matrix.pods, "pod", "pods")}`,
    );
  if (matrix.peers_left_off > 0)
    found.push(`${count(matrix.peers_left_off, "pod", "pods")} at the other end of flows`);
  if (matrix.left_off > 0) found.push(`${count(matrix.left_off, "row", "rows")}`);
  return found;
}

// The head of a panel.

import { h } from "./dom.js";

export function heading(kind: string, title: string, sub: HTMLElement | string): HTMLElement {
  return h(
    "header",
    { class: "head" },
    h("p", { class: "eyebrow" }, kind),
    h("h2", {}, title),
    h("p", { class: "sub" }, sub),
  );
}

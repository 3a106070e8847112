// A button that opens a few more: it closes when one is chosen, by Escape, and when something else gets the focus.

import { h, icon } from "./dom.js";

export function menu(title: string, testid: string, ...items: (HTMLElement | null)[]): HTMLDetailsElement {
  const box = h(
    "details",
    { class: "menu", "data-testid": testid },
    h("summary", { class: "button" }, icon("copy"), title),
    h("div", { class: "menu-items", role: "group", "aria-label": title }, ...items),
  );
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !box.open) return;
    event.stopPropagation();
    box.open = false;
    box.querySelector("summary")?.focus();
  });
  box.addEventListener("focusout", (event) => {
    if (event.relatedTarget instanceof Node && !box.contains(event.relatedTarget)) box.open = false;
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target instanceof Node && !box.contains(event.target)) box.open = false;
  });
  return box;
}

/** An item that does something at once. */
export function menuItem(words: string, testid: string, run: () => void): HTMLButtonElement {
  const button = h("button", { type: "button", "data-testid": testid }, words);
  button.addEventListener("click", run);
  return button;
}

// Shows explanations, and remembers whether somebody wants them.

import { h } from "../ui/dom.js";

const KEY = "netviz-explanations";

/** By the style sheet, so that nothing has to be drawn again. */
export function applyExplanations(): void {
  document.documentElement.dataset.explanations = isOn() ? "on" : "off";
}

export function isOn(): boolean {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

export function toggleExplanations(): boolean {
  const on = !isOn();
  try {
    localStorage.setItem(KEY, on ? "on" : "off");
  } catch {
    // Without storage it holds until the page is loaded again.
  }
  document.documentElement.dataset.explanations = on ? "on" : "off";
  return on;
}

/** A short explanation; null where there is none. */
export function explained(text: string | undefined): HTMLElement | null {
  return text ? h("p", { class: "learn" }, text) : null;
}

// Says for a moment what was done, to the eye and to a screen reader.

import { h, setText } from "./dom.js";

const SHOWN_MS = 2500;

export class Toast {
  readonly element = h("div", { class: "toast", role: "status", "data-testid": "toast" });
  private timer: number | undefined;

  say(text: string): void {
    setText(this.element, text);
    this.element.classList.add("shown");
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      this.element.classList.remove("shown");
      setText(this.element, "");
    }, SHOWN_MS);
  }
}

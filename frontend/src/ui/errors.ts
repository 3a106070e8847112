// What went wrong, in words that tell what to do.

import { ApiError } from "../api.js";
import { h, icon } from "./dom.js";

/** Where to log in again, and come back to what is shown now. */
export function loginHref(): string {
  return `/login/?next=${encodeURIComponent(location.pathname + location.hash)}`;
}

/** Fill a note that stands on the page already. */
export function fillError(box: HTMLElement, error: Error): void {
  const isLoggedOut = error instanceof ApiError && error.status === 401;
  const login = isLoggedOut ? h("a", { href: loginHref() }, "Log in again") : null;
  box.replaceChildren(icon("alert"), h("p", {}, error.message, login && " ", login));
}

export function errorNote(error: Error): HTMLElement {
  const box = h("div", { class: "note bad", role: "alert" });
  fillError(box, error);
  return box;
}

export function note(tone: "bad" | "warn", ...text: (Node | string)[]): HTMLElement {
  return h("div", { class: `note ${tone}` }, icon("alert"), h("p", {}, ...text));
}

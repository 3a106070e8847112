// A combobox: a field, and below it groups of things of which one is chosen by arrow keys and Enter, or by pointer.

import { h } from "./dom.js";

export interface Pick {
  title: string;
  /** What kind of thing it is. */
  kind: string;
  /** What of it matched, where the title doesn't say so. */
  matched?: string | null;
  place: string;
  keys?: string[];
  /** Why it can't be chosen. */
  why?: string | undefined;
  /** It fits what is typed, whatever the server has yet to say. */
  isSettled?: boolean;
  choose(): void;
}

export interface PickGroup {
  title: string;
  picks: Pick[];
}

export class Picker {
  readonly list: HTMLElement;
  private picks: Pick[] = [];
  private active = 0;
  /** What is shown is of what was typed before. */
  private isWaiting = false;
  /** Enter was pressed meanwhile: the first of what comes is chosen. */
  private isHasty = false;

  constructor(
    private readonly input: HTMLInputElement,
    private readonly id: string,
    label: string,
  ) {
    this.list = h("div", { id, class: "picks", role: "listbox", "aria-label": label, hidden: true });
    const said = {
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": id,
      "aria-autocomplete": "list",
      "aria-haspopup": "listbox",
    };
    for (const [name, value] of Object.entries(said)) input.setAttribute(name, value);
    input.addEventListener("keydown", (event) => this.key(event));
  }

  get isOpen(): boolean {
    return !this.list.hidden;
  }

  /** Something else is typed: what is shown is of before until the next `show`. */
  wait(): void {
    this.isWaiting = true;
    this.isHasty = false;
  }

  /** Show groups; the one that was active stays so where it is still there. */
  show(groups: PickGroup[], isAnswer = true): void {
    if (isAnswer) this.isWaiting = false;
    const before = this.picks[this.active];
    this.picks = groups.flatMap((group) => group.picks);
    const again = this.picks.findIndex((one) => one.title === before?.title && one.kind === before.kind);
    this.active = Math.max(0, again);
    let number = 0;
    this.list.replaceChildren(
      ...groups.map((group) =>
        h(
          "div",
          { role: "group", "aria-label": group.title },
          h("div", { class: "group", "aria-hidden": "true" }, group.title),
          ...group.picks.map((pick) => this.item(pick, number++)),
        ),
      ),
    );
    this.list.hidden = this.picks.length === 0;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.mark();
    if (this.isHasty && !this.isWaiting) {
      this.isHasty = false;
      this.choose(this.active);
    }
  }

  close(): void {
    this.picks = [];
    this.isHasty = false;
    this.active = 0;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  private item(pick: Pick, number: number): HTMLElement {
    const item = h(
      "div",
      {
        id: `${this.id}-${number}`,
        class: "pick",
        role: "option",
        "aria-disabled": pick.why ? "true" : null,
        "data-kind": pick.kind,
      },
      h("span", { class: "kind" }, pick.kind),
      h("span", { class: "title", title: pick.title }, pick.title),
      pick.matched ? h("span", { class: "matched" }, pick.matched) : null,
      h("span", { class: "place", title: pick.why ?? pick.place }, pick.why ?? pick.place),
      pick.keys ? h("span", { class: "keys" }, ...pick.keys.map((key) => h("kbd", {}, key))) : null,
    );
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.choose(number);
    });
    return item;
  }

  private mark(): void {
    const items = [...this.list.querySelectorAll<HTMLElement>("[role=option]")];
    items.forEach((item, i) => {
      item.setAttribute("aria-selected", String(i === this.active));
    });
    const active = items[this.active];
    if (active) this.input.setAttribute("aria-activedescendant", active.id);
    else this.input.removeAttribute("aria-activedescendant");
    if (this.active === 0) this.list.scrollTop = 0;
    else active?.scrollIntoView({ block: "nearest" });
  }

  private choose(number: number): void {
    const pick = this.picks[number];
    if (pick && !pick.why) pick.choose();
  }

  private key(event: KeyboardEvent): void {
    const last = this.picks.length - 1;
    if (event.key === "Enter") {
      event.preventDefault();
      if (this.isWaiting && !this.picks[this.active]?.isSettled) this.isHasty = true;
      else this.choose(this.active);
      return;
    }
    if (last < 0) return;
    if (event.key === "ArrowDown") this.active = this.active === last ? 0 : this.active + 1;
    else if (event.key === "ArrowUp") this.active = this.active === 0 ? last : this.active - 1;
    else return;
    event.preventDefault();
    this.isHasty = false;
    this.mark();
  }
}

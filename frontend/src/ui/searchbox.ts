// The search box in the top bar: what the server knows, by name, address or rule.

import { h, icon } from "./dom.js";
import { Picker } from "./picker.js";
import { type SearchHost, Searching } from "./searching.js";

export class SearchBox {
  readonly input = h("input", {
    id: "search",
    type: "search",
    placeholder: "Pod, service, IP, CIDR, MAC, rule…",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": "Search pods, services, nodes, addresses, ranges, links, routes, rules",
  });
  readonly element: HTMLElement;
  private readonly picker = new Picker(this.input, "search-results", "Results");
  private readonly searching: Searching;
  private readonly drop: HTMLElement;

  constructor(host: SearchHost) {
    this.searching = new Searching(
      host,
      this.picker,
      (groups) => {
        this.picker.show(groups);
        this.showDrop();
      },
      () => {
        this.close();
        this.input.blur();
      },
    );
    this.drop = h("div", { class: "drop", hidden: true }, this.picker.list, this.searching.note);
    this.element = h(
      "search",
      { class: "search" },
      icon("search"),
      this.input,
      h("kbd", { "aria-hidden": "true" }, "/"),
      this.drop,
      this.searching.status,
    );
    this.input.addEventListener("input", () => this.ask());
    this.input.addEventListener("focus", () => this.ask());
    this.input.addEventListener("blur", () => window.setTimeout(() => this.close(), 120));
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if (this.input.value === "") this.input.blur();
      this.input.value = "";
      this.ask();
      event.stopPropagation();
    });
  }

  focus(): void {
    this.input.focus();
    this.input.select();
  }

  private ask(): void {
    this.searching.ask(this.input.value);
    if (this.input.value.trim() === "") this.picker.close();
    this.showDrop();
  }

  private showDrop(): void {
    const isEmpty = !this.picker.isOpen && this.searching.note.hidden;
    this.drop.hidden = document.activeElement !== this.input || isEmpty;
  }

  private close(): void {
    // The field may have the focus again.
    if (document.activeElement === this.input && this.input.value === "") return;
    this.drop.hidden = true;
    this.picker.close();
    this.searching.stop();
  }
}

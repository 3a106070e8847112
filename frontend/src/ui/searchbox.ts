// The search box: a combobox whose list follows what is typed.

import type { Graph } from "../graph/store.js";
import type { Target } from "../map/hit.js";
import { h, icon } from "./dom.js";
import { type Hit, search } from "./search.js";

export class SearchBox {
  readonly input = h("input", {
    id: "search",
    type: "search",
    placeholder: "Pod, IP, MAC, interface…",
    autocomplete: "off",
    spellcheck: "false",
    role: "combobox",
    "aria-label": "Search pods, namespaces, nodes, addresses, interfaces",
    "aria-expanded": "false",
    "aria-controls": "search-results",
    "aria-autocomplete": "list",
  });
  readonly element: HTMLElement;
  private readonly list = h("ul", {
    id: "search-results",
    role: "listbox",
    "aria-label": "Results",
    hidden: true,
  });
  private hits: Hit[] = [];
  private active = 0;

  constructor(
    private readonly graph: Graph,
    private readonly onChoose: (target: Target) => void,
  ) {
    this.element = h(
      "div",
      { class: "search" },
      icon("search"),
      this.input,
      h("kbd", { "aria-hidden": "true" }, "/"),
      this.list,
    );
    this.input.addEventListener("input", () => this.refresh());
    this.input.addEventListener("focus", () => this.refresh());
    this.input.addEventListener("blur", () => window.setTimeout(() => this.close(), 120));
    this.input.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keydown", (event) => {
      const busy = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      if (event.key !== "/" || busy || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.input.focus();
      this.input.select();
    });
  }

  private refresh(): void {
    this.hits = search(this.graph, this.input.value);
    this.active = 0;
    this.render();
  }

  private render(): void {
    const asked = this.input.value.trim() !== "";
    this.list.hidden = !asked;
    this.input.setAttribute("aria-expanded", String(asked));
    const items = this.hits.map((hit, i) => this.item(hit, i));
    if (asked && items.length === 0)
      items.push(h("li", { class: "none" }, "Nothing by that name or address."));
    this.list.replaceChildren(...items);
    if (this.hits.length > 0) this.input.setAttribute("aria-activedescendant", `hit-${this.active}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  private item(hit: Hit, i: number): HTMLLIElement {
    const item = h(
      "li",
      {
        id: `hit-${i}`,
        role: "option",
        "aria-selected": i === this.active ? "true" : "false",
        "data-kind": hit.kind,
      },
      h("span", { class: "kind" }, hit.kind),
      h("span", { class: "title" }, hit.title),
      hit.matched ? h("span", { class: "matched" }, hit.matched) : null,
      h("span", { class: "place" }, hit.place),
    );
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.choose(i);
    });
    return item;
  }

  private choose(i: number): void {
    const hit = this.hits[i];
    if (!hit) return;
    this.close();
    this.input.blur();
    this.onChoose(hit.target);
  }

  private close(): void {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
  }

  private key(event: KeyboardEvent): void {
    const last = this.hits.length - 1;
    if (event.key === "Enter") {
      this.choose(this.active);
      return;
    }
    if (event.key === "ArrowDown") this.active = Math.min(last, this.active + 1);
    else if (event.key === "ArrowUp") this.active = Math.max(0, this.active - 1);
    else if (event.key === "Escape") {
      if (this.input.value === "") this.input.blur();
      this.input.value = "";
      this.refresh();
      event.stopPropagation();
      return;
    } else return;
    event.preventDefault();
    this.render();
    this.list.children[this.active]?.scrollIntoView({ block: "nearest" });
  }
}

// The tables of one namespace (GET /api/netns/<key>), read again and again while they are looked at.

import type { Api, NetnsDetail, NetnsMatch } from "../api.js";
import { explained } from "../learn/learn.js";
import { TABLES } from "../learn/texts.js";
import type { TablesView } from "../route.js";
import { isAmong, isFolded, isLookedUp, narrowed, type Row, type Sorting, toCsv } from "../tables.js";
import { Chains } from "./chains.js";
import { dataTable } from "./datatable.js";
import { copyButton, h, icon, setText } from "./dom.js";
import { download, fileName } from "./download.js";

interface Tab {
  id: string;
  title: string;
  columns: string[];
  rows(detail: NetnsDetail): Row[];
  count?(detail: NetnsDetail): number;
}

/** A list that the detail has by the same name. */
function tab(id: keyof NetnsDetail & string, title: string, columns: string[]): Tab {
  return { id, title, columns, rows: (detail) => (detail[id] ?? []) as unknown as Row[] };
}

const TABS: Tab[] = [
  tab("routes", "Routes", ["dst", "via", "dev", "src", "metric", "proto"]),
  tab("neighs", "Neighbours", ["dst", "mac", "dev", "state"]),
  tab("sockets", "Sockets", ["proto", "addr", "port", "state"]),
  tab("rules", "Rules", ["priority", "text"]),
  tab("nft", "nft", ["family", "table", "chain", "hook", "priority", "policy", "rules"]),
  tab("fdb", "FDB", ["mac", "dev", "vlan", "dst", "state"]),
  {
    id: "conntrack",
    title: "Conntrack",
    columns: ["proto", "orig", "reply", "status"],
    rows: (detail) => detail.conntrack?.sample ?? [],
    count: (detail) => detail.conntrack?.entries ?? 0,
  },
  tab("sysctls", "Sysctls", ["name", "value"]),
];
/** Those of which the server says what an address meets. */
const LOOKED_UP = ["rules", "routes", "neighs", "fdb"] as const;
const REFRESH_MS = 2500;
const TYPING_MS = 150;

export interface TablesHost {
  api: Api;
  /** What a thing that a cell names leads to; null where it isn't known. */
  linkOf(netns: string, name: string, value: string): string | null;
  onDetail(detail: NetnsDetail): void;
  onView(view: TablesView): void;
}

export class NetnsTables {
  readonly element = h("section", { class: "tables", "aria-label": "Kernel state" });
  private readonly tabs = h("div", { role: "tablist", class: "tabs", "aria-label": "Kernel state" });
  private readonly find = h("input", {
    type: "search",
    placeholder: "Filter, or an address: what matches it",
    "aria-label": "Filter the table, or type an address to see what matches it",
    "data-testid": "table-find",
    autocomplete: "off",
    spellcheck: "false",
  });
  private readonly says = h("p", {
    class: "says",
    role: "status",
    "data-testid": "table-says",
    hidden: true,
  });
  private readonly body = h("div", { role: "tabpanel", class: "tabbody", tabindex: 0 });
  private readonly chains = new Chains();
  private readonly sortings = new Map<string, Sorting>();
  private detail: NetnsDetail | null = null;
  private match: NetnsMatch | null = null;
  private open = "routes";
  private drawn = "";
  private disposed = false;
  private typing: number | undefined;
  private readonly timer: number;

  constructor(
    private readonly netns: string,
    private readonly name: string,
    private readonly host: TablesHost,
    view: TablesView | undefined,
  ) {
    if (view) this.take(view);
    this.find.addEventListener("input", () => {
      window.clearTimeout(this.typing);
      this.typing = window.setTimeout(() => {
        this.tell();
        void this.lookUp();
      }, TYPING_MS);
    });
    const exports = (["csv", "json"] as const).map((form) => {
      const button = h(
        "button",
        {
          type: "button",
          class: "quiet",
          title: `Download the rows shown as ${form.toUpperCase()}`,
          "data-testid": `export-${form}`,
        },
        form.toUpperCase(),
      );
      button.addEventListener("click", () => this.export(form));
      return button;
    });
    this.element.append(
      h("h3", {}, "Kernel state"),
      this.tabs,
      h(
        "div",
        { class: "tabletools" },
        h("label", { class: "filter" }, icon("search"), this.find),
        ...exports,
      ),
      this.says,
      this.body,
    );
    this.body.append(h("p", { class: "muted" }, "Reading…"));
    void this.load();
    this.timer = window.setInterval(() => {
      if (!document.hidden) void this.load();
    }, REFRESH_MS);
  }

  dispose(): void {
    this.disposed = true;
    window.clearInterval(this.timer);
  }

  /** Show what an address of the page says. */
  look(view: TablesView | undefined): void {
    if (!view || (view.tab === this.open && view.find === this.find.value)) return;
    this.take(view);
    void this.lookUp();
    this.element.scrollIntoView({ block: "nearest" });
  }

  private take(view: TablesView): void {
    this.open = TABS.find((one) => one.id === view.tab)?.id ?? "routes";
    this.find.value = view.find;
  }

  private async load(): Promise<void> {
    try {
      const detail = await this.host.api.netns(this.netns);
      if (this.disposed) return;
      const isFirst = this.detail === null;
      this.detail = detail;
      this.host.onDetail(detail);
      if (isFirst || isLookedUp(this.find.value)) await this.lookUp();
      else this.render();
    } catch (error) {
      if (!this.disposed) this.fail(error as Error);
    }
  }

  private fail(error: Error): void {
    // What was read stays, and says that it isn't read any more.
    const note = h("p", { class: "note bad" }, icon("alert"), `Not read again: ${error.message}`);
    if (this.detail) this.body.querySelector(".note")?.remove();
    else this.body.replaceChildren();
    this.body.prepend(note);
    this.drawn = "";
  }

  /** Ask what the address that was typed meets; anything else narrows the table. */
  private async lookUp(): Promise<void> {
    const typed = this.find.value.trim();
    this.match = null;
    if (isLookedUp(typed)) {
      try {
        const match = await this.host.api.match(this.netns, typed);
        if (this.disposed || typed !== this.find.value.trim()) return;
        this.match = match;
      } catch {
        // Not a whole address after all: it narrows.
      }
    }
    this.says.hidden = this.match === null;
    setText(this.says, this.match?.says ?? "");
    this.render();
  }

  private shownRows(detail: NetnsDetail, shown: Tab): Row[] {
    const rows = shown.rows(detail).map(withType);
    if (this.match && isOf(shown.id)) {
      // With an address, all rows stay where a lookup decides among them: what it decided is marked.
      return shown.id === "routes" || shown.id === "rules" ? rows : this.metOf(shown, detail);
    }
    return narrowed(rows, [...shown.columns, "table", "type"], this.find.value);
  }

  private metOf(shown: Tab, detail: NetnsDetail): Row[] {
    const match = this.match;
    if (!match || !isOf(shown.id)) return [];
    const said = match[shown.id].map(withType);
    return shown
      .rows(detail)
      .map(withType)
      .filter((row) => isAmong(row, said));
  }

  private render(): void {
    const { detail } = this;
    if (!detail) return;
    const shown = TABS.find((one) => one.id === this.open) as Tab;
    const drawn = JSON.stringify([this.open, this.find.value, this.match, detail, [...this.sortings]]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.tabs.replaceChildren(...TABS.map((one) => this.tabButton(one, detail)));
    const focused = this.body.contains(document.activeElement)
      ? document.activeElement?.getAttribute("data-sort")
      : null;
    const scrolled = this.body.querySelector(".scroll")?.scrollLeft ?? 0;
    const learn = explained(TABLES[shown.id]);
    this.body.replaceChildren(...(learn ? [learn] : []), ...this.bodyOf(shown, detail));
    this.body.setAttribute("aria-label", shown.title);
    const scroll = this.body.querySelector(".scroll");
    if (scroll) scroll.scrollLeft = scrolled;
    if (focused) this.body.querySelector<HTMLElement>(`[data-sort="${focused}"]`)?.focus();
  }

  private bodyOf(shown: Tab, detail: NetnsDetail): HTMLElement[] {
    const missing = detail.left_off?.[shown.id] ?? 0;
    const more =
      missing > 0
        ? [h("p", { class: "muted" }, `${missing.toLocaleString("en")} more rows are not listed.`)]
        : [];
    if (shown.id === "nft")
      return [this.chains.body(detail.nft ?? [], this.match ? "" : this.find.value), ...more];
    const rows = this.shownRows(detail, shown);
    const isNarrowed = this.find.value.trim() !== "" && shown.rows(detail).length > 0;
    if (rows.length === 0 && isNarrowed) return [h("p", { class: "muted" }, "No row matches."), ...more];
    if (shown.id === "routes") return [...this.routes(shown, rows, detail), ...more];
    return [this.table(shown, rows, shown.title, detail), ...more];
  }

  private table(shown: Tab, rows: Row[], label: string, detail: NetnsDetail): HTMLElement {
    return dataTable(rows, {
      columns: shown.columns,
      label,
      sorting: this.sortings.get(shown.id) ?? null,
      onSort: (sorting) => {
        this.sortings.set(shown.id, sorting);
        this.render();
      },
      met: this.metOf(shown, detail),
      cell: (name, row) => this.cell(name, row),
    });
  }

  /** Routes by table, the main one first; those of own addresses, link-local and multicast ones folded, unless they are what is met. */
  private routes(shown: Tab, rows: Row[], detail: NetnsDetail): HTMLElement[] {
    const met = this.metOf(shown, detail);
    const folded = rows.filter((row) => isFolded(row) && !isAmong(row, met));
    const tables = new Map<string, Row[]>();
    for (const row of rows) {
      if (folded.includes(row)) continue;
      const name = String(row.table);
      tables.set(name, [...(tables.get(name) ?? []), row]);
    }
    const parts = [...tables].flatMap(([name, found]) => [
      ...(tables.size > 1 || name !== "main" ? [h("h4", {}, `Table ${name}`)] : []),
      this.table(shown, found, `Routes of table ${name}`, detail),
    ]);
    if (folded.length === 0) return parts.length > 0 ? parts : [h("p", { class: "muted" }, "None.")];
    const isOpen = this.find.value.trim() !== "" && !this.match;
    return [
      ...(parts.length > 0 ? parts : [h("p", { class: "muted" }, "None that leads elsewhere.")]),
      h(
        "details",
        { class: "folded", open: isOpen },
        h(
          "summary",
          {},
          `${folded.length} local, link-local and multicast ${folded.length === 1 ? "route" : "routes"}`,
        ),
        this.table(shown, folded, "Local, link-local and multicast routes", detail),
      ),
    ];
  }

  private cell(name: string, row: Row): Node | string | null {
    const text = String(row[name] ?? "");
    if (!text) return null;
    const href = this.host.linkOf(this.netns, name, text);
    if (href) return h("a", { href }, text);
    if (name === "via" || (name === "dst" && row.state !== undefined))
      return h("span", { class: "mono" }, text);
    return null;
  }

  private tabButton(one: Tab, detail: NetnsDetail): HTMLElement {
    const chosen = one.id === this.open;
    const met = this.match && isOf(one.id) ? this.metOf(one, detail).length : null;
    const count = one.count?.(detail) ?? one.rows(detail).length;
    const button = h(
      "button",
      {
        type: "button",
        role: "tab",
        "aria-selected": String(chosen),
        tabindex: chosen ? 0 : -1,
        "data-tab": one.id,
      },
      one.title,
      h("span", { class: met ? "count met" : "count" }, met === null ? String(count) : `${met} of ${count}`),
    );
    button.addEventListener("click", () => this.choose(one.id));
    button.addEventListener("keydown", (event) => this.key(event, one.id));
    return button;
  }

  private choose(id: string): void {
    const hadFocus = this.tabs.contains(document.activeElement);
    this.open = id;
    this.tell();
    this.render();
    if (hadFocus) this.tabs.querySelector<HTMLElement>('[aria-selected="true"]')?.focus();
  }

  private tell(): void {
    this.host.onView({ tab: this.open, find: this.find.value });
  }

  private key(event: KeyboardEvent, id: string): void {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const at = TABS.findIndex((one) => one.id === id);
    this.choose((TABS[(at + step + TABS.length) % TABS.length] as Tab).id);
    event.preventDefault();
  }

  private export(form: "csv" | "json"): void {
    const shown = TABS.find((one) => one.id === this.open) as Tab;
    if (!this.detail) return;
    const rows =
      shown.id === "nft"
        ? narrowed(shown.rows(this.detail), shown.columns, this.find.value)
        : this.shownRows(this.detail, shown);
    const name = `${fileName(this.name, shown.id)}.${form}`;
    const columns = shown.id === "routes" ? ["table", "type", ...shown.columns] : shown.columns;
    if (form === "csv") download(name, toCsv(rows, columns), "text/csv");
    else download(name, `${JSON.stringify(rows, null, 2)}\n`, "application/json");
  }
}

function isOf(id: string): id is (typeof LOOKED_UP)[number] {
  return (LOOKED_UP as readonly string[]).includes(id);
}

/** A route of another type than unicast begins with it, as `ip` has it. */
function withType(row: Row): Row {
  if (row.type === undefined || row.type === "unicast" || row.table === undefined) return row;
  return { ...row, dst: `${row.type} ${row.dst}` };
}

export function codeLine(text: string): HTMLElement {
  return h("div", { class: "code" }, h("code", {}, text), copyButton(text));
}

// The tables of one namespace (GET /api/netns/<key>), fetched when they are looked at.

import type { Api, NetnsDetail } from "../api.js";
import { copyButton, h } from "./dom.js";

type Rows = Record<string, unknown>[];

interface Tab {
  id: string;
  title: string;
  count(detail: NetnsDetail): number;
  body(detail: NetnsDetail): HTMLElement;
}

const TABS: Tab[] = [
  {
    id: "routes",
    title: "Routes",
    count: (detail) => detail.routes?.length ?? 0,
    body: (detail) => routesBody(detail.routes ?? []),
  },
  listTab("neighs", "Neighbours", ["dst", "mac", "dev", "state"]),
  listTab("sockets", "Sockets", ["proto", "addr", "port", "state"]),
  listTab("rules", "Rules", ["priority", "text"]),
  { id: "nft", title: "nft", count: (detail) => detail.nft?.length ?? 0, body: nftBody },
  listTab("fdb", "FDB", ["mac", "dev", "vlan", "dst", "state"]),
  {
    id: "conntrack",
    title: "Conntrack",
    count: (detail) => detail.conntrack?.entries ?? 0,
    body: (detail) => table(detail.conntrack?.sample ?? [], ["proto", "orig", "reply", "status"]),
  },
  listTab("sysctls", "Sysctls", ["name", "value"]),
];

function listTab(id: keyof NetnsDetail & string, title: string, columns: string[]): Tab {
  const rows = (detail: NetnsDetail) => (detail[id] ?? []) as unknown as Rows;
  return {
    id,
    title,
    count: (detail) => rows(detail).length,
    body: (detail) => table(rows(detail), columns),
  };
}

export class NetnsTables {
  readonly element = h("section", { class: "tables" });
  private readonly tabs = h("div", { role: "tablist", class: "tabs", "aria-label": "Kernel state" });
  private readonly body = h("div", { role: "tabpanel", class: "tabbody", tabindex: 0 });
  private detail: NetnsDetail | null = null;
  private open = "routes";
  private disposed = false;

  constructor(
    private readonly api: Api,
    private readonly netns: string,
    private readonly onDetail: (detail: NetnsDetail) => void = () => {},
  ) {
    const again = h("button", { type: "button", class: "quiet" }, "Refresh");
    again.addEventListener("click", () => void this.load());
    this.element.append(
      h("div", { class: "section-head" }, h("h3", {}, "Kernel state"), again),
      this.tabs,
      this.body,
    );
    this.body.append(h("p", { class: "muted" }, "Reading…"));
    void this.load();
  }

  dispose(): void {
    this.disposed = true;
  }

  async load(): Promise<void> {
    try {
      const detail = await this.api.netns(this.netns);
      if (this.disposed) return;
      this.detail = detail;
      this.onDetail(detail);
      this.render();
    } catch (error) {
      if (!this.disposed)
        this.body.replaceChildren(
          h("p", { class: "note bad" }, `Not to be had: ${(error as Error).message}`),
        );
    }
  }

  private render(): void {
    const detail = this.detail;
    if (!detail) return;
    const buttons = TABS.map((tab) => {
      const chosen = tab.id === this.open;
      const count = tab.count(detail);
      const button = h(
        "button",
        {
          type: "button",
          role: "tab",
          "aria-selected": String(chosen),
          tabindex: chosen ? 0 : -1,
          "data-tab": tab.id,
        },
        tab.title,
        h("span", { class: "count" }, String(count)),
      );
      button.addEventListener("click", () => this.choose(tab.id));
      button.addEventListener("keydown", (event) => this.key(event, tab.id));
      return button;
    });
    this.tabs.replaceChildren(...buttons);
    const tab = TABS.find((item) => item.id === this.open) as Tab;
    this.body.replaceChildren(tab.body(detail));
    const missing = detail.left_off?.[tab.id] ?? 0;
    if (missing > 0)
      this.body.append(
        h("p", { class: "muted" }, `${missing.toLocaleString("en")} more rows are not shown.`),
      );
    this.body.setAttribute("aria-label", tab.title);
  }

  private choose(id: string): void {
    this.open = id;
    this.render();
  }

  private key(event: KeyboardEvent, id: string): void {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const at = TABS.findIndex((tab) => tab.id === id);
    this.choose((TABS[(at + step + TABS.length) % TABS.length] as Tab).id);
    this.tabs.querySelector<HTMLElement>('[aria-selected="true"]')?.focus();
    event.preventDefault();
  }
}

function cell(value: unknown): string {
  return value === null || value === undefined ? "" : String(value);
}

export function table(rows: Rows, columns: string[]): HTMLElement {
  if (rows.length === 0) return h("p", { class: "muted" }, "None.");
  const dull = (name: string) => name === "metric" && rows.every((row) => row.metric === 0);
  const used = columns.filter((name) => rows.some((row) => cell(row[name]) !== "") && !dull(name));
  const head = h("tr", {}, ...used.map((name) => h("th", { scope: "col" }, name)));
  const body = rows.map((row) => h("tr", {}, ...used.map((name) => h("td", {}, cell(row[name])))));
  return h(
    "div",
    { class: "scroll", tabindex: 0 },
    h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)),
  );
}

/** Routes by table, the main one first; those of another type than unicast begin with it, as `ip` has it. */
function routesBody(routes: Rows): HTMLElement {
  if (routes.length === 0) return h("p", { class: "muted" }, "None.");
  const tables = new Map<string, Rows>();
  for (const route of routes) {
    const name = cell(route.table);
    const dst = route.type === "unicast" ? route.dst : `${cell(route.type)} ${cell(route.dst)}`;
    tables.set(name, [...(tables.get(name) ?? []), { ...route, dst }]);
  }
  const names = [...tables.keys()].sort((a, b) => Number(b === "main") - Number(a === "main"));
  const parts = names.flatMap((name) => [
    h("h5", {}, `Table ${name}`),
    table(tables.get(name) ?? [], ["dst", "via", "dev", "src", "metric", "proto"]),
  ]);
  return h("div", {}, ...parts);
}

function nftBody(detail: NetnsDetail): HTMLElement {
  const chains = detail.nft ?? [];
  if (chains.length === 0) return h("p", { class: "muted" }, "No netfilter chains.");
  return h(
    "div",
    { class: "chains" },
    ...chains.map((chain) => {
      const hook = chain.hook
        ? `${chain.hook} · priority ${chain.priority}${chain.policy ? ` · policy ${chain.policy}` : ""}`
        : "called by other chains";
      return h(
        "details",
        { open: chain.rules.length > 0 && chain.rules.length < 12 },
        h(
          "summary",
          {},
          h("b", {}, `${chain.family} ${chain.table} ${chain.chain}`),
          h("span", { class: "muted" }, hook),
        ),
        ...chain.rules.map((rule) => codeLine(rule)),
      );
    }),
  );
}

export function codeLine(text: string): HTMLElement {
  return h("div", { class: "code" }, h("code", {}, text), copyButton(text));
}

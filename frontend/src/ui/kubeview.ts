// Services, workloads, namespaces and policies: the list at the left, the chosen one at the right, over the whole width.

import { ApiError } from "../api.js";
import {
  idOf,
  KINDS,
  type Kind,
  type NamespaceSummary,
  type PolicySummary,
  readiness,
  readyText,
  type ServiceSummary,
  traceRef,
  type WorkloadSummary,
} from "../kube.js";
import { formatRoute } from "../route.js";
import type { Context } from "./context.js";
import { h, icon, setText } from "./dom.js";
import { errorNote } from "./errors.js";
import { detailBody } from "./kubedetail.js";
import { mark } from "./kubeparts.js";
import { count } from "./names.js";
import { Narrow } from "./narrow.js";
import { policyAsks } from "./policyasks.js";
import { traceTableAsk } from "./tracetable.js";
import { Traffic } from "./traffic.js";

const REFRESH_MS = 2000;
const NOTHING: Record<Kind, string> = {
  services: "No service is known.",
  workloads: "No workload is known.",
  namespaces: "No namespace is known.",
  policies: "No policy is known.",
};
const MOST_ROWS = 500;
const TITLES: Record<Kind, string> = {
  services: "Services",
  workloads: "Workloads",
  namespaces: "Namespaces",
  policies: "Policies",
};

type Row = ServiceSummary | WorkloadSummary | NamespaceSummary | PolicySummary;

export class KubeView {
  readonly element = h("section", {
    class: "kube",
    "aria-label": "Services, workloads, namespaces, policies",
    "data-testid": "kube",
    tabindex: -1,
  });
  private readonly filter = h("input", {
    type: "search",
    placeholder: "Name, namespace, address",
    "aria-label": "Filter the list",
    "data-testid": "kube-filter",
  });
  private readonly tabs: Record<Kind, HTMLElement>;
  private readonly list = h("ul", { class: "kube-list", "data-testid": "kube-list" });
  private readonly note = h("p", { class: "kube-note", role: "status" });
  private readonly footer = h("footer", { class: "list-foot" });
  private readonly detail = h("div", { "data-testid": "kube-detail" });
  private readonly asks = h("div", {});
  private readonly traffic = new Traffic();
  private readonly narrow = new Narrow(() => void this.refresh());
  private readonly right = h("div", { class: "kube-pane" }, this.detail, this.asks);
  private kind: Kind = "services";
  private id: string | null = null;
  private rows: Row[] = [];
  private leftOff = 0;
  private loaded = "";
  private shown = "";
  private drawn = "";
  private offered = "";
  private readonly timer: number;
  private disposed = false;

  constructor(private readonly context: Context) {
    const tab = (kind: Kind) =>
      h(
        "a",
        { href: formatRoute({ page: "kube", kind, id: null }), "data-testid": `kube-${kind}` },
        TITLES[kind],
      );
    this.tabs = {
      services: tab("services"),
      workloads: tab("workloads"),
      namespaces: tab("namespaces"),
      policies: tab("policies"),
    };
    this.filter.addEventListener("input", () => this.draw());
    this.element.append(
      h(
        "div",
        { class: "kube-side" },
        h(
          "div",
          { class: "list-head" },
          h("label", { class: "filter" }, icon("search"), this.filter),
          h("nav", { class: "segments", "aria-label": "What is listed" }, ...Object.values(this.tabs)),
        ),
        this.note,
        this.list,
        this.footer,
      ),
      this.right,
    );
    this.timer = window.setInterval(() => void this.refresh(), REFRESH_MS);
  }

  focusFilter(): void {
    this.filter.focus();
  }

  dispose(): void {
    this.disposed = true;
    this.traffic.reset();
    window.clearInterval(this.timer);
  }

  show(kind: Kind, id: string | null): void {
    if (kind !== this.kind) {
      this.rows = [];
      this.loaded = this.drawn = "";
    }
    if (id !== this.id || kind !== this.kind) {
      this.shown = "";
      this.narrow.reset();
      this.traffic.reset();
    }
    this.kind = kind;
    this.id = id;
    for (const name of KINDS) {
      if (name === kind) this.tabs[name].setAttribute("aria-current", "page");
      else this.tabs[name].removeAttribute("aria-current");
    }
    this.draw();
    void this.refresh();
  }

  /** The graph has changed: how the API is known may be otherwise. */
  update(): void {
    const clusters = [...this.context.graph.clusters.values()];
    const worst =
      clusters.find((one) => one.health === "error") ?? clusters.find((one) => one.health !== "ok");
    const text =
      clusters.length === 0
        ? "No Kubernetes API is watched: no watcher has reported. Start one with python -m agents kubernetes."
        : worst
          ? `What is shown may be out of date: ${worst.problem ?? "the Kubernetes API isn’t known whole"}.`
          : "";
    this.note.hidden = text === "";
    setText(this.note, text);
  }

  private async refresh(): Promise<void> {
    const { kind, id } = this;
    try {
      const list = await this.context.api.get<Record<string, unknown>>(`/api/${kind}`);
      if (this.disposed || kind !== this.kind) return;
      const text = JSON.stringify(list);
      if (text !== this.loaded) {
        this.loaded = text;
        this.rows = list[kind] as Row[];
        this.leftOff = Number(list.left_off ?? 0);
        this.draw();
      }
      const wanted = id ?? this.first();
      if (wanted) await this.loadDetail(kind, wanted);
      else this.detail.replaceChildren(h("p", { class: "muted" }, NOTHING[kind]));
      this.offer(kind, wanted);
    } catch (error) {
      if (!this.disposed) this.fail(error as Error);
    }
  }

  /** What can be asked of what is shown: made anew only when that is something else, so that nothing typed is lost. */
  private offer(kind: Kind, id: string | null): void {
    const key = kind === "policies" ? kind : `${kind} ${id}`;
    if (key === this.offered) return;
    this.offered = key;
    const { api, mayTrace } = this.context;
    const [one = "", namespace = "", name = ""] = id?.split("/") ?? [];
    const ref =
      kind === "workloads" ? traceRef(one, namespace, name) : kind === "namespaces" && id ? `ns/${id}` : "";
    if (kind === "policies") this.asks.replaceChildren(policyAsks(api));
    else this.asks.replaceChildren(...(ref && mayTrace ? [traceTableAsk(api, ref)] : []));
  }

  private first(): string | null {
    const row = this.found()[0];
    return row ? idOf(this.kind, row) : null;
  }

  private async loadDetail(kind: Kind, id: string): Promise<void> {
    try {
      const path = id.split("/").map(encodeURIComponent).join("/");
      const { query } = this.narrow;
      const detail = await this.context.api.get<never>(`/api/${kind}/${path}${query}`);
      const text = JSON.stringify([kind, detail]);
      const wanted = this.id ?? this.first();
      if (this.disposed || kind !== this.kind || id !== wanted || query !== this.narrow.query) return;
      if (kind === "services") this.traffic.take(detail);
      if (text === this.shown) {
        this.traffic.update();
        return;
      }
      this.shown = text;
      this.traffic.begin();
      this.narrow.keepingFocus(() =>
        this.detail.replaceChildren(
          detailBody(this.context, kind, detail, { narrow: this.narrow, traffic: this.traffic }),
        ),
      );
    } catch (error) {
      if (!this.disposed && kind === this.kind && (this.id === null || this.id === id))
        this.fail(error as Error);
    }
  }

  private fail(error: Error): void {
    this.shown = "";
    const gone = error instanceof ApiError && error.status === 404;
    this.detail.replaceChildren(gone ? h("p", { class: "muted" }, error.message) : errorNote(error));
  }

  private found(): Row[] {
    const wanted = this.filter.value.trim().toLowerCase();
    return this.rows.filter((row) => JSON.stringify(row).toLowerCase().includes(wanted));
  }

  private draw(): void {
    const found = this.found();
    const chosen = this.id ?? this.first();
    const key = JSON.stringify([this.loaded, this.filter.value, chosen, this.kind]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.list.replaceChildren(
      ...found.slice(0, MOST_ROWS).map((row) => this.item(row, idOf(this.kind, row) === chosen)),
    );
    const more = Math.max(0, found.length - MOST_ROWS);
    const shown = more > 0 ? `${more.toLocaleString("en")} more: narrow the list` : "";
    const rest = this.leftOff > 0 ? `${this.leftOff.toLocaleString("en")} not loaded` : "";
    setText(this.footer, [shown || count(found.length, "entry", "entries"), rest].filter(Boolean).join(", "));
    this.update();
  }

  private item(row: Row, chosen: boolean): HTMLElement {
    const id = idOf(this.kind, row);
    const link = h(
      "a",
      {
        href: formatRoute({ page: "kube", kind: this.kind, id }),
        "data-id": id,
        "aria-current": chosen ? "true" : null,
      },
      ...rowParts(this.kind, row),
    );
    return h("li", {}, link);
  }
}

function rowParts(kind: Kind, row: Row): HTMLElement[] {
  if (kind === "namespaces") {
    const one = row as NamespaceSummary;
    return [
      h("span", { class: "name" }, one.name),
      h(
        "span",
        { class: "beside" },
        `${count(one.pods, "pod", "pods")}, ${count(one.services, "service", "services")}`,
      ),
    ];
  }
  if (kind === "policies") {
    const one = row as PolicySummary;
    return [
      h("span", { class: "name" }, h("span", { class: "muted" }, `${one.namespace ?? "cluster"}/`), one.name),
      h(
        "span",
        { class: "beside" },
        [one.tier ? `${one.tier} ${one.priority ?? ""}`.trim() : "", one.restricts.join(" and ")]
          .filter(Boolean)
          .join(" · "),
      ),
      h("span", { class: "ready" }, count(one.pods, "pod", "pods")),
    ];
  }
  const one = row as ServiceSummary | WorkloadSummary;
  const isService = kind === "services";
  const all = isService ? (one as ServiceSummary).endpoints : (one as WorkloadSummary).pods;
  const external = isService ? (one as ServiceSummary).external_name : null;
  return [
    mark(external ? "none" : readiness(one.ready, all)),
    h("span", { class: "name" }, h("span", { class: "muted" }, `${one.namespace}/`), one.name),
    h("span", { class: "beside" }, isService ? (one as ServiceSummary).type : (one as WorkloadSummary).kind),
    h("span", { class: "ready" }, external ?? readyText(one.ready, all)),
  ];
}

// The connections that a pod has now, read when they are looked at: each is traced by one click, and those are marked
// that would fare otherwise if they began now.

import {
  type Connection,
  type ConnectionGroup,
  type Connections,
  grouped,
  headText,
  peerText,
  translatedText,
  uncomparedTexts,
} from "../trace/connections.js";
import { type Context, VIEWER_REASON } from "./context.js";
import { h, icon } from "./dom.js";
import { errorNote, note } from "./errors.js";

const MOST_GROUPS = 50;

export class ConnectionsPart {
  readonly element: HTMLDetailsElement;
  private readonly body = h("div", { class: "connections", "data-testid": "connections" });
  private readonly count = h("span", { class: "muted count" });
  private isOver = false;

  constructor(
    private readonly context: Context,
    private readonly netns: string,
  ) {
    const again = h("button", { type: "button", class: "quiet" }, "Refresh");
    again.addEventListener("click", () => void this.load());
    this.element = h(
      "details",
      { class: "section" },
      h("summary", { "data-testid": "connections-open" }, h("h3", {}, "Connections"), this.count),
      h("div", { class: "section-tools" }, again),
      this.body,
    );
    this.element.addEventListener("toggle", () => {
      if (this.element.open && this.body.childElementCount === 0) void this.load();
    });
  }

  dispose(): void {
    this.isOver = true;
  }

  private async load(): Promise<void> {
    if (this.body.childElementCount === 0) this.body.append(h("p", { class: "muted" }, "Reading…"));
    try {
      const path = `/api/netns/${encodeURIComponent(this.netns)}/connections`;
      const found = await this.context.api.get<Connections>(path);
      if (!this.isOver) this.render(found);
    } catch (error) {
      if (!this.isOver) this.body.replaceChildren(errorNote(error as Error));
    }
  }

  private render(found: Connections): void {
    const groups = grouped(found.connections);
    this.count.textContent = String(found.connections.length + found.left_off);
    const left = groups.length - MOST_GROUPS;
    this.body.replaceChildren(
      h("p", { class: "muted", "data-testid": "connections-head" }, headText(found)),
      ...uncomparedTexts(found.connections).map((text) => h("p", { class: "muted" }, text)),
      ...found.missing.map((sentence) => note("warn", `Some may be missing: ${sentence}.`)),
      h("ul", {}, ...groups.slice(0, MOST_GROUPS).map((group) => this.item(group))),
      ...(left > 0 || found.left_off > 0
        ? [h("p", { class: "muted" }, "More are not listed; the API gives up to 500.")]
        : []),
    );
  }

  private item(group: ConnectionGroup): HTMLElement {
    const { first } = group;
    const { name, addr } = peerText(first);
    const translated = translatedText(first);
    return h(
      "li",
      {
        class: first.now,
        "data-testid": "connection",
        "data-now": first.now,
        title: first.now === "unknown" && first.why ? `Not compared: ${first.why}.` : "",
      },
      h(
        "div",
        { class: "conn-line" },
        h("span", { class: "way" }, first.side === "client" ? "to" : "from"),
        h("b", {}, name),
        addr ? h("code", {}, addr) : null,
        h("span", { class: "muted" }, ` ${first.proto} ${first.state}`),
        group.all.length > 1 ? h("span", { class: "muted" }, ` × ${group.all.length}`) : null,
      ),
      translated ? h("p", { class: "muted" }, translated) : null,
      first.now === "otherwise" ? this.difference(first) : null,
      this.traceButton(first),
    );
  }

  private difference(one: Connection): HTMLElement {
    return h(
      "p",
      { class: "differs" },
      h(
        "b",
        { class: "sign", role: "img", "aria-label": "a new connection would be treated differently" },
        "≠",
      ),
      ` ${sentence(one.why ?? "")}`,
    );
  }

  private traceButton(one: Connection): HTMLElement {
    const { trace } = one;
    const { mayTrace } = this.context;
    const button = h(
      "button",
      {
        type: "button",
        class: "quiet",
        "data-testid": "connection-trace",
        disabled: trace === null || !mayTrace,
        title: !mayTrace
          ? VIEWER_REASON
          : trace === null
            ? "Its client isn’t known, so its packets can’t be traced from there."
            : `Trace this connection’s own packets (source port ${trace.sport})`,
      },
      icon("path"),
      "Trace",
    );
    button.addEventListener("click", () => {
      if (trace) void this.start(trace);
    });
    return button;
  }

  private async start(trace: NonNullable<Connection["trace"]>): Promise<void> {
    try {
      await this.context.startTrace(trace);
    } catch (error) {
      this.body.prepend(errorNote(error as Error));
    }
  }
}

function sentence(text: string): string {
  return text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}.` : "";
}

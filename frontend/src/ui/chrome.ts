// The page around the map: the top bar, the stale banner, the map's buttons and hover card.

import type { ArrivalWatch } from "../arrivals.js";
import type { FeedStatus } from "../feed.js";
import type { Graph } from "../graph/store.js";
import { namespaceLabel } from "../layout/box.js";
import type { Point } from "../layout/scene.js";
import type { Target } from "../map/hit.js";
import { linkFault } from "../map/picture.js";
import { toneOf } from "../problems.js";
import { copyButton, h, icon, setText } from "./dom.js";
import { loginHref } from "./errors.js";
import { seconds } from "./names.js";

export interface TopBarParts {
  search: HTMLElement;
  user: string;
  role: string;
  hasLab: boolean;
  arrivals: ArrivalWatch;
  csrf: string;
  onTheme(): void;
  onPods(): void;
}

export class TopBar {
  readonly element: HTMLElement;
  readonly podsButton = h(
    "button",
    {
      type: "button",
      class: "quiet icon-button",
      "aria-label": "Show or hide the list of pods",
      "aria-controls": "pods",
    },
    icon("list"),
  );
  private readonly badge = h("span", { class: "badge-count", "data-testid": "problem-count", hidden: true });
  private readonly waiting = h("span", {
    class: "badge-count",
    "data-tone": "warn",
    "data-testid": "waiting",
    hidden: true,
  });
  private readonly admin: HTMLAnchorElement | null;
  private readonly views: Record<string, HTMLElement>;

  constructor(parts: TopBarParts) {
    const theme = h(
      "button",
      {
        type: "button",
        class: "quiet icon-button",
        "aria-label": "Change between light and dark",
        "data-testid": "theme",
      },
      icon("sun"),
    );
    theme.addEventListener("click", () => parts.onTheme());
    this.podsButton.addEventListener("click", () => parts.onPods());
    this.views = {
      map: h("a", { href: "#/" }, "Map"),
      problems: h("a", { href: "#/problems", "data-testid": "problems-view" }, "Problems", this.badge),
      kube: h("a", { href: "#/services", "data-testid": "kube-view" }, "Services"),
    };
    const faults = parts.hasLab ? h("a", { href: "#/faults", "data-testid": "faults-view" }, "Faults") : null;
    const admin = parts.role === "administrator" ? h("a", { href: "/admin/" }, "Admin", this.waiting) : null;
    this.admin = admin;
    parts.arrivals.onChange(({ waiting }) => this.showWaiting(waiting));
    this.element = h(
      "header",
      { class: "topbar" },
      this.podsButton,
      h("h1", { class: "sr" }, "The pod network"),
      h("a", { href: "#/", class: "brand", "aria-label": "netviz, whole map" }, "netviz"),
      h("nav", { class: "views", "aria-label": "Views" }, ...Object.values(this.views), faults),
      h("span", { class: "spring" }),
      parts.search,
      h("a", { href: "#/trace", class: "button", "data-testid": "new-trace" }, icon("path"), "Trace"),
      admin,
      parts.user
        ? h(
            "span",
            { class: "user", title: `${parts.user}, ${parts.role}` },
            parts.user,
            h("span", { class: "role" }, parts.role),
          )
        : null,
      parts.user ? logoutForm(parts.csrf) : null,
      theme,
    );
  }

  update(graph: Graph): void {
    const open = graph.checking?.counts.open ?? 0;
    this.badge.hidden = open === 0;
    this.badge.dataset.tone = graph.checking ? toneOf(graph.checking) : "warn";
    setText(this.badge, String(open));
  }

  /** How many collectors wait for approval: beside the way to where an administrator gives it. */
  private showWaiting(count: number): void {
    if (!this.admin) return;
    this.waiting.hidden = count === 0;
    setText(this.waiting, String(count));
    this.admin.title =
      count === 0 ? "" : `${count} ${count === 1 ? "collector waits" : "collectors wait"} for approval`;
    this.admin.href = count === 0 ? "/admin/" : "/admin/inventory/collector/?status__exact=enrolled";
  }

  /** Say which view is shown. */
  show(view: "map" | "problems" | "kube"): void {
    for (const [name, link] of Object.entries(this.views)) {
      if (name === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
}

export function closeButton(onClose: () => void): HTMLElement {
  const attributes = { type: "button", class: "quiet icon-button close", "aria-label": "Close" };
  const close = h("button", attributes, icon("close"));
  close.addEventListener("click", onClose);
  return close;
}

export function skipLink(onSkip: () => void): HTMLElement {
  const skip = h("a", { href: "#map", class: "skip" }, "Skip to the map");
  skip.addEventListener("click", (event) => {
    event.preventDefault();
    onSkip();
  });
  return skip;
}

function logoutForm(csrf: string): HTMLElement {
  return h(
    "form",
    { method: "post", action: "/logout/", class: "logout" },
    h("input", { type: "hidden", name: "csrfmiddlewaretoken", value: csrf }),
    h("button", { type: "submit", class: "quiet", "data-testid": "logout" }, "Log out"),
  );
}

/** Says how old the picture is while the server isn't heard. */
export class StaleBanner {
  readonly element = h("div", { class: "banner", role: "alert", "data-testid": "stale", hidden: true });
  private readonly text = h("span", {});
  private readonly login = h("a", { class: "button", hidden: true }, "Log in again");
  private status: FeedStatus | null = null;
  private loggedOut = false;

  constructor(onRetry: () => void) {
    const retry = h("button", { type: "button" }, "Connect now");
    retry.addEventListener("click", onRetry);
    this.element.append(icon("alert"), this.text, this.login, retry);
    window.setInterval(() => this.render(), 1000);
  }

  show(status: FeedStatus): void {
    this.status = status;
    this.render();
  }

  /** The server no longer knows us: connecting again is of no use until the user has logged in. */
  showLogin(): void {
    this.loggedOut = true;
    this.login.href = loginHref();
    this.login.hidden = false;
    this.render();
  }

  private render(): void {
    const status = this.status;
    if (status?.state === "live") {
      this.loggedOut = false;
      this.login.hidden = true;
    }
    this.element.hidden = status?.state !== "stale";
    if (status?.state !== "stale") return;
    const age = status.heardAt === null ? "" : seconds((Date.now() - status.heardAt) / 1000);
    const wait = status.retryAt === null ? 0 : Math.max(0, Math.ceil((status.retryAt - Date.now()) / 1000));
    if (this.loggedOut) {
      setText(
        this.text,
        `You are no longer logged in: this data is ${age === "now" ? "just out of date" : `${age} old`}.`,
      );
      return;
    }
    const next = wait > 0 ? `Next try in ${wait} s.` : "Connecting…";
    setText(
      this.text,
      `No data from the server: what you see is ${age === "now" ? "just out of date" : `${age} old`}. ${next}`,
    );
  }
}

/** What to do next, in a corner of the map. */
export function mapHint(): { element: HTMLElement; say(text: string): void } {
  const element = h("p", { class: "maphint", "data-testid": "map-hint", hidden: true });
  return {
    element,
    say: (text) => {
      element.hidden = text === "";
      setText(element, text);
    },
  };
}

/** Of a server without TLS that isn't this machine: a collector has to be told that it may. */
function insecure(): string {
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return location.protocol === "http:" && !isLocal ? " --insecure-http" : "";
}

/** What runs a node's collector there. */
export function runCommand(node: string, token: string): string {
  return `.venv/bin/python -m agents run --server ${location.origin} --node ${node} --token-file ${token}${insecure()}`;
}

/** In place of an empty map: how a node gets onto it. */
export function emptyNote(role: string): HTMLElement {
  const isAdmin = role === "administrator";
  const command = runCommand('"$(hostname)"', "netviz.token");
  const first = isAdmin
    ? [
        h("a", { href: "/admin/inventory/collector/add/" }, "Enrol a collector"),
        ": its page shows the command to run, token and all. ",
      ]
    : [
        "Ask an administrator to enrol a collector, and keep its token in the file ",
        h("code", {}, "netviz.token"),
        ".",
      ];
  return h(
    "div",
    { class: "empty", "data-testid": "empty", hidden: true },
    h("h2", {}, "No node yet"),
    h("p", {}, "A node is drawn as soon as its collector connects."),
    h(
      "ol",
      {},
      h("li", {}, ...first),
      h(
        "li",
        {},
        "Run it on the node, as root, in a checkout of netviz:",
        h("div", { class: "code" }, h("code", {}, command), copyButton(command)),
      ),
      h(
        "li",
        {},
        "If it runs and no node comes: ",
        isAdmin
          ? h(
              "a",
              { href: "/admin/inventory/collector/?status__exact=enrolled" },
              "does it wait for approval?",
            )
          : "an administrator may have to approve it.",
      ),
    ),
    h("p", { class: "muted" }, "This page shows it without being loaded again."),
  );
}

export function mapButtons(actions: { in(): void; out(): void; fit(): void }): HTMLElement {
  const make = (name: string, label: string, action: () => void) => {
    const button = h("button", { type: "button", "aria-label": label, title: label }, icon(name));
    button.addEventListener("click", action);
    return button;
  };
  return h(
    "div",
    { class: "mapbuttons", role: "group", "aria-label": "Map" },
    make("plus", "Zoom in", actions.in),
    make("minus", "Zoom out", actions.out),
    make("fit", "Show all", actions.fit),
  );
}

/** The card beside the pointer: what one is about to click. */
export class HoverCard {
  readonly element = h("div", { class: "hovercard", role: "tooltip", hidden: true });

  constructor(
    private readonly graph: Graph,
    private readonly says: (target: Target) => string,
  ) {}

  show(target: Target | null, at: Point, room: { width: number; height: number }): void {
    const lines = target ? [...this.lines(target), this.says(target)].filter(Boolean) : [];
    this.element.hidden = lines.length === 0;
    if (lines.length === 0) return;
    const [title, ...rest] = lines as [string, ...string[]];
    this.element.replaceChildren(h("b", {}, title), ...rest.map((line) => h("span", {}, line)));
    const left = Math.min(at.x + 16, room.width - this.element.offsetWidth - 8);
    const below = at.y + 18 + this.element.offsetHeight < room.height;
    this.element.style.left = `${Math.max(8, left)}px`;
    this.element.style.top = `${below ? at.y + 18 : at.y - this.element.offsetHeight - 10}px`;
  }

  private lines(target: Target): string[] {
    const { graph } = this;
    if (target.type === "node") {
      const node = graph.nodes.get(target.name);
      const problems = graph.problemsAt(target.name).map((problem) => problem.headline);
      return node
        ? [node.name, ...node.addrs, ...node.pod_cidrs.map((cidr) => `pods ${cidr}`), ...problems.slice(0, 2)]
        : [];
    }
    if (target.type === "pod") {
      const ns = graph.netns.get(target.key);
      if (!ns) return [];
      const problems = graph.problemsAt(ns.key).map((problem) => problem.headline);
      return [
        namespaceLabel(ns),
        ns.pod ? `namespace ${ns.pod.namespace}` : "not a pod",
        ...ns.addrs,
        ...problems,
      ];
    }
    const link = graph.links.get(target.key);
    if (!link) return [];
    const fault = linkFault(link);
    const kind = `${link.kind || "physical"} · mtu ${link.mtu}`;
    return [link.ifname, kind, ...link.addrs, link.mac, fault ?? link.state].filter((line) => line !== "");
  }
}

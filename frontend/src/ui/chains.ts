// Netfilter chains: each folds, its rules with what they have counted, and the way to the chains that they jump to.

import type { NftChain } from "../api.js";
import { jumpOf } from "../tables.js";
import { copyButton, h } from "./dom.js";

/** Which chains are open; kept while the counters change. */
export class Chains {
  private readonly opened = new Map<string, boolean>();

  /** `find` keeps the chains and rules that have its words. */
  body(chains: NftChain[], find: string): HTMLElement {
    if (chains.length === 0) return h("p", { class: "muted" }, "No netfilter chains.");
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (text: string) => words.every((word) => text.toLowerCase().includes(word));
    const parts = chains.flatMap((chain) => {
      const isNamed = has(idOf(chain));
      const rules = chain.rules.map((text, number) => ({ text, number }));
      const kept = isNamed ? rules : rules.filter((rule) => has(`${idOf(chain)} ${rule.text}`));
      return words.length === 0 || isNamed || kept.length > 0
        ? [this.chain(chain, kept, words.length > 0, chains)]
        : [];
    });
    if (parts.length === 0) return h("p", { class: "muted" }, "No chain or rule matches.");
    const all = h("div", { class: "chains" }, ...parts);
    const fold = (open: boolean, text: string) => {
      const button = h("button", { type: "button", class: "quiet inline" }, text);
      button.addEventListener("click", () => {
        for (const box of all.querySelectorAll("details")) box.open = open;
      });
      return button;
    };
    return h(
      "div",
      {},
      h("div", { class: "foldall" }, fold(true, "Unfold all"), fold(false, "Fold all")),
      all,
    );
  }

  private chain(
    chain: NftChain,
    rules: { text: string; number: number }[],
    isFound: boolean,
    all: NftChain[],
  ): HTMLElement {
    const id = idOf(chain);
    const hook = chain.hook
      ? `${chain.hook} · priority ${chain.priority}${chain.policy ? ` · policy ${chain.policy}` : ""}`
      : "called by other chains";
    const many = chain.rules.length === 1 ? "1 rule" : `${chain.rules.length} rules`;
    const isOpen = isFound || (this.opened.get(id) ?? (chain.rules.length > 0 && chain.rules.length < 12));
    const siblings = all.filter((one) => one.family === chain.family && one.table === chain.table);
    const names = new Set(siblings.map((one) => one.chain));
    const isCounted = chain.counts.some((one) => one !== null);
    const box = h(
      "details",
      { open: isOpen, id: anchorOf(id), "data-chain": id },
      h("summary", {}, h("b", {}, id), h("span", { class: "muted" }, `${hook} · ${many}`)),
      ...rules.map(({ text, number }) =>
        this.rule(text, isCounted ? (chain.counts[number] ?? null) : undefined, jumpOf(text, names), chain),
      ),
      chain.counted_at !== null
        ? h("p", { class: "muted counted" }, `Counters as of ${timeOf(chain.counted_at)}.`)
        : null,
    );
    box.addEventListener("toggle", () => this.opened.set(id, box.open));
    return box;
  }

  /** `count`: null of a rule without a counter, undefined where none of the chain's is known. */
  private rule(
    text: string,
    count: [number, number] | null | undefined,
    jump: ReturnType<typeof jumpOf>,
    chain: NftChain,
  ): HTMLElement {
    const code = h("code", {}, jump ? text.slice(0, jump.at) : text);
    if (jump) {
      const id = anchorOf(idOf({ ...chain, chain: jump.chain }));
      const link = h(
        "button",
        { type: "button", class: "linklike", title: `To chain ${jump.chain}` },
        jump.chain,
      );
      link.addEventListener("click", () => openChain(link, id));
      code.append(link, text.slice(jump.at + jump.chain.length));
    }
    return h(
      "div",
      { class: "code rule", "data-counted": count ? String(count[0]) : null },
      count === undefined ? null : counter(count),
      code,
      copyButton(text),
    );
  }
}

function counter(count: [number, number] | null): HTMLElement {
  if (!count) return h("span", { class: "counter none", title: "It has no counter" }, "–");
  const [packets, bytes] = count.map((one) => one.toLocaleString("en"));
  return h("span", { class: "counter", title: `${packets} packets, ${bytes} bytes` }, short(count[0]));
}

function openChain(from: HTMLElement, id: string): void {
  const box = from.closest(".chains")?.querySelector<HTMLDetailsElement>(`#${CSS.escape(id)}`);
  if (!box) return;
  box.open = true;
  box.scrollIntoView({ block: "nearest" });
  box.querySelector("summary")?.focus({ preventScroll: true });
}

function idOf(chain: Pick<NftChain, "family" | "table" | "chain">): string {
  return `${chain.family} ${chain.table} ${chain.chain}`;
}

function anchorOf(id: string): string {
  return `chain-${id.replace(/[^\w-]+/g, "-")}`;
}

function timeOf(at: number): string {
  return `${new Date(at * 1000).toISOString().slice(11, 19)} UTC`;
}

/** Three figures: 1.24M. */
export function short(value: number): string {
  if (value < 1000) return String(value);
  for (const [unit, size] of [
    ["k", 1e3],
    ["M", 1e6],
    ["G", 1e9],
    ["T", 1e12],
  ] as const) {
    if (value < size * 999.5 || unit === "T") {
      const scaled = value / size;
      return `${scaled >= 100 ? Math.round(scaled) : scaled >= 10 ? scaled.toFixed(1) : scaled.toFixed(2)}${unit}`;
    }
  }
  return String(value);
}

// What is asked of policies: why a flow is allowed or denied, and what proposed ones would change.

import type { Api } from "../api.js";
import type { Answer, Preview, Tone, Why, WhyHalf } from "../kube.js";
import { h } from "./dom.js";
import { errorNote, note } from "./errors.js";
import { joinedLinks, leftOff, mark, policyLink, section, table } from "./kubeparts.js";
import { count } from "./names.js";

const TONES: Record<Answer, { tone: Tone; words: string; symbol: string }> = {
  allowed: { tone: "ok", words: "becomes allowed", symbol: "passes" },
  denied: { tone: "bad", words: "becomes denied", symbol: "breaks" },
  unknown: { tone: "none", words: "becomes unknown", symbol: "doubt" },
  mixed: { tone: "none", words: "becomes partly allowed", symbol: "doubt" },
};

/** Stands below what is shown of policies, and stays as it is while that is drawn anew. */
export function policyAsks(api: Api): HTMLElement {
  return h("div", { class: "kube-asks" }, whyForm(api), previewForm(api));
}

function whyForm(api: Api): HTMLElement {
  const from = field("From", "shop/web-1, deploy/shop/web, 203.0.113.7", "why-from");
  const to = field("To", "shop/db-0, svc/shop/db", "why-to");
  const port = field("Port", "auto", "why-port", "number");
  const proto = h(
    "select",
    { "data-testid": "why-proto" },
    ...["tcp", "udp"].map((name) => h("option", { value: name }, name.toUpperCase())),
  );
  const answer = h("div", { class: "answer-box", "aria-live": "polite", "data-testid": "why-answer" });
  const form = h(
    "form",
    { class: "ask-form", novalidate: true },
    from.label,
    to.label,
    h("label", {}, h("span", {}, "Protocol"), proto),
    port.label,
    h("button", { type: "submit", class: "button", "data-testid": "why-submit" }, "Why?"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = new URLSearchParams({
      from: from.input.value.trim(),
      to: to.input.value.trim(),
      proto: proto.value,
    });
    if (port.input.value) query.set("dport", port.input.value);
    void ask(answer, async () => {
      const found = await api.get<{ flows: Why[]; left_off: number; unsure: string[] }>(`/api/why?${query}`);
      return [
        ...unsure(found.unsure),
        ...found.flows.map(whyAnswer),
        ...shown(leftOff(found.left_off, "more endpoint is", "more endpoints are")),
      ];
    });
  });
  return section("Why is this allowed or denied", "by the API’s policies", form, answer);
}

/** What an answer lacks stands before it. */
export function unsure(sentences: string[]): HTMLElement[] {
  return sentences.map((sentence) => note("warn", `Not sure: ${sentence}.`));
}

function shown(one: HTMLElement | null): HTMLElement[] {
  return one ? [one] : [];
}

function whyAnswer(why: Why): HTMLElement {
  const tone = why.allowed === null ? "none" : why.allowed ? "ok" : "bad";
  const symbol = why.allowed === null ? "doubt" : why.allowed ? "passes" : "breaks";
  return h(
    "div",
    { class: "why-one" },
    h("p", {}, mark(tone, why.flow, symbol)),
    h("p", {}, why.sentence),
    half("Sending", why.egress),
    half("Receiving", why.ingress),
  );
}

function half(title: string, one: WhyHalf): HTMLElement | null {
  if (one.policies.length === 0) return null;
  return h(
    "p",
    { class: "muted" },
    `${title}: `,
    ...joinedLinks(one.policies.map(policyLink)),
    one.rule?.text
      ? `; rule ${one.rule.number} of ${one.rule.policy} ${one.allowed ? "allows" : "denies"} flows ${one.rule.text}`
      : "",
  );
}

function previewForm(api: Api): HTMLElement {
  const text = h("textarea", {
    rows: 6,
    spellcheck: "false",
    placeholder:
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n… or a policy for the whole cluster: ClusterNetworkPolicy, AdminNetworkPolicy",
    "aria-label": "A policy as YAML",
    "data-testid": "preview-text",
  });
  const answer = h("div", { class: "answer-box", "aria-live": "polite", "data-testid": "preview-answer" });
  const form = h(
    "form",
    { novalidate: true },
    text,
    h(
      "button",
      { type: "submit", class: "button", "data-testid": "preview-submit" },
      "What would it change?",
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask(answer, async () =>
      previewAnswer(await api.postText<Preview>("/api/policy-preview", text.value)),
    );
  });
  return section("What would a policy change", "paste it; nothing is applied", form, answer);
}

function previewAnswer(found: Preview): HTMLElement[] {
  const broken = found.connections.reduce((sum, one) => sum + one.count, 0);
  return [
    ...unsure(found.unsure),
    h(
      "p",
      {},
      `${count(found.selected, "pod", "pods")} selected. `,
      found.changes.length === 0 ? "No flow that was compared would be decided differently." : "",
    ),
    ...(found.changes.length > 0
      ? [
          table(
            ["", "From", "To", "At", "Decided by"],
            found.changes.map((one) => [
              becomes(one.becomes),
              counted(one.from, one.from_pods),
              counted(one.to, one.to_pods),
              one.ports.join(", "),
              one.by.join(", ") || "no policy",
            ]),
            "preview-changes",
          ),
        ]
      : []),
    h(
      "p",
      {},
      `${broken === 0 ? "None" : broken.toLocaleString("en")} of ${count(found.connections_seen, "present connection", "present connections")} would be decided differently if begun again.`,
    ),
    ...(found.connections.length > 0
      ? [
          table(
            ["", "From", "To", "Port", "Connections"],
            found.connections.map((one) => [
              becomes(one.becomes),
              one.from,
              one.to,
              one.port,
              String(one.count),
            ]),
            "preview-connections",
          ),
        ]
      : []),
  ];
}

function becomes(answer: Answer): HTMLElement {
  const { tone, words, symbol } = TONES[answer];
  return mark(tone, words, symbol);
}

function counted(name: string, pods: number): HTMLElement {
  return h(
    "span",
    {},
    name,
    pods > 1 ? h("span", { class: "muted" }, ` ${count(pods, "pod", "pods")}`) : null,
  );
}

export interface Field {
  label: HTMLElement;
  input: HTMLInputElement;
}

export function field(title: string, placeholder: string, testid: string, type = "text"): Field {
  const input = h("input", {
    type,
    placeholder,
    autocomplete: "off",
    spellcheck: "false",
    min: type === "number" ? 1 : null,
    max: type === "number" ? 65535 : null,
    "data-testid": testid,
  });
  return {
    label: h("label", { class: type === "number" ? "short" : "" }, h("span", {}, title), input),
    input,
  };
}

/** Show in a box what is answered, or what went wrong. */
export async function ask(box: HTMLElement, answer: () => Promise<HTMLElement[]>): Promise<void> {
  box.setAttribute("aria-busy", "true");
  try {
    box.replaceChildren(...(await answer()));
  } catch (error) {
    box.replaceChildren(errorNote(error as Error));
  } finally {
    box.removeAttribute("aria-busy");
  }
}

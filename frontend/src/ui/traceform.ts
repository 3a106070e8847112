// What to trace: from, to, and the packet.

import { ApiError } from "../api.js";
import { naturalCompare } from "../layout/natural.js";
import type { TraceRequest } from "../trace/types.js";
import { type Context, VIEWER_REASON } from "./context.js";
import { h, icon } from "./dom.js";
import { fillError } from "./errors.js";
import { traceName } from "./names.js";

export class TraceForm {
  readonly element = h("form", { class: "traceform", "data-testid": "trace-form", novalidate: true });
  readonly from = textField("from", "Pod, node or address");
  readonly to = textField("to", "Pod or address");
  private readonly proto = h("select", { name: "proto", id: "trace-proto" });
  private readonly dport = numberField("dport", 65535);
  private readonly sport = numberField("sport", 65535);
  private readonly len = numberField("len", 65535);
  private readonly df = h("input", { type: "checkbox", name: "df", id: "trace-df" });
  private readonly error = h("div", {
    class: "note bad",
    id: "trace-error",
    role: "alert",
    "data-testid": "trace-error",
    hidden: true,
  });
  private readonly submit = h(
    "button",
    { type: "submit", class: "primary", "data-testid": "trace-submit" },
    icon("path"),
    "Trace",
  );
  private readonly fields = h("fieldset", {});

  constructor(private readonly context: Context) {
    for (const name of ["auto", "tcp", "udp", "icmp"])
      this.proto.append(h("option", { value: name }, name === "auto" ? name : name.toUpperCase()));
    this.proto.title = "auto: what listens there";
    const options = h("datalist", { id: "trace-ends" });
    this.from.addEventListener("focus", () => this.fillOptions(options));
    this.to.addEventListener("focus", () => this.fillOptions(options));
    const swap = h(
      "button",
      { type: "button", class: "quiet swap", title: "Swap from and to", "aria-label": "Swap from and to" },
      icon("swap"),
    );
    swap.addEventListener("click", () => {
      [this.from.value, this.to.value] = [this.to.value, this.from.value];
    });
    this.proto.addEventListener("change", () => this.protoChanged());
    this.fields.append(
      labelled("From", this.from),
      swap,
      labelled("To", this.to),
      h(
        "div",
        { class: "packet" },
        labelled("Protocol", this.proto),
        labelled("Port", this.dport),
        labelled("Source port", this.sport),
        labelled("Bytes", this.len),
        h("label", { class: "check" }, this.df, "Don’t fragment"),
      ),
      this.submit,
      options,
    );
    this.fields.disabled = !context.mayTrace;
    this.element.append(this.fields, this.error);
    if (!context.mayTrace)
      this.element.append(h("p", { class: "muted reason", "data-testid": "trace-reason" }, VIEWER_REASON));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.run();
    });
    this.protoChanged();
  }

  fill(request: Partial<TraceRequest>): void {
    this.from.value = request.from ?? "";
    this.to.value = request.to ?? "";
    if (request.proto) this.proto.value = request.proto;
    this.dport.value = numberText(request.dport);
    this.sport.value = numberText(request.sport);
    this.len.value = numberText(request.len);
    this.df.checked = request.df ?? false;
    this.protoChanged();
  }

  /** Whether the last try was refused, and the form says why. */
  get hasFailed(): boolean {
    return !this.error.hidden;
  }

  /** Fill in a request that the server refused, with what it said. */
  show(request: TraceRequest, error: Error): void {
    this.fill(request);
    this.refused(error);
  }

  async run(keep = false): Promise<void> {
    this.clear();
    const wrong = this.firstWrong();
    if (wrong) {
      this.fail(new Error(wrong.message), wrong.field);
      return;
    }
    this.fields.disabled = true;
    try {
      await this.context.startTrace(this.request(), keep);
    } catch (error) {
      this.fields.disabled = false;
      this.refused(error as Error);
    } finally {
      this.fields.disabled = !this.context.mayTrace;
    }
  }

  private firstWrong(): { field: HTMLInputElement; message: string } | null {
    if (!this.from.value.trim())
      return { field: this.from, message: "Say where the packet starts: a pod, a node or an address." };
    if (!this.to.value.trim())
      return { field: this.to, message: "Say where the packet goes: a pod or an address." };
    const numbers = [
      { field: this.dport, name: "The port", least: 1 },
      { field: this.sport, name: "The source port", least: 1 },
      { field: this.len, name: "The length in bytes", least: LEAST_BYTES },
    ];
    for (const { field, name, least } of numbers) {
      if (!field.disabled && !isNumberWithin(field, least, 65535))
        return { field, message: `${name} is a whole number from ${least} to 65535, or left empty.` };
    }
    return null;
  }

  /** The server says no: mark the end that it doesn't know, and name similar ones. */
  private refused(error: Error): void {
    const unknown = [this.from, this.to].find((field) => error.message.includes(`'${field.value.trim()}'`));
    const alike =
      unknown && error instanceof ApiError && error.status === 400 ? this.alike(unknown.value) : [];
    this.fail(error, unknown);
    if (!unknown) return;
    if (alike.length === 0) {
      this.error.append(h("p", { class: "alike" }, "Type the name of a pod or a node, or an IP address."));
      return;
    }
    const choices = alike.map((name) => {
      const button = h("button", { type: "button", class: "quiet inline" }, name);
      button.addEventListener("click", () => {
        unknown.value = name;
        this.clear();
        unknown.focus();
      });
      return button;
    });
    this.error.append(h("p", { class: "alike" }, "Do you mean ", ...choices, "?"));
  }

  /** Pods whose names begin like what was typed. */
  private alike(typed: string): string[] {
    const name = typed.trim().toLowerCase().split("/").at(-1) ?? "";
    const pods = [...this.context.graph.netns.values()].filter((ns) => ns.pod);
    for (let keep = name.length; keep >= 2; keep -= 1) {
      const found = pods.filter((ns) => ns.pod?.name.toLowerCase().startsWith(name.slice(0, keep)));
      if (found.length > 0) return found.map(traceName).sort(naturalCompare).slice(0, 3);
    }
    return [];
  }

  private fail(error: Error, field?: HTMLInputElement): void {
    fillError(this.error, error);
    this.error.hidden = false;
    if (!field) return;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", this.error.id);
    field.focus();
  }

  private clear(): void {
    this.error.hidden = true;
    for (const field of [this.from, this.to, this.dport, this.sport, this.len]) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
  }

  private request(): TraceRequest {
    const request: TraceRequest = {
      from: this.from.value.trim(),
      to: this.to.value.trim(),
      proto: this.proto.value,
    };
    if (this.proto.value !== "icmp") {
      if (this.dport.value) request.dport = Number(this.dport.value);
      if (this.sport.value) request.sport = Number(this.sport.value);
    }
    if (this.len.value) request.len = Number(this.len.value);
    if (this.df.checked) request.df = true;
    return request;
  }

  private protoChanged(): void {
    const icmp = this.proto.value === "icmp";
    this.dport.disabled = icmp;
    this.sport.disabled = icmp;
  }

  private fillOptions(list: HTMLElement): void {
    const names: string[] = [];
    for (const ns of this.context.graph.netns.values()) {
      if (names.length >= 1000) break;
      if (ns.pod) names.push(traceName(ns));
    }
    list.replaceChildren(...names.sort().map((name) => h("option", { value: name })));
  }
}

function textField(name: string, placeholder: string): HTMLInputElement {
  return h("input", {
    type: "text",
    name,
    id: `trace-${name}`,
    placeholder,
    list: "trace-ends",
    autocomplete: "off",
    spellcheck: "false",
  });
}

function numberField(name: string, most: number): HTMLInputElement {
  return h("input", {
    type: "number",
    name,
    id: `trace-${name}`,
    min: 1,
    max: most,
    inputmode: "numeric",
    placeholder: "auto",
  });
}

function labelled(title: string, field: HTMLElement): HTMLElement {
  return h("label", { class: "field" }, h("span", {}, title), field);
}

/** The smallest packet that the server takes: an IPv4 header. */
const LEAST_BYTES = 20;

function isNumberWithin(field: HTMLInputElement, least: number, most: number): boolean {
  if (field.validity.badInput) return false;
  const value = Number(field.value);
  return field.value === "" || (Number.isInteger(value) && value >= least && value <= most);
}

function numberText(value: number | null | undefined): string {
  return value === null || value === undefined ? "" : String(value);
}

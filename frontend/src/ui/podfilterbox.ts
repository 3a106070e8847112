// What narrows the list of pods: the box above it, and the endpoints of services that are named there.

import { fits, type Listed, parseFilter, type Term } from "../podfilter.js";
import { h, icon } from "./dom.js";

export class PodFilter {
  readonly element: HTMLElement;
  private readonly input = h("input", {
    type: "search",
    placeholder: "Name, ns:, label:, svc:",
    "aria-label": "Filter pods by name, ns:, workload:, label:, svc:, node: or zone:",
    "data-testid": "pod-filter",
  });
  private terms: Term[] = [];
  private readonly endpoints = new Map<string, Set<string>>();

  constructor(
    private readonly onChange: () => void,
    private readonly endpointsOf: (service: string) => Promise<Set<string>>,
  ) {
    this.input.addEventListener("input", () => this.read());
    this.element = h("label", { class: "pod-filter" }, icon("search"), this.input);
  }

  focus(): void {
    this.input.focus();
  }

  get isEmpty(): boolean {
    return this.terms.length === 0;
  }

  fits(entry: Listed): boolean {
    return fits(this.terms, entry, this.endpoints);
  }

  private read(): void {
    this.terms = parseFilter(this.input.value);
    for (const { key, value } of this.terms) {
      if (key === "service" && /^[^/]+\/[^/]+$/.test(value)) void this.learn(value);
    }
    this.onChange();
  }

  private async learn(service: string): Promise<void> {
    this.endpoints.set(service, await this.endpointsOf(service).catch(() => new Set<string>()));
    this.onChange();
  }
}

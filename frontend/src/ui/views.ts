// The views that cover the map, which stays as it is below them: problems, and what the Kubernetes API has.

import type { Route } from "../route.js";
import type { Context } from "./context.js";
import { KubeView } from "./kubeview.js";
import { ProblemsView } from "./problemsview.js";

export type ViewName = "map" | "problems" | "kube";

export class Views {
  private problems: ProblemsView | null = null;
  private kube: KubeView | null = null;

  constructor(
    private readonly context: Context,
    private readonly main: HTMLElement,
  ) {}

  update(): void {
    this.problems?.update();
    this.kube?.update();
  }

  key(event: KeyboardEvent): boolean {
    return this.problems?.key(event) ?? false;
  }

  /** Go to what narrows the list that covers the map; false where none does. */
  focusFilter(): boolean {
    const view = this.problems ?? this.kube;
    view?.focusFilter();
    return view !== null;
  }

  /** Show the view of an address, if it has one; return its name. */
  show(route: Route): ViewName {
    if (route.page !== "problems") this.problems = drop(this.problems);
    if (route.page !== "kube") this.kube = drop(this.kube);
    if (route.page === "problems") {
      this.problems ??= this.open(new ProblemsView(this.context));
      this.problems.show(route.list, route.id);
      return "problems";
    }
    if (route.page !== "kube") return "map";
    this.kube ??= this.open(new KubeView(this.context));
    this.kube.show(route.kind, route.id);
    return "kube";
  }

  private open<T extends { element: HTMLElement }>(view: T): T {
    this.main.append(view.element);
    view.element.focus();
    return view;
  }
}

function drop(view: { element: HTMLElement; dispose(): void } | null): null {
  view?.dispose();
  view?.element.remove();
  return null;
}

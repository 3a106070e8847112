// What the panels may do: read the graph, go somewhere, start a trace. The app implements it.

import type { Api } from "../api.js";
import type { Command } from "../find/commands.js";
import type { ProblemObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import type { Target } from "../map/hit.js";
import type { Rates } from "../rates.js";
import type { Route } from "../route.js";
import type { PictureForm } from "../share/save.js";
import type { TraceRequest } from "../trace/types.js";

export interface Context {
  readonly graph: Graph;
  readonly api: Api;
  readonly rates: Rates;
  readonly role: string;
  readonly mayTrace: boolean;
  /** Why no probe may be sent; "" where one may. */
  readonly whyNotObserve: string;
  go(route: Route, replace?: boolean): void;
  showOnMap(target: Target): void;
  /** Say what was done, where nothing else on the page shows it. */
  announce(text: string): void;
  /** Save a picture of what is shown. */
  savePicture(form: PictureForm): Promise<void>;
  /** Go to the place of a problem's cause on the map. */
  showProblem(problem: ProblemObj): void;
  /** Start a trace and show it, with what was selected in the one that is shown where `keep` says so. */
  startTrace(request: TraceRequest, keep?: boolean): Promise<void>;
}

export interface Panel {
  readonly element: HTMLElement;
  /** The graph has changed. */
  update(): void;
  dispose?(): void;
  /** What it can do besides, for the palette and the keys. */
  commands?(): Command[];
}

export const VIEWER_REASON =
  "Your role is viewer: you can read traces but not start them. An administrator can make you an operator.";

export const FAULTS_REASON =
  "Your role is viewer: faults are made and mended by operators. An administrator can make you one.";

/** Why who looks may send no probe; "" where they may. `observe` is the server's switch, as the page's shell has it. */
export function whyNotObserve(mayTrace: boolean, observe: string | undefined): string {
  if (!mayTrace) return VIEWER_REASON;
  return observe === "yes" ? "" : "This server doesn’t observe: it was started without NETVIZ_OBSERVE=1.";
}

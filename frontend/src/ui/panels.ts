// Which panel stands beside the map for what is shown.

import type { Route, TraceView } from "../route.js";
import { Compose } from "./compose.js";
import type { Context, Panel } from "./context.js";
import { FaultsPanel } from "./faultspanel.js";
import { Inspector } from "./inspector.js";
import { TracePanel } from "./tracepanel.js";

/** The panel of a route; null where there is none. `onShown`: what is shown of the trace is another part of it. */
export function panelOf(context: Context, route: Route, onShown: () => void): Panel | null {
  switch (route.page) {
    case "select":
      return new Inspector(context, route.target, route.tables);
    case "faults":
      return new FaultsPanel(context);
    case "compose":
      return new Compose(context, route.from, route.to);
    case "trace": {
      const { id } = route;
      const onView = (view: TraceView) => context.go({ page: "trace", id, view }, true);
      return new TracePanel(context, route.view, onView, onShown);
    }
    default:
      return null;
  }
}

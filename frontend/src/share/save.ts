// Saves the picture of what is shown: a trace's nodes and path, or the map as it is.

import type { Graph } from "../graph/store.js";
import { litRoutes } from "../lit.js";
import type { MapView } from "../map/mapview.js";
import { NO_OVERLAY } from "../map/overlay.js";
import type { Route } from "../route.js";
import type { Trace } from "../trace/types.js";
import { download, fileName } from "../ui/download.js";
import { mapPicture, toPng, tracePicture } from "./picture.js";

export type PictureForm = "svg" | "png";

export async function savePicture(
  form: PictureForm,
  map: MapView,
  graph: Graph,
  route: Route,
  trace: Trace | null,
): Promise<void> {
  const ofTrace = trace && route.page === "trace" ? tracePicture(map, graph, trace, route.view) : null;
  const isNode = route.page === "select" && route.target.type === "node";
  const routes = isNode ? litRoutes(graph, map.scene, (route.target as { name: string }).name) : null;
  const picture = ofTrace ?? mapPicture(map, routes ?? NO_OVERLAY);
  const name = ofTrace && route.page === "trace" ? fileName("trace", route.id) : "netviz-map";
  if (form === "svg") download(`${name}.svg`, picture.svg, "image/svg+xml");
  else download(`${name}.png`, await toPng(picture));
}

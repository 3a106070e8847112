// The overlays that there are.

import type { Graph } from "../graph/store.js";
import type { Rates } from "../rates.js";
import { addressesOverlay } from "./addresses.js";
import { mtuOverlay } from "./mtu.js";
import type { Overlay, OverlayId, Shade } from "./overlay.js";
import { problemsOverlay } from "./problems.js";
import { dropsOverlay, trafficOverlay } from "./rates.js";
import { stalenessOverlay } from "./staleness.js";
import { tunnelsOverlay } from "./tunnels.js";

/** What they are called where one is chosen. */
export const OVERLAY_NAMES: Record<OverlayId, string> = {
  problems: "Problems",
  staleness: "Age",
  traffic: "Traffic",
  drops: "Drops",
  mtu: "MTU",
  tunnels: "Tunnels",
  addresses: "Addresses",
};

/** An overlay that works each thing out once between two changes of the graph: drawing asks at every frame. */
export function makeOverlay(id: OverlayId, graph: Graph, rates: Rates): Overlay {
  const own = makePlain(id, graph, rates);
  const [nodes, pods, links] = [0, 1, 2].map(() => new Map<string, Shade>()) as [Shades, Shades, Shades];
  const once = (shades: Shades, key: string, make: () => Shade): Shade => {
    const known = shades.get(key);
    if (known) return known;
    const made = make();
    shades.set(key, made);
    return made;
  };
  return {
    ...own,
    node: (node) => once(nodes, node.name, () => own.node(node)),
    pod: (ns, port, inside) => once(pods, ns.key, () => own.pod(ns, port, inside)),
    link: (link) => once(links, link.key, () => own.link(link)),
    forget() {
      for (const shades of [nodes, pods, links]) shades.clear();
      own.forget();
    },
  };
}

type Shades = Map<string, Shade>;

function makePlain(id: OverlayId, graph: Graph, rates: Rates): Overlay {
  switch (id) {
    case "problems":
      return problemsOverlay(graph);
    case "staleness":
      return stalenessOverlay(graph);
    case "traffic":
      return trafficOverlay(graph, rates);
    case "drops":
      return dropsOverlay(graph, rates);
    case "mtu":
      return mtuOverlay(graph);
    case "tunnels":
      return tunnelsOverlay(graph);
    case "addresses":
      return addressesOverlay(graph);
  }
}

// What links carry, and what they lose, by the counters that are read while one looks. A node is the sum of its NICs.

import type { LinkObj, NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { bitsText, figures, type LinkRate, type Rates } from "../rates.js";
import { NODE_UNKNOWN, NONE, type Overlay, type Shade, step, UNKNOWN } from "./overlay.js";

/** Bits a second in and out, from which the second to the fourth step begin. */
const STEPS: [number, number, number] = [1e6, 1e7, 1e8];

function nicsOf(graph: Graph, node: NodeObj): LinkObj[] {
  const root = graph.rootOf(node.name);
  const devs = new Set(node.subnets.map((one) => one.dev));
  return root ? graph.linksOf(root.key).filter((link) => devs.has(link.ifname)) : [];
}

function sampledGap(graph: Graph, rates: Rates): string {
  const asked = rates.asked.length;
  const nodes = graph.nodes.size;
  return asked < nodes
    ? `read of ${asked.toLocaleString("en")} of ${nodes.toLocaleString("en")} nodes, those in sight`
    : "";
}

/** What isn't known of a node is said once. */
function asNode(shade: Shade): Shade {
  return shade.tone === "unknown" ? NODE_UNKNOWN : shade;
}

export function trafficOverlay(graph: Graph, rates: Rates): Overlay {
  const shade = (links: (LinkRate | undefined)[], isInverse = false): Shade => {
    if (links.length === 0 || links.some((one) => !one?.rate)) return UNKNOWN;
    let [rx, tx] = [0, 0];
    for (const one of links) {
      rx += one?.rate?.rxBytes ?? 0;
      tx += one?.rate?.txBytes ?? 0;
    }
    const [into, out] = isInverse ? [tx, rx] : [rx, tx];
    if (into + out === 0) return { tone: "none", label: "no traffic" };
    return { tone: step((into + out) * 8, STEPS), label: `in ${bitsText(into)}, out ${bitsText(out)}` };
  };
  return {
    id: "traffic",
    isSampled: true,
    node: (node) => asNode(shade(nicsOf(graph, node).map((link) => rates.get(link.key)))),
    pod(_, port, inside) {
      if (inside && rates.get(inside.key)) return shade([rates.get(inside.key)]);
      return port ? shade([rates.get(port.key)], true) : UNKNOWN;
    },
    link: (link) => (link.kind === "loopback" ? NONE : shade([rates.get(link.key)])),
    legend: [
      ["none", "no traffic"],
      ["r1", "under 1 Mb/s"],
      ["r2", "1"],
      ["r3", "10"],
      ["r4", "100 Mb/s and more"],
      ["unknown", "not known"],
    ],
    gap: () => sampledGap(graph, rates),
    forget: () => {},
  };
}

export function dropsOverlay(graph: Graph, rates: Rates): Overlay {
  const shade = (one: LinkRate | undefined): Shade => {
    if (!one) return UNKNOWN;
    const before = one.dropped + one.errors;
    if (!one.rate)
      return before > 0 ? { tone: "unknown", label: `${words(one)}, since when isn’t known` } : UNKNOWN;
    const { dropped, errors } = one.rate;
    if (dropped > 0) return { tone: "warn", label: `${figures(dropped)} dropped/s` };
    if (errors > 0) return { tone: "warn", label: `${figures(errors)} errors/s` };
    return before > 0 ? { tone: "r2", label: `${words(one)} before` } : { tone: "none", label: "none" };
  };
  return {
    id: "drops",
    isSampled: true,
    node(node) {
      const root = graph.rootOf(node.name);
      if (!root) return NODE_UNKNOWN;
      const links = graph.linksOf(root.key).filter((link) => link.kind !== "loopback");
      const shades = links.map((link) => shade(rates.get(link.key)));
      const now = shades.filter((one) => one.tone === "warn").length;
      if (now > 0) return { tone: "warn", label: `drops on ${now} ${now === 1 ? "link" : "links"}` };
      if (shades.some((one) => one.tone === "unknown") || shades.length === 0) return NODE_UNKNOWN;
      const before = shades.filter((one) => one.tone === "r2").length;
      return before > 0 ? { tone: "r2", label: "none now" } : { tone: "none", label: "none" };
    },
    pod(_, port, inside) {
      const [a, b] = [inside, port].map((link) => link && shade(rates.get(link.key)));
      return a && (a.tone === "warn" || b?.tone !== "warn") ? a : (b ?? UNKNOWN);
    },
    link: (link) => (link.kind === "loopback" ? NONE : shade(rates.get(link.key))),
    legend: [
      ["none", "none since the link was made"],
      ["r2", "before, none now"],
      ["warn", "drops or errors now"],
      ["unknown", "not known"],
    ],
    gap: () => sampledGap(graph, rates),
    forget: () => {},
  };
}

function words({ dropped, errors }: LinkRate): string {
  const parts = [];
  if (dropped > 0) parts.push(`${dropped.toLocaleString("en")} dropped`);
  if (errors > 0) parts.push(`${errors.toLocaleString("en")} errors`);
  return parts.join(", ");
}

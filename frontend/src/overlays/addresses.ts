// The address plan: each node's range for pods, how full it is, and ranges that overlap.

import type { NodeObj } from "../graph/model.js";
import type { Graph } from "../graph/store.js";
import { NONE, type Overlay, type Shade, step, UNKNOWN } from "./overlay.js";
import { contains, type Prefix, parsePrefix, usable } from "./prefix.js";

/** Parts of a range that are in use, from which the second to the fourth step begin. */
const STEPS: [number, number, number] = [0.25, 0.5, 0.8];

export function addressesOverlay(graph: Graph): Overlay {
  let clashes: Map<string, Shade> | null = null;

  const node = (one: NodeObj): Shade => {
    const ranges = one.pod_cidrs.flatMap((cidr) => parsePrefix(cidr) ?? []);
    if (ranges.length === 0) return { ...UNKNOWN, label: "no range known" };
    clashes ??= findClashes(graph);
    const clash = clashes.get(one.name);
    if (clash) return clash;
    const [first] = ranges;
    const size = first ? usable(first) : 0;
    if (!Number.isSafeInteger(size) || size <= 0) return { tone: "r1", label: one.pod_cidrs[0] ?? "" };
    const tone = one.pods >= size ? "warn" : step(one.pods / size, STEPS);
    return { tone, label: `${one.pods.toLocaleString("en")} pods in ${size.toLocaleString("en")}` };
  };

  return {
    id: "addresses",
    isSampled: false,
    node,
    pod(ns) {
      const own = graph.nodes.get(ns.node);
      const ranges = own?.pod_cidrs.flatMap((cidr) => parsePrefix(cidr) ?? []) ?? [];
      if (!ns.pod || ns.addrs.length === 0 || ranges.length === 0) return UNKNOWN;
      const outside = ns.addrs.filter((addr) => {
        const parsed = parsePrefix(addr);
        const like = ranges.filter((range) => range.bits === parsed?.bits);
        return parsed !== null && like.length > 0 && !like.some((range) => contains(range, parsed.value));
      });
      return outside.length > 0
        ? { tone: "warn", label: "outside its node’s range" }
        : { tone: "ok", label: "" };
    },
    link: () => NONE,
    legend: [
      ["r1", "under 25 % of the range is pods’"],
      ["r2", "25 %"],
      ["r3", "50 %"],
      ["r4", "80 %"],
      ["warn", "full, shared, or a pod outside it"],
      ["bad", "overlaps another’s"],
      ["unknown", "no range known"],
    ],
    gap: () => "",
    forget() {
      clashes = null;
    },
  };
}

/** The nodes that have their range together with another one, or one that overlaps it. In their order: one pass. */
export function findClashes(graph: Graph): Map<string, Shade> {
  const all: (Prefix & { node: string })[] = [];
  for (const node of graph.nodes.values())
    for (const cidr of node.pod_cidrs) {
      const parsed = parsePrefix(cidr);
      if (parsed) all.push({ ...parsed, node: node.name });
    }
  all.sort(
    (a, b) => a.bits - b.bits || (a.value < b.value ? -1 : a.value > b.value ? 1 : a.length - b.length),
  );
  const found = new Map<string, Shade>();
  const note = (node: string, other: string, isSame: boolean) => {
    if (found.get(node)?.tone === "bad" || (isSame && found.has(node))) return;
    found.set(
      node,
      isSame ? { tone: "warn", label: `shared with ${other}` } : { tone: "bad", label: `overlaps ${other}` },
    );
  };
  let wide: (Prefix & { node: string }) | null = null;
  for (const one of all) {
    if (wide && wide.bits === one.bits && contains(wide, one.value)) {
      if (wide.node === one.node) continue;
      const isSame = wide.length === one.length;
      note(one.node, wide.node, isSame);
      note(wide.node, one.node, isSame);
    } else wide = one;
  }
  return found;
}

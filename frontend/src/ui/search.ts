// Finding things as one types. Ranking is pure: the best kind of match first (whole name, start,
// start of a word, inside), then pods before nodes before links, then natural order.

import type { Graph } from "../graph/store.js";
import { namespaceLabel } from "../layout/box.js";
import { naturalCompare } from "../layout/natural.js";
import type { Target } from "../map/hit.js";

export interface Hit {
  target: Target;
  kind: "pod" | "namespace" | "node" | "link";
  title: string;
  /** Where it is: node, and for a link its namespace. */
  place: string;
  /** The field that matched; where the title did, the address. */
  matched: string | null;
  score: number;
}

interface Entry {
  target: Target;
  kind: Hit["kind"];
  title: string;
  place: string;
  addr: string | null;
  fields: string[];
}

const KIND_ORDER = { pod: 0, node: 1, namespace: 2, link: 3 };

export function* entries(graph: Graph): Generator<Entry> {
  for (const ns of graph.netns.values()) {
    if (ns.root) continue;
    const fields = ns.addrs.map(bareAddr);
    if (ns.pod) fields.unshift(`${ns.pod.namespace}/${ns.pod.name}`, ns.pod.namespace);
    if (ns.name) fields.push(ns.name);
    const place = ns.pod ? `${ns.pod.namespace} · ${ns.node}` : ns.node;
    const target: Target = { type: "pod", key: ns.key };
    const kind = ns.pod ? "pod" : "namespace";
    yield { target, kind, title: namespaceLabel(ns), place, addr: firstAddr(ns.addrs), fields };
  }
  for (const node of graph.nodes.values()) {
    const fields = [...node.addrs.map(bareAddr), ...node.pod_cidrs];
    yield {
      target: { type: "node", name: node.name },
      kind: "node",
      title: node.name,
      place: "node",
      addr: firstAddr(node.addrs),
      fields,
    };
  }
  for (const link of graph.links.values()) {
    if (link.ifname === "lo") continue;
    const ns = graph.netns.get(link.netns);
    const place = ns ? (ns.root ? ns.node : `${namespaceLabel(ns)} · ${ns.node}`) : "";
    const fields = [link.mac, ...link.addrs.map(bareAddr)].filter((field) => field);
    const target: Target = { type: "link", key: link.key };
    yield { target, kind: "link", title: link.ifname, place, addr: firstAddr(link.addrs), fields };
  }
}

export function search(graph: Graph, query: string, limit = 12): Hit[] {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return [];
  const hits: Hit[] = [];
  for (const entry of entries(graph)) {
    let score = scoreOf(entry.title, wanted);
    let matched: string | null = null;
    for (const field of entry.fields) {
      // A match in the title is worth a little more than the same match in another field.
      const other = scoreOf(field, wanted) - 0.5;
      if (other > score) {
        score = other;
        matched = field;
      }
    }
    if (score > 0) hits.push({ ...entry, matched: matched ?? entry.addr, score });
  }
  hits.sort(
    (a, b) =>
      b.score - a.score ||
      KIND_ORDER[a.kind] - KIND_ORDER[b.kind] ||
      naturalCompare(a.title, b.title) ||
      naturalCompare(a.place, b.place),
  );
  return hits.slice(0, limit);
}

function scoreOf(field: string, wanted: string): number {
  const text = field.toLowerCase();
  if (text === wanted) return 4;
  const at = text.indexOf(wanted);
  if (at < 0) return 0;
  if (at === 0) return 3;
  return /[^a-z0-9]/.test(text[at - 1] as string) ? 2 : 1;
}

function firstAddr(cidrs: string[]): string | null {
  return cidrs[0] === undefined ? null : bareAddr(cidrs[0]);
}

function bareAddr(cidr: string): string {
  return cidr.split("/")[0] as string;
}

// What the server found (GET /api/search, docs/api.md): in groups, and where each hit leads. Pure.

import { KINDS } from "../kube.js";
import type { Route } from "../route.js";

export interface SearchHit {
  type: string;
  key: string;
  name: string;
  /** Where it is, in words. */
  where: string;
  node: string | null;
  /** The field that has what was typed; null where the name does. */
  matched: string | null;
  how: "text" | "contains" | "inside";
}

export interface Found {
  hits: SearchHit[];
  /** Others matched, too. */
  more: boolean;
  /** The index is being made: there may be more in a moment. */
  partial: boolean;
}

export interface HitGroup {
  title: string;
  hits: SearchHit[];
}

const TITLES: Record<string, string> = {
  pod: "Pods",
  "host-pod": "Pods",
  service: "Services",
  workload: "Workloads",
  namespace: "Namespaces",
  policy: "Policies",
  node: "Nodes",
  netns: "Network namespaces",
  link: "Links",
  route: "Routes",
  rule: "Netfilter rules",
};

/** What a hit's type is called beside it. */
export const TYPE_NAMES: Record<string, string> = { "host-pod": "pod", netns: "netns", policy: "policy" };

function titleOf(hit: SearchHit, typed: string): string {
  if (hit.how === "contains") return `Ranges that contain ${typed}`;
  if (hit.how === "inside") return `Addresses in ${typed}`;
  return TITLES[hit.type] ?? hit.type;
}

/** Groups in the order of their best hits; in a group the server's order. */
export function grouped(found: Found, typed: string): HitGroup[] {
  const groups = new Map<string, SearchHit[]>();
  for (const hit of found.hits) {
    const title = titleOf(hit, typed.trim());
    groups.set(title, [...(groups.get(title) ?? []), hit]);
  }
  return [...groups].map(([title, hits]) => ({ title, hits }));
}

/** Where a hit is to be seen: `typed` is what was searched. */
export function hitRoute(hit: SearchHit, typed: string): Route {
  const onNode = (tab: string, find: string): Route => ({
    page: "select",
    target: { type: "node", name: hit.node ?? hit.key },
    tables: { tab, find },
  });
  switch (hit.type) {
    case "pod":
    case "netns":
      return { page: "select", target: { type: "pod", key: hit.key } };
    case "link":
      return { page: "select", target: { type: "link", key: hit.key } };
    case "route":
      return onNode("routes", hit.how === "contains" ? (typed.trim().split("/")[0] ?? "") : hit.name);
    case "rule":
      return onNode("nft", hit.name);
    case "node":
      return { page: "select", target: { type: "node", name: hit.key } };
    case "host-pod":
      return hit.node
        ? { page: "select", target: { type: "node", name: hit.node } }
        : { page: "kube", kind: "namespaces", id: hit.key.split("/")[0] ?? null };
    default: {
      const kind = KINDS.find((name) => name === TITLES[hit.type]?.toLowerCase());
      return kind
        ? { page: "kube", kind, id: hit.key }
        : { page: "kube", kind: "namespaces", id: hit.key.split("/")[0] ?? null };
    }
  }
}

/** What a screen reader hears of an answer. */
export function spoken(found: Found, typed: string): string {
  if (found.hits.length === 0)
    return found.partial ? "Nothing found yet; the index is being made." : "Nothing found.";
  const groups = grouped(found, typed);
  const parts = groups.map((group) => `${group.hits.length} in ${group.title}`);
  const more = found.more ? " There are more." : "";
  return `${found.hits.length} found: ${parts.join(", ")}.${more}${found.partial ? " The index is being made." : ""}`;
}

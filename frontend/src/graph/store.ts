// The graph, keyed. A snapshot replaces it; a delta changes it only when it continues what is held.
// Derived indexes (links of a namespace, namespaces of a node) are kept up to date by key, so a delta
// costs what it carries and not what the cluster holds.

import { nodeOfKey } from "./keys.js";
import type {
  CheckingObj,
  ClusterObj,
  Delta,
  KubePodObj,
  LinkObj,
  NetnsObj,
  NodeObj,
  ProblemObj,
  RoutesObj,
  ServerMessage,
  Snapshot,
} from "./model.js";

export type ApplyResult = "applied" | "unchanged" | "resync";

/** What a message did to the graph, as far as views care. */
export interface Change {
  /** Nodes came or went, or hang on other lines. */
  nodes: boolean;
  /** The nodes in which something came, went, or hangs elsewhere. */
  details: Set<string>;
  /** The nodes of which anything at all is another one; null: any may be. */
  touched: ReadonlySet<string> | null;
}

export class Graph {
  revision = -1;
  readonly clusters = new Map<string, ClusterObj>();
  readonly nodes = new Map<string, NodeObj>();
  /** The API's pods, by `namespace/name`. */
  readonly pods = new Map<string, KubePodObj>();
  readonly routes = new Map<string, RoutesObj>();
  readonly netns = new Map<string, NetnsObj>();
  readonly links = new Map<string, LinkObj>();
  readonly problems = new Map<string, ProblemObj>();
  checking: CheckingObj | null = null;
  /** Since when nothing is heard of the server; null: all of this is live. */
  staleSince: Date | null = null;
  private readonly podsOfNode = new Map<string, Set<string>>();
  private readonly podOfNetns = new Map<string, string>();
  private readonly netnsOfNode = new Map<string, Set<string>>();
  private readonly linksOfNetns = new Map<string, Set<string>>();
  private readonly problemsOf = new Map<string, Set<string>>();
  private readonly roots = new Map<string, string>();
  private pinged = -1;
  private listeners: ((change: Change) => void)[] = [];

  onChange(listener: (change: Change) => void): void {
    this.listeners.push(listener);
  }

  /** Apply one message of the feed; "resync" means that the caller has to ask for a snapshot. */
  apply(message: ServerMessage): ApplyResult {
    switch (message.type) {
      case "snapshot":
        this.applySnapshot(message);
        return "applied";
      case "delta":
        return this.applyDelta(message);
      case "ping":
        return this.checkPing(message.revision);
    }
  }

  /** A ping may overtake the delta it speaks of; only one that repeats itself proves a gap. */
  private checkPing(revision: number): ApplyResult {
    const repeated = this.pinged === revision;
    this.pinged = revision;
    return revision !== this.revision && repeated ? "resync" : "unchanged";
  }

  netnsOf(node: string): NetnsObj[] {
    return pick(this.netns, this.netnsOfNode.get(node));
  }

  /** The API's pods on a node that have no namespace of their own there. */
  hostPodsOf(node: string): KubePodObj[] {
    return pick(this.pods, this.podsOfNode.get(node)).filter((pod) => pod.netns === null);
  }

  /** The pod that a namespace is, as the API says it is. */
  podOf(netns: string): KubePodObj | undefined {
    const key = this.podOfNetns.get(netns);
    return key === undefined ? undefined : this.pods.get(key);
  }

  linksOf(netns: string): LinkObj[] {
    return pick(this.links, this.linksOfNetns.get(netns));
  }

  /** The problems that have their cause at a node or in a namespace, as far as they stand now. */
  problemsAt(place: string): ProblemObj[] {
    return pick(this.problems, this.problemsOf.get(place)).filter(stands);
  }

  rootOf(node: string): NetnsObj | undefined {
    const key = this.roots.get(node);
    return key === undefined ? undefined : this.netns.get(key);
  }

  /** All pods of the cluster, also of nodes whose details aren't held. */
  podCount(): number {
    let count = 0;
    for (const node of this.nodes.values()) count += node.pods;
    return count;
  }

  private applySnapshot(message: Snapshot): void {
    const change: Change = { nodes: true, details: new Set(this.roots.keys()), touched: null };
    const parts = [this.clusters, this.nodes, this.pods, this.routes, this.netns, this.links, this.problems];
    for (const map of parts) map.clear();
    for (const index of [this.podsOfNode, this.netnsOfNode, this.linksOfNetns, this.problemsOf])
      index.clear();
    this.roots.clear();
    this.podOfNetns.clear();
    this.checking = null;
    this.upsertAll(message, change);
    this.revision = message.revision;
    this.emit(change);
  }

  private applyDelta(message: Delta): ApplyResult {
    if (this.revision < 0 || message.base !== this.revision) return "resync";
    const change: Change = { nodes: false, details: new Set(), touched: this.touchedBy(message) };
    for (const name of message.remove.clusters ?? []) this.clusters.delete(name);
    for (const key of message.remove.pods ?? []) this.removePod(key);
    for (const name of message.remove.nodes ?? []) {
      if (this.nodes.delete(name)) change.nodes = true;
    }
    for (const name of message.remove.routes ?? []) {
      if (this.routes.delete(name)) change.details.add(name);
    }
    for (const key of message.remove.netns ?? []) this.removeNetns(key, change);
    for (const key of message.remove.links ?? []) this.removeLink(key, change);
    for (const id of message.remove.problems ?? []) this.removeProblem(id);
    this.upsertAll(message.upsert, change);
    this.revision = message.revision;
    this.emit(change);
    return "applied";
  }

  private touchedBy({ upsert, remove }: Delta): ReadonlySet<string> | null {
    const isAnywhere = [upsert.problems, remove.problems, upsert.pods, remove.pods].some(
      (part) => part?.length,
    );
    if (isAnywhere) return null;
    const nodes = [...(upsert.nodes ?? []).map(({ name }) => name), ...(remove.nodes ?? [])];
    const routes = [...(upsert.routes ?? []).map(({ node }) => node), ...(remove.routes ?? [])];
    const keys = [
      ...[...(upsert.netns ?? []), ...(upsert.links ?? [])].map(({ key }) => key),
      ...(remove.netns ?? []),
      ...(remove.links ?? []),
    ];
    return new Set([...nodes, ...routes, ...keys.map(nodeOfKey)]);
  }

  private upsertAll(part: Delta["upsert"], change: Change): void {
    for (const cluster of part.clusters ?? []) this.clusters.set(cluster.name, cluster);
    for (const pod of part.pods ?? []) {
      this.removePod(pod.key);
      this.pods.set(pod.key, pod);
      indexAdd(this.podsOfNode, pod.node, pod.key);
      if (pod.netns !== null) this.podOfNetns.set(pod.netns, pod.key);
    }
    for (const node of part.nodes ?? []) {
      const before = this.nodes.get(node.name);
      if (!before || shapeOfNode(before) !== shapeOfNode(node)) change.nodes = true;
      this.nodes.set(node.name, node);
    }
    for (const routes of part.routes ?? []) {
      const before = this.routes.get(routes.node);
      if (!before || devicesOf(before) !== devicesOf(routes)) change.details.add(routes.node);
      this.routes.set(routes.node, routes);
    }
    for (const ns of part.netns ?? []) this.putNetns(ns, change);
    for (const link of part.links ?? []) this.putLink(link, change);
    for (const problem of part.problems ?? []) {
      this.removeProblem(problem.id);
      this.problems.set(problem.id, problem);
      for (const place of placesOf(problem)) indexAdd(this.problemsOf, place, problem.id);
    }
    for (const checking of part.checking ?? []) this.checking = checking;
  }

  private putNetns(ns: NetnsObj, change: Change): void {
    const before = this.netns.get(ns.key);
    if (before && before.node !== ns.node) this.removeNetns(ns.key, change);
    if (!before || shapeOfNetns(before) !== shapeOfNetns(ns)) change.details.add(ns.node);
    this.netns.set(ns.key, ns);
    indexAdd(this.netnsOfNode, ns.node, ns.key);
    if (ns.root) this.roots.set(ns.node, ns.key);
    else if (this.roots.get(ns.node) === ns.key) this.roots.delete(ns.node);
  }

  private removeNetns(key: string, change: Change): void {
    const ns = this.netns.get(key);
    if (!ns) return;
    this.netns.delete(key);
    indexDrop(this.netnsOfNode, ns.node, key);
    if (this.roots.get(ns.node) === key) this.roots.delete(ns.node);
    change.details.add(ns.node);
  }

  private putLink(link: LinkObj, change: Change): void {
    const before = this.links.get(link.key);
    if (!before || shapeOfLink(before) !== shapeOfLink(link)) this.noteAt(link.netns, change);
    if (before && before.netns !== link.netns) indexDrop(this.linksOfNetns, before.netns, link.key);
    this.links.set(link.key, link);
    indexAdd(this.linksOfNetns, link.netns, link.key);
  }

  private removeLink(key: string, change: Change): void {
    const link = this.links.get(key);
    if (!link) return;
    this.links.delete(key);
    indexDrop(this.linksOfNetns, link.netns, key);
    this.noteAt(link.netns, change);
  }

  private noteAt(netns: string, change: Change): void {
    const node = this.netns.get(netns)?.node;
    if (node !== undefined) change.details.add(node);
  }

  private removePod(key: string): void {
    const pod = this.pods.get(key);
    if (!pod) return;
    this.pods.delete(key);
    indexDrop(this.podsOfNode, pod.node, key);
    if (pod.netns !== null && this.podOfNetns.get(pod.netns) === key) this.podOfNetns.delete(pod.netns);
  }

  private removeProblem(id: string): void {
    const problem = this.problems.get(id);
    if (!problem) return;
    this.problems.delete(id);
    for (const place of placesOf(problem)) indexDrop(this.problemsOf, place, id);
  }

  private emit(change: Change): void {
    for (const listener of this.listeners) listener(change);
  }
}

/** A problem that is found now and that nobody has muted: it marks its place. */
export function stands(problem: ProblemObj): boolean {
  return problem.gone === null && problem.state !== "muted";
}

/** Where a problem has its cause: at its nodes, and in their namespaces where it has them. */
function placesOf(problem: ProblemObj): string[] {
  const places = [problem.where, ...problem.also_at].flatMap((where) => [where.node, where.key]);
  return [...new Set(places)].filter((place) => place !== "");
}

/** What of a node decides where it and its links are drawn. */
function shapeOfNode(node: NodeObj): string {
  const { kube } = node;
  const labels = kube ? JSON.stringify([kube.zone, kube.labels]) : "";
  return `${node.addrs.join()}|${node.subnets.map(({ dev, subnet }) => `${dev} ${subnet}`).join()}|${labels}`;
}

/** What of a node's routes decides where its links are drawn. */
function devicesOf(routes: RoutesObj): string {
  return [...new Set(routes.routes.map((route) => route.dev))].join();
}

/** What of a namespace decides where it is drawn. */
function shapeOfNetns(ns: NetnsObj): string {
  return `${ns.node}|${ns.root}|${ns.name}|${ns.pod ? `${ns.pod.namespace}/${ns.pod.name}` : ""}`;
}

/** What of a link decides where it is drawn. */
function shapeOfLink(link: LinkObj): string {
  return `${link.netns}|${link.ifname}|${link.kind}|${link.master}|${link.peer}`;
}

function indexAdd(index: Map<string, Set<string>>, at: string, key: string): void {
  const set = index.get(at);
  if (set) set.add(key);
  else index.set(at, new Set([key]));
}

function indexDrop(index: Map<string, Set<string>>, at: string, key: string): void {
  const set = index.get(at);
  if (!set) return;
  set.delete(key);
  if (set.size === 0) index.delete(at);
}

function pick<T>(map: Map<string, T>, keys: Set<string> | undefined): T[] {
  const found: T[] = [];
  for (const key of keys ?? []) {
    const item = map.get(key);
    if (item !== undefined) found.push(item);
  }
  return found;
}

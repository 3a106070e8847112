// The whole picture: which node stands where (clusterplan.ts), and what is in the cells of the nodes whose details
// are known (nodeplan.ts). It remembers the places that it gave; each cell is laid out for itself, and only
// when something in it changed.

import type { Graph } from "../graph/store.js";
import { ClusterPlan, commonStart } from "./clusterplan.js";
import { type Grouping, usefulGroupings } from "./groups.js";
import { type Lanes, lanesOf } from "./lanes.js";
import { NodePlan } from "./nodeplan.js";
import { EMPTY_SCENE, type NodeBox, type Scene } from "./scene.js";

export class Layout {
  scene: Scene = EMPTY_SCENE;
  /** The groupings that make a difference. */
  useful: Grouping[] = [];
  private plan: ClusterPlan;
  private readonly nodes = new Map<string, NodePlan>();
  private readonly boxes = new Map<string, NodeBox>();
  private lanes: Lanes | null = null;
  private common = 0;

  constructor(
    private readonly graph: Graph,
    by: Grouping = "subnet",
  ) {
    this.plan = new ClusterPlan(by);
  }

  get grouping(): Grouping {
    return this.plan.by;
  }

  /** Put the nodes together by something else: all of them get new places. */
  groupBy(by: Grouping): void {
    this.plan = new ClusterPlan(by);
    this.update({ nodes: true, details: new Set() }, 0);
  }

  /** Follow the graph: its nodes where they changed, and the details of the named ones. */
  update(changed: { nodes: boolean; details: ReadonlySet<string> }, now: number): void {
    const { graph } = this;
    if (changed.nodes || !this.lanes) {
      this.plan.update(graph.nodes);
      this.common = commonStart([...graph.nodes.keys()]);
      this.useful = usefulGroupings(graph.nodes.values());
      this.lanes = lanesOf(graph);
      for (const name of [...this.nodes.keys()]) if (!graph.nodes.has(name)) this.forget(name);
    }
    const stale = changed.nodes ? new Set([...changed.details, ...this.boxes.keys()]) : changed.details;
    for (const name of stale) this.layNode(name, this.lanes, now);
    const lanes = this.lanes;
    this.scene = {
      bounds: this.plan.bounds,
      blocks: this.plan.blocks,
      cells: this.plan.cells,
      boxes: this.boxes,
      common: this.common,
      lanes: lanes.labels,
      laneOf: (node, dev) => lanes.of(node, dev),
    };
  }

  private layNode(name: string, lanes: Lanes, now: number): void {
    // A node that nobody watches has no details: its pods' places are kept until it is watched again.
    if (!this.graph.rootOf(name)) {
      this.boxes.delete(name);
      return;
    }
    let plan = this.nodes.get(name);
    if (!plan) {
      plan = new NodePlan(name);
      this.nodes.set(name, plan);
    }
    this.boxes.set(name, plan.update(this.graph, lanes, now));
  }

  private forget(name: string): void {
    this.nodes.delete(name);
    this.boxes.delete(name);
  }
}

/** Layout of a graph as it is, with places as a page gives them that opens now. */
export function layoutScene(graph: Graph, by: Grouping = "subnet"): Scene {
  const layout = new Layout(graph, by);
  layout.update({ nodes: true, details: new Set(graph.nodes.keys()) }, 0);
  return layout.scene;
}

import { type ClusterOptions, makeCluster } from "../dev/cluster.js";
import { Graph } from "../src/graph/store.js";

export function graphOf(options: ClusterOptions): Graph {
  const graph = new Graph();
  graph.apply(makeCluster(options));
  return graph;
}

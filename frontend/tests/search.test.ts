import { expect, test } from "vitest";
import { makeCluster, podKey } from "../dev/cluster.js";
import { Graph } from "../src/graph/store.js";
import { search } from "../src/ui/search.js";
import { graphOf } from "./clusters.js";

const graph = graphOf({ nodes: 3, pods: 5 });
const titles = (query: string) => search(graph, query).map((hit) => hit.title);

test("nothing is found for nothing", () => {
  expect(search(graph, "  ")).toEqual([]);
  expect(search(graph, "no such thing")).toEqual([]);
});

test("the better match comes first, whatever the alphabet says", () => {
  const cluster = makeCluster({ nodes: 1, pods: 5 });
  const names = ["a-web", "aaweb", "web", "web-x", "aaaa"];
  cluster.netns
    .filter((ns) => ns.pod)
    .forEach((ns, i) => {
      ns.pod = { namespace: "n", name: names[i] ?? "" };
    });
  const other = new Graph();
  other.apply(cluster);
  expect(search(other, "web").map((hit) => hit.title)).toEqual(["web", "web-x", "a-web", "aaweb"]);
});

test("a whole name comes before a beginning, a beginning before a part", () => {
  expect(titles("web-1")[0]).toBe("web-1");
  expect(titles("web")).toEqual(["web-0", "web-1", "web-2"]);
  expect(titles("out")).toEqual(["checkout-0", "checkout-1"]);
});

test("pods come before nodes, nodes before links, when they match alike", () => {
  expect(search(graph, "10.244.2.").map((hit) => hit.kind)[0]).toBe("pod");
  expect(search(graph, "10.244.2.1")[0]).toMatchObject({
    kind: "link",
    title: "cni0",
    matched: "10.244.2.1",
  });
  expect(search(graph, "node-2")[0]).toMatchObject({ kind: "node", title: "node-2" });
});

test("an address, a MAC, an interface and a namespace are found", () => {
  const pod = graph.netns.get(podKey(2, 3));
  const link = graph.links.get(`${podKey(2, 3)}/2`);
  expect(search(graph, "10.244.2.4")[0]?.target).toEqual({ type: "pod", key: pod?.key });
  expect(search(graph, link?.mac.toUpperCase() ?? "")[0]?.target).toEqual({ type: "link", key: link?.key });
  const host = graph.links.get(link?.peer ?? "");
  expect(search(graph, host?.ifname ?? "")[0]?.target).toEqual({ type: "link", key: host?.key });
  expect(search(graph, "monitoring").map((hit) => hit.title)).toEqual(["prometheus-0", "prometheus-1"]);
  expect(search(graph, "shop/web-1")[0]?.title).toBe("web-1");
});

test("no more than the limit", () => {
  expect(search(graphOf({ nodes: 5, pods: 30 }), "eth0", 7)).toHaveLength(7);
});

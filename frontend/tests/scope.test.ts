import { expect, test } from "vitest";
import { nodeOfKey } from "../src/graph/keys.js";
import { MOST_WATCHED, Scope } from "../src/graph/scope.js";
import { graphOf } from "./clusters.js";

test("of a small cluster all details are wanted, of a large one those of what is shown", () => {
  expect(new Scope(graphOf({ nodes: 20, pods: 30 })).watch(["node-1"])).toBeNull();
  const scope = new Scope(graphOf({ nodes: 160, pods: 1 }));
  expect(scope.watch(["node-2", "node-1", "node-2", "nowhere"])).toEqual(["node-2", "node-1"]);
});

test("what was seen a moment ago is watched on, up to a bound", () => {
  const scope = new Scope(graphOf({ nodes: 160, pods: 1 }));
  const some = (from: number, count: number) => Array.from({ length: count }, (_, i) => `node-${from + i}`);
  scope.watch(some(1, 60));
  expect(scope.watch(some(61, 10))).toEqual([...some(61, 10), ...some(1, 60)]);
  expect(scope.watch(some(100, 30))).toHaveLength(MOST_WATCHED);
  expect(scope.watch(some(1, 100))).toHaveLength(100);
});

test("a key begins with its node's name", () => {
  expect(nodeOfKey("worker-1:4:4026531840:0/2")).toBe("worker-1");
});

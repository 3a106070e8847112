import { expect, test } from "vitest";
import { type Arrival, approveCommand, arrivalsText, NOBODY, stillAway } from "../src/arrivals.js";
import { graphOf } from "./clusters.js";

const node = (name: string, status: Arrival["status"]): Arrival => ({ node: name, cluster: null, status });

test("one line says who isn't there and why", () => {
  expect(arrivalsText(NOBODY)).toBe("");
  const waits = { waiting: 1, absent: 0, collectors: [node("worker-4", "enrolled")] };
  expect(arrivalsText(waits)).toBe("worker-4’s collector waits for approval");
  expect(arrivalsText({ ...waits, waiting: 40 })).toBe("40 collectors wait for approval");
  const both = {
    waiting: 1,
    absent: 1,
    collectors: [node("worker-4", "enrolled"), node("worker-5", "approved")],
  };
  expect(arrivalsText(both)).toBe("worker-4’s collector waits for approval, 1 approved has never connected");
  expect(arrivalsText({ ...both, waiting: 0, collectors: [node("worker-5", "approved")] })).toBe(
    "worker-5’s collector hasn’t connected yet",
  );
});

test("the command approves a node's collector, or a cluster's watcher", () => {
  expect(approveCommand(node("worker-4", "enrolled"))).toBe(".venv/bin/python manage.py approve worker-4");
  expect(approveCommand({ node: null, cluster: "lab", status: "enrolled" })).toBe(
    ".venv/bin/python manage.py approve --watcher --cluster 'lab'",
  );
});

test("who is connected by now has come, whatever the list says", () => {
  const graph = graphOf({ nodes: 1, pods: 0 });
  const [name = ""] = graph.nodes.keys();
  const said = { waiting: 0, absent: 2, collectors: [node(name, "approved"), node("worker-5", "approved")] };
  expect(stillAway(said, graph)).toEqual({
    waiting: 0,
    absent: 1,
    collectors: [node("worker-5", "approved")],
  });
});

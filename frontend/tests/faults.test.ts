import { describe, expect, it } from "vitest";
import {
  type ActiveFault,
  afterText,
  byArea,
  type Fault,
  foundAfter,
  notFoundText,
  type Standing,
  Watch,
} from "../src/faults.js";
import type { CheckingObj, ProblemObj } from "../src/graph/model.js";

const words = { area: "routes", does: "NODE lost it", cause: "an agent died", watch: "routes" };
const active = (name: string, node: string, at: number): ActiveFault => ({
  ...words,
  name,
  node,
  nodes: [node, "node9"],
  at,
  id: `${name}:${node}`,
});
const problem = (id: string, node: string, found_s: number, gone: string | null = null): ProblemObj =>
  ({
    id,
    found: new Date(found_s * 1000).toISOString(),
    gone,
    kind: "route-missing",
    where: { node },
    also_at: [],
  }) as unknown as ProblemObj;
const standing = (id: string, node: string, heard_s: number): Standing => ({
  problem: problem(id, node, 0),
  heard_s,
});

describe("what the checks found after a fault", () => {
  it("is put to the fault at its node, and says how long it took", () => {
    const faults = [active("route-missing", "node1", 100), active("drop-rule", "node2", 101)];
    const found = foundAfter(faults, [standing("7", "node1", 103.4), standing("8", "node2", 101.5)]);
    expect(found.get("route-missing:node1")?.map((one) => [one.problem.id, one.after_s?.toFixed(1)])).toEqual(
      [["7", "3.4"]],
    );
    expect(found.get("drop-rule:node2")?.map((one) => one.problem.id)).toEqual(["8"]);
  });

  it("leaves out what was found before or elsewhere, and takes the latest fault where none has its cause at the node", () => {
    const faults = [active("route-missing", "node1", 100), active("drop-rule", "node2", 200)];
    const lost = standing("4", "node1", 250);
    lost.problem.kind = "collector-lost";
    const found = foundAfter(faults, [
      standing("1", "node1", 99),
      standing("2", "node9", 250),
      standing("3", "node3", 250),
      lost,
    ]);
    expect(found.get("route-missing:node1")).toEqual([]);
    expect(found.get("drop-rule:node2")?.map((one) => one.problem.id)).toEqual(["2"]);
  });

  it("says for how long there is nothing, or why nothing can come", () => {
    const fault = active("route-missing", "node1", 100);
    const checking = { state: "current" } as CheckingObj;
    expect(notFoundText(fault, checking, 112.9)).toContain("nothing on node1, node9 yet (12 s)");
    expect(notFoundText(fault, { ...checking, state: "stopped" }, 112.9)).toContain("aren’t running");
    expect(notFoundText(fault, null, 112.9)).toContain("aren’t running");
    expect([afterText(1.44), afterText(12.6), afterText(null)]).toEqual([
      ", after 1.4 s",
      ", after 13 s",
      "",
    ]);
  });

  it("knows when a problem came or came back, and not of one that was there before", () => {
    const watch = new Watch();
    const old = problem("1", "node1", 90);
    expect(watch.look([old], 100)).toEqual([{ problem: old, heard_s: null }]);
    expect(watch.look([old, problem("2", "node1", 99)], 101.5)[1]?.heard_s).toBe(101.5);
    const gone = problem("2", "node1", 99, "gone");
    expect(watch.look([old, gone], 103).map((one) => one.problem.id)).toEqual(["1"]);
    expect(watch.look([old, problem("2", "node1", 99)], 105)[1]?.heard_s).toBe(105);
    const found = foundAfter([active("drop-rule", "node1", 80)], watch.look([old], 106));
    expect(found.get("drop-rule:node1")).toEqual([{ problem: old, after_s: null }]);
  });
});

describe("the list of faults", () => {
  const fault = (name: string, area: string, more: Partial<Fault> = {}): Fault => ({
    ...words,
    name,
    area,
    node: "node1",
    nodes: ["node1"],
    active: "",
    why_not: "",
    ...more,
  });
  const faults = [
    fault("route-missing", "routes"),
    fault("drop-rule", "netfilter"),
    fault("vtep-wrong-mac", "overlay", { why_not: "no fault of textbook" }),
    fault("route-loop", "routes", { why_not: "more nodes", active: "route-loop:node1" }),
  ];

  it("groups by area, keeps what is in effect, and sets aside what this network can’t have", () => {
    const { areas, others } = byArea(faults, "");
    expect(areas.map(([area, list]) => [area, list.map((one) => one.name)])).toEqual([
      ["routes", ["route-missing", "route-loop"]],
      ["netfilter", ["drop-rule"]],
    ]);
    expect(others.map((one) => one.name)).toEqual(["vtep-wrong-mac"]);
  });

  it("narrows by words", () => {
    expect(byArea(faults, "Netfilter drop").areas.flatMap(([, list]) => list.map((one) => one.name))).toEqual(
      ["drop-rule"],
    );
  });
});

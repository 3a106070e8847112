import { describe, expect, it } from "vitest";
import {
  columnPorts,
  delayWords,
  endpointNumber,
  idOf,
  nodesText,
  type PolicySummary,
  rangeWords,
} from "../src/kube.js";
import { policyName, restrictsText, tierText, tierWords } from "../src/policytext.js";

const NODES = { since: null, problem: null };
const END = { port: "http", pod: null };

describe("the matrix of programming", () => {
  it("names nodes as long as they are few", () => {
    expect(nodesText({ ...NODES, nodes: ["n1", "n2"], count: 2 })).toBe("n1, n2");
    expect(nodesText({ ...NODES, nodes: ["n1", "n2", "n3", "n4"], count: 4992 })).toBe("4,992 nodes");
  });

  it("numbers endpoints as the table of endpoints does, and none that isn't there", () => {
    const rows = [{ addrs: ["10.0.0.1"] }, { addrs: ["10.0.0.2", "fd00::2"] }] as never;
    expect(endpointNumber({ ...END, ends: ["10.0.0.2:80"] }, rows)).toBe(2);
    expect(endpointNumber({ ...END, ends: ["[fd00::2]:80"] }, rows)).toBe(2);
    expect(endpointNumber({ ...END, ends: ["10.0.0.9:80"] }, rows)).toBe(0);
  });

  it("puts the columns of one port together", () => {
    const at = (port: string) => ({ ...END, port, ends: [""] });
    expect(columnPorts([at("http"), at("http"), at("metrics")])).toEqual([
      { port: "http", span: 2 },
      { port: "metrics", span: 1 },
    ]);
  });
});

describe("how long nodes take to follow a change", () => {
  it("says what was measured, and that nothing was", () => {
    const delay = {
      changed_at: "",
      nodes: 3,
      measured: 2,
      median_s: 0.25,
      longest_s: 1.52,
      longest_on: "n2",
    };
    expect(delayWords(delay)).toBe(
      "The last change of its endpoints was in the rules after 250 ms (median), 1.5 s at most (n2); measured on 2 of 3 nodes.",
    );
    expect(delayWords(null)).toContain("not measured");
    expect(
      delayWords({ ...delay, measured: 0, median_s: null, longest_s: null, longest_on: null }),
    ).toContain("not measured");
  });

  it("gives a row's nodes a range", () => {
    expect(rangeWords([0.25, 1.5])).toBe("250 ms to 1.5 s");
    expect(rangeWords([0.25, 0.25])).toBe("250 ms");
    expect(rangeWords(null)).toBe("not measured");
  });
});

describe("a policy", () => {
  it("says what it restricts", () => {
    const one = {
      kind: "NetworkPolicy",
      namespace: "a",
      name: "b",
      selects: "",
      pods: 1,
      tier: null,
      priority: null,
    };
    expect(restrictsText({ ...one, restricts: ["in", "out"] })).toBe(
      "restricts what comes in and what goes out",
    );
    expect(restrictsText({ ...one, restricts: [] })).toBe("restricts nothing");
    expect(idOf("policies", { ...one, restricts: [] })).toBe("a/b");
    expect(tierText({ ...one, restricts: [] })).toBe("");
    expect(policyName("a/b")).toBe("a/b");
    expect(policyName("ClusterNetworkPolicy/b")).toBe("cluster/b");
  });

  it("for the whole cluster says when it is asked, and has its kind for a namespace", () => {
    const one: PolicySummary = {
      kind: "ClusterNetworkPolicy",
      namespace: null,
      name: "b",
      selects: "",
      pods: 1,
      tier: "Admin",
      priority: 7,
      restricts: ["in"],
    };
    expect(restrictsText(one)).toBe("decides what comes in");
    expect(idOf("policies", one)).toBe("ClusterNetworkPolicy/b");
    expect(tierText(one)).toBe("Admin tier, priority 7");
    expect(tierWords({ ...one, tier: "Baseline" })).toContain("where no NetworkPolicy selects a pod");
  });
});

// Made-up problems of all kinds of harm, as many as are asked for.

import type { ProblemDetail } from "../src/api.js";
import type { ProblemObj, Snapshot } from "../src/graph/model.js";
import { makeChecking, makeProblem } from "./cluster.js";
import { sampleTrace } from "./sampletrace.js";

const SAID: [string, string, string, number][] = [
  ["no-route", "breaks traffic", "NODE has no route to node-2's pods, 10.244.2.0/24", 1566],
  [
    "pod-link-down",
    "breaks traffic",
    "veth8f21c0 on NODE, the host end of shop/checkout-7d9f6c8b5-x2kqv's eth0, is down",
    28,
  ],
  [
    "nat-between-pods",
    "breaks the contract",
    "NODE rewrites source 10.244.1.2 to 172.30.0.11 between pods",
    42,
  ],
  ["mtu-on-bridge", "degrades", "shop/cart-0 on NODE has MTU 1400, the other pods on cni0 have 1500", 0],
  ["conntrack-full", "at risk", "NODE's conntrack table is nearly full: nf_conntrack_max is 131072", 0],
  ["collector-lost", "not known", "NODE's collector is not connected", 0],
];

export function putProblems(snapshot: Snapshot, count: number): void {
  snapshot.problems.length = 0;
  for (let n = 0; n < count; n += 1) {
    const node = snapshot.nodes[n % snapshot.nodes.length]?.name ?? "";
    const [kind, harm, headline, pairs] = SAID[n % SAID.length] as (typeof SAID)[number];
    const found = new Date(Date.now() - (17 * n + 3) * 61_000).toISOString();
    snapshot.problems.push({
      ...makeProblem(String(n + 1), headline.replace("NODE", node), node, ""),
      kind,
      harm,
      severity: harm === "degrades" || harm === "at risk" ? "warning" : "error",
      found,
      since: n % 5 === 4 ? null : found,
      affects: { pairs, pods: pairs > 0 ? ["shop/web-0", "shop/web-1", "shop/cart-0"] : [], more: 0 },
      fix: n % 2 === 0 ? [{ node, netns: "", command: "ip route add 10.244.2.0/24 via 172.18.0.3" }] : [],
      traced: pairs > 0,
      unverified: n % 7 === 6 ? "node-3's collector is not connected" : null,
    });
  }
  snapshot.checking.length = 0;
  const checking = makeChecking(snapshot);
  const breaking = snapshot.problems.filter((one) => one.harm === "breaks traffic").length;
  const errors = snapshot.problems.filter((one) => one.severity === "error").length;
  snapshot.checking.push({ ...checking, counts: { ...checking.counts, open: count, errors, breaking } });
}

export function problemDetail(problem: ProblemObj, cluster: Snapshot): ProblemDetail {
  const { pairs } = problem.affects;
  const began = Date.parse(problem.found);
  const after = (minutes: number) => new Date(began + minutes * 60_000).toISOString();
  const [a, b] = cluster.netns.filter((ns) => ns.pod);
  const request = { from: a?.key ?? "", to: b?.addrs[0]?.split("/")[0] ?? "", proto: "tcp", dport: 8080 };
  return {
    ...problem,
    trace: problem.traced
      ? sampleTrace(cluster, request as Parameters<typeof sampleTrace>[1], "no-route")
      : null,
    remarks: [{ at: problem.found, by: "", kind: "found", text: "" }],
    between:
      pairs > 0
        ? [
            { source: "node-1, 27 pods", target: "node-2, 29 pods", pairs: pairs - 12 },
            { source: "node-2, 3 pods", target: "shop/checkout-7d9f6c8b5-x2kqv", pairs: 9 },
            { source: "infra/loki-0", target: "node-2, 3 pods", pairs: 3 },
          ]
        : [],
    curve: [
      { at: after(0), pairs: Math.round(pairs / 3) },
      { at: after(1), pairs: Math.round(pairs / 2) },
      { at: after(2), pairs },
    ],
    began_with: problem.since ? "routes -1" : null,
  };
}

// Made-up traces between two pods of the made-up cluster, in the shape of `manage.py trace --json`.

import type { NetnsObj, Snapshot } from "../src/graph/model.js";
import type { Disposition, Hop, Packet, Step, Trace, TraceRequest } from "../src/trace/types.js";

type Fault = "none" | "no-route" | "reply-lost" | "branches" | "observed";

interface Draft {
  seq: number;
  packet: Packet;
}

function step(
  draft: Draft,
  kind: string,
  dev: string,
  decision: string,
  why: string,
  evidence: Record<string, unknown> = {},
  change: Partial<Packet> = {},
  extra: Partial<Step> = {},
): Step {
  const before = draft.packet as Record<string, unknown>;
  draft.packet = { ...draft.packet, ...change };
  const diff: Step["diff"] = {};
  for (const [name, value] of Object.entries(change)) diff[name] = [before[name], value];
  draft.seq += 1;
  return {
    seq: draft.seq,
    kind,
    dev,
    packet: draft.packet,
    diff,
    decision,
    reason: "",
    evidence,
    why,
    certainty: "certain",
    observed: null,
    ...extra,
  };
}

interface End {
  ns: NetnsObj;
  root: NetnsObj;
  veth: string;
  addr: string;
}

function findEnd(cluster: Snapshot, name: string): End {
  const isNamed = (ns: NetnsObj) =>
    ns.key === name ||
    ns.addrs[0]?.startsWith(`${name}/`) ||
    (ns.pod && (name === ns.pod.name || name === `${ns.pod.namespace}/${ns.pod.name}`));
  const ns = cluster.netns.find(isNamed);
  if (!ns?.pod) throw new Error(`There is no pod, node or address "${name}".`);
  const root = cluster.netns.find((item) => item.root && item.node === ns.node) as NetnsObj;
  const inner = cluster.links.find((item) => item.netns === ns.key && item.ifname === "eth0");
  const host = cluster.links.find((item) => item.key === inner?.peer);
  return { ns, root, veth: host?.ifname ?? "?", addr: ns.addrs[0]?.split("/")[0] ?? "" };
}

const podRef = (ns: NetnsObj) => (ns.pod ? `${ns.pod.namespace}/${ns.pod.name}` : null);
const enter = (end: End) => `nsenter -t ${end.ns.holders[0]?.pid} -n `;

function oneWay(
  a: End,
  b: End,
  draft: Draft,
  fault: Fault,
): { hops: Hop[]; disposition: Disposition; reason: string } {
  const sameNode = a.ns.node === b.ns.node;
  const hop = (ns: NetnsObj, steps: Step[]): Hop => ({
    node: ns.node,
    netns: ns.key,
    pod: podRef(ns),
    steps,
  });
  const gateway = a.addr.replace(/\.\d+$/, ".1");
  const hops: Hop[] = [
    hop(a.ns, [
      step(draft, "origin", "lo", "send", `The packet starts here: ${draft.packet.proto} to ${b.addr}.`),
      step(
        draft,
        "route",
        "eth0",
        sameNode ? "on_link" : "via",
        sameNode
          ? `${b.addr} is in the subnet of eth0.`
          : `The default route sends it to the gateway ${gateway}.`,
        {
          route: sameNode
            ? `${a.addr.replace(/\.\d+$/, ".0")}/24 dev eth0 scope link`
            : `default via ${gateway} dev eth0`,
          table: "main (254)",
          command: `${enter(a)}ip route get ${b.addr}`,
        },
      ),
      step(
        draft,
        "neigh",
        "eth0",
        "reachable",
        `${sameNode ? b.addr : gateway} has the address 02:42:0a:f4:01:01.`,
        { entry: "REACHABLE", command: `${enter(a)}ip neigh show dev eth0` },
        { dmac: "02:42:0a:f4:01:01" },
      ),
      step(
        draft,
        "link_tx",
        "eth0",
        "sent",
        `It leaves by eth0, whose other end is ${a.veth} on ${a.ns.node}.`,
        { peer: a.veth, mtu: 1500 },
      ),
    ]),
  ];
  const root = [
    step(draft, "link_rx", a.veth, "received", `${a.veth} receives it and is a port of cni0.`, {
      master: "cni0",
      port_state: "forwarding",
    }),
    step(
      draft,
      "bridge",
      "cni0",
      sameNode ? "forward" : "local",
      sameNode
        ? `The FDB knows the destination behind ${b.veth}.`
        : "The destination address is the bridge’s own, so the packet goes up to the node.",
      {
        fdb: `02:42:0a:f4:01:01 dev ${sameNode ? b.veth : "cni0"} ${sameNode ? "" : "permanent"}`,
        command: "bridge fdb show br cni0",
      },
    ),
  ];
  if (!sameNode) {
    root.push(
      step(draft, "forward", "cni0", "allowed", "Forwarding is on for cni0.", {
        sysctl: "net.ipv4.conf.cni0.forwarding = 1",
        command: "sysctl net.ipv4.conf.cni0.forwarding",
      }),
    );
    if (fault === "no-route") {
      root.push(
        step(
          draft,
          "route",
          "",
          "drop",
          `No route on ${a.ns.node} covers ${b.addr}: there is no default route either.`,
          { looked_in: "local, main, default", command: `ip route get ${b.addr} from ${a.addr} iif cni0` },
          {},
          { reason: "IP_OUTNOROUTES" },
        ),
      );
      hops.push(hop(a.root, root));
      return { hops, disposition: "DROPPED", reason: "IP_OUTNOROUTES" };
    }
    const nodeAddr = b.root.addrs[0]?.split("/")[0] ?? "";
    root.push(
      step(
        draft,
        "route",
        "eth0",
        "via",
        `The route to ${b.addr.replace(/\.\d+$/, ".0")}/24 leads by ${nodeAddr}, which is ${b.ns.node}.`,
        {
          route: `${b.addr.replace(/\.\d+$/, ".0")}/24 via ${nodeAddr} dev eth0`,
          table: "main (254)",
          command: `ip route get ${b.addr} from ${a.addr} iif cni0`,
        },
      ),
      step(
        draft,
        "ttl",
        "eth0",
        "decrement",
        "Forwarding takes one from the TTL.",
        {},
        { ttl: (draft.packet.ttl ?? 64) - 1 },
      ),
      step(
        draft,
        "netfilter",
        "eth0",
        "accept",
        "The chain postrouting has a masquerade rule, which doesn’t match: the destination is in the cluster.",
        {
          rule: "ip daddr != 10.244.0.0/16 masquerade",
          handle: 7,
          command: "nft -a list chain ip nat postrouting",
        },
      ),
      step(
        draft,
        "link_tx",
        "eth0",
        "sent",
        `It leaves by eth0 to ${nodeAddr}.`,
        {},
        { smac: "02:42:ac:12:00:02", dmac: "02:42:ac:12:00:03" },
      ),
    );
    hops.push(hop(a.root, root));
    hops.push(
      hop(b.root, [
        step(draft, "link_rx", "eth0", "received", "eth0 receives it from the underlay."),
        step(
          draft,
          "rp_filter",
          "eth0",
          fault === "reply-lost" ? "drop" : "pass",
          fault === "reply-lost"
            ? "The way back to the source would not leave by eth0, and rp_filter is strict."
            : "The way back to the source leaves by eth0 too.",
          { sysctl: "net.ipv4.conf.eth0.rp_filter = 1", command: "sysctl net.ipv4.conf.eth0.rp_filter" },
          {},
          fault === "reply-lost" ? { reason: "IP_RPFILTER" } : {},
        ),
        ...(fault === "reply-lost"
          ? []
          : [
              step(draft, "route", "cni0", "on_link", `${b.addr} is in the subnet of cni0.`, {
                route: `${b.addr.replace(/\.\d+$/, ".0")}/24 dev cni0 scope link`,
                table: "main (254)",
                command: `ip route get ${b.addr} from ${a.addr} iif eth0`,
              }),
              step(
                draft,
                "ttl",
                "cni0",
                "decrement",
                "Forwarding takes one from the TTL.",
                {},
                { ttl: (draft.packet.ttl ?? 64) - 1 },
              ),
              step(draft, "neigh", "cni0", "resolve", `${b.addr} is asked for and answers.`, {
                entry: "none yet",
                command: `ip neigh show ${b.addr}`,
              }),
              step(draft, "bridge", "cni0", "forward", `The FDB knows the destination behind ${b.veth}.`, {
                command: "bridge fdb show br cni0",
              }),
              step(
                draft,
                "link_tx",
                b.veth,
                "sent",
                `It leaves by ${b.veth}, whose other end is the pod’s eth0.`,
              ),
            ]),
      ]),
    );
    if (fault === "reply-lost") return { hops, disposition: "DROPPED", reason: "IP_RPFILTER" };
  } else {
    root.push(
      step(draft, "link_tx", b.veth, "sent", `It leaves by ${b.veth}, whose other end is the pod’s eth0.`),
    );
    hops.push(hop(a.root, root));
  }
  hops.push(
    hop(b.ns, [
      step(draft, "link_rx", "eth0", "received", "eth0 receives it."),
      step(draft, "local_in", "eth0", "deliver", `${b.addr} is an address of this namespace.`, {
        route: `local ${b.addr} dev eth0 table local`,
        command: `${enter(b)}ip route show table local`,
      }),
      step(draft, "socket", "", "deliver", `A process listens on port ${draft.packet.dport ?? "(echo)"}.`, {
        socket: `0.0.0.0:${draft.packet.dport}`,
        command: `${enter(b)}ss -tlnp`,
      }),
    ]),
  );
  return { hops, disposition: "DELIVERED", reason: "" };
}

export function sampleTrace(cluster: Snapshot, request: TraceRequest, fault: Fault): Trace {
  const a = findEnd(cluster, request.from);
  const b = findEnd(cluster, request.to);
  const sport = request.sport ?? 40122;
  const dport = request.proto === "icmp" ? null : (request.dport ?? 80);
  const draft: Draft = {
    seq: 0,
    packet: {
      src: a.addr,
      dst: b.addr,
      proto: request.proto,
      sport,
      dport,
      ttl: 64,
      mark: 0,
      len: request.len ?? 60,
    },
  };
  const forward = oneWay(a, b, draft, fault === "no-route" ? "no-route" : "none");
  draft.packet = { ...draft.packet, src: b.addr, dst: a.addr, sport: dport, dport: sport, ttl: 64 };
  const back =
    forward.disposition === "DELIVERED"
      ? oneWay(b, a, draft, fault === "reply-lost" ? "reply-lost" : "none")
      : null;
  if (fault === "observed") {
    for (const hop of forward.hops) {
      for (const item of hop.steps)
        item.observed = {
          ...{ match: "agree", visible: true, ts_ns: 1, point: "packet socket" },
          ...{ drop_reason: null, why: null, rule: null, headers: null },
        };
    }
  }
  const branch = {
    probability: 1,
    disposition: forward.disposition,
    reason: forward.reason,
    forward: { hops: forward.hops },
    reply: back && { disposition: back.disposition, reason: back.reason, hops: back.hops },
  };
  const lost =
    fault === "branches"
      ? oneWay(a, b, { seq: 0, packet: { ...draft.packet, src: a.addr, dst: b.addr } }, "no-route")
      : null;
  return {
    version: 1,
    flow: {
      from: { node: a.ns.node, netns: a.ns.key, pod: podRef(a.ns) },
      src: a.addr,
      sport,
      dst: b.addr,
      dport,
      proto: request.proto,
      len: request.len ?? 60,
      df: request.df ?? false,
    },
    disposition: lost ? "UNKNOWN" : forward.disposition,
    reason: forward.reason,
    certainty: lost ? "branch" : "certain",
    branches: lost
      ? [
          { ...branch, probability: 0.5 },
          {
            probability: 0.5,
            disposition: lost.disposition,
            reason: lost.reason,
            forward: { hops: lost.hops },
            reply: null,
          },
        ]
      : [branch],
    state: [...new Set([a.ns.node, b.ns.node])].map((node) => ({
      node,
      revision: 12,
      age_s: 0.8,
      complete: true,
    })),
  };
}

export type { Fault };

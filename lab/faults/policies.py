"""Faults of network policies: what their agent left, and what it forgot."""

from __future__ import annotations

import json

from lab import plan
from lab.changes import Changes
from lab.faults.model import BRIDGED, BY_NODES, Effect, Target, fault
from lab.kubernetes import policies

_NAME = "known-pods"
_GONE = "POD name:nightly-report-27134 namespace: batch"


@fault(
    "policy-stale-chain",
    "policies",
    "a chain of a pod that is gone still names the address that POD has now: new connections to POD are"
    " refused, but from its own node",
    uses=("pod",),
    kinds=BY_NODES,
    blame=("node", ""),
    affects=(
        Effect("others.pods+nodes!NODE", "POD"),
        Effect("NODE.pods", "POD", at_home=True),
    ),
)
def _stale_chain(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    chain = "KUBE-POD-FW-AIWVY7TMPWP7PXQH"
    changes.keep_xt_tables()
    for family in pod.families:
        version = "icmp6" if family == 6 else "icmp"
        refuse = f"-m mark ! --mark {policies.MARK} -j REJECT --reject-with {version}-port-unreachable"
        rules = [
            f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f'-A {chain} -m comment --comment "rule to REJECT traffic destined for {_GONE}" {refuse}',
        ]
        note = f'-m comment --comment "rule to jump traffic destined to {_GONE} to chain {chain}"'
        match = f"-d {plan.host(pod.address(family))} {note}"
        changes.add_xt_jump(target.node.name, family, "FORWARD", match, chain, "\n".join(rules))


@fault(
    "policy-pod-missing",
    "policies",
    "a policy lets all pods in, but on OTHER the agent has missed POD: it is missing in the set of addresses,"
    " and OTHER's pods refuse it",
    uses=("pod", "other"),
    kinds=("textbook", "ptp", "routed", "two-nics", "cni"),
    blame=("other", ""),
    affects=(Effect("POD", "OTHER.default", sources=True),),
)
def _pod_missing(changes: Changes, target: Target) -> None:
    pod, other = target.need_pod(), target.need_other()
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in (plan.UNDERLAY4, plan.UNDERLAY6)]
    everywhere: dict[str, object] = {"namespaceSelector": {}, "podSelector": {}}
    policy = {
        "kind": "NetworkPolicy",
        "metadata": {"name": _NAME},
        "spec": {"podSelector": {}, "ingress": [{"from": [everywhere, *blocks]}], "policyTypes": ["Ingress"]},
    }
    changes.keep_xt_tables()
    changes.apply_policy(_NAME, json.dumps(policy))
    for family in pod.families:
        name = policies.source_set(_NAME, "default", family)
        changes.delete_ipset_entry(other.name, name, pod.address(family))


@fault(
    "policy-drops-neighbours",
    "policies",
    "an egress rule for POD drops all IPv6 that it doesn't name, and so the neighbour messages to its gateway"
    " and its answers to NODE's: over IPv6 it reaches its own node's pods alone",
    uses=("pod",),
    kinds=BRIDGED,
    blame=("node", ""),
    affects=(
        Effect("POD", "others.pods", both=True, families=(6,)),
        Effect("nodes", "POD", families=(6,)),
        Effect("POD", "outside", families=(6,)),
    ),
)
def _drops_neighbours(changes: Changes, target: Target) -> None:
    pod, node = target.need_pod(), target.node
    kinds = "{ nd-neighbor-solicit, nd-neighbor-advert }"
    body = f"chain input {{ type filter hook input priority filter; ip6 saddr {pod.ipv6} icmpv6 type {kinds} counter drop; }}"
    changes.add_nft_table(node.name, f"ip6 nv-egress-{pod.name}", body)
    changes.delete_neigh(node.name, "cni0", pod.ipv6)
    changes.delete_neigh(pod.name, "eth0", plan.gateway(node, 6))

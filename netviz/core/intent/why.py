"""Why a flow is allowed or denied by the API's policies, as JSON: the policies that select its ends, and the rule that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netviz.core.intent.parties import PROTOCOL_NAMES, party_at, party_text, policies_of
from netviz.core.intent.policies import Decision, Half, Party
from netviz.core.intent.subjects import Direction, policy_at
from netviz.core.intent.words import flow_text, rule_text, why_text
from netviz.core.plain import joined
from netviz.core.sim.headline.cause import cause_of
from netviz.core.sim.headline.sentences import headline_of, where
from netviz.core.sim.kubernetes.policy import denied_by_policy
from netviz.core.sim.render import trace_json
from netviz.core.sim.trace import Branch, Trace
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects

# Why what a cluster's policies say may be otherwise, in sentences, by the cluster's name.
Doubts = Mapping[str, Sequence[str]]


def why_json(
    objects: Objects, source: Party, target: Party, protocol: str, port: int, decision: Decision | None = None
) -> dict[str, Any]:
    """Say of a flow whether policies allow it, and why. `allowed` is null where the API leaves it open."""
    decision = decision or policies_of(objects).decide(source, target, protocol, port)
    return {
        "allowed": decision.allowed,
        "flow": flow_text(source, target, protocol, port),
        "sentence": why_text(decision, source, target),
        "from": party_text(source),
        "to": party_text(target),
        "protocol": protocol,
        "port": port or None,
        "egress": _half_json(objects, "egress", decision.egress),
        "ingress": _half_json(objects, "ingress", decision.ingress),
    }


def _half_json(objects: Objects, direction: Direction, half: Half) -> dict[str, Any]:
    rule = half.rule
    policy = policy_at(objects, rule.policy) if rule is not None else None
    return {
        "allowed": half.allowed,
        "policies": ["/".join(key) for key in half.policies],
        "rule": None
        if rule is None
        else {
            "policy": "/".join(rule.policy),
            "number": rule.number + 1,
            "text": rule_text(policy, direction, rule.number) if policy is not None else "",
        },
    }


def of_trace(cluster: ClusterState, trace: Trace, doubts: Doubts) -> dict[str, Any] | None:
    """Why the flow of a trace is allowed or denied; of a service's, to that endpoint which is denied, else the first.

    `unsure` has the doubts of the cluster. None where no policy has a say: the API isn't known or has no policies, or no end is a pod.
    """
    for name, source in cluster.clusters.items():
        objects = source.objects
        if not objects.network_policies and not objects.cluster_policies:
            continue
        sender = party_at(cluster, objects, trace.flow.src)
        found: dict[tuple[bytes, int], dict[str, Any]] = {}
        for branch in trace.branches:
            addr, port = _end(branch, trace)
            if (addr, port) not in found:
                target = party_at(cluster, objects, addr)
                if sender.pod is None and target.pod is None:
                    continue
                protocol = PROTOCOL_NAMES.get(trace.flow.proto, str(trace.flow.proto))
                found[addr, port] = why_json(objects, sender, target, protocol, port)
        if found:
            said = min(found.values(), key=lambda one: (False, None, True).index(one["allowed"]))
            return {**said, "unsure": list(doubts.get(name, ()))}
    return None


def _end(branch: Branch, trace: Trace) -> tuple[bytes, int]:
    """Where the packet of a branch goes in the end: a service's address is translated by then."""
    for hop in reversed(branch.forward.hops):
        for step in reversed(hop.steps):
            packet = step.packet
            if packet.payload is None and packet.inner is None and packet.proto == trace.flow.proto:
                return packet.dst, 0 if trace.flow.dport is None else packet.dport
    return trace.flow.dst, trace.flow.dport or 0


def headline(trace: Trace, why: dict[str, Any] | None) -> str:
    """Say in one sentence what a trace comes to; where a policy's agent refuses it, with the policy, and if that isn't sure why not."""
    cause = cause_of(trace)
    said = headline_of(trace, cause)
    if why is None or cause is None or not denied_by_policy(cause.step):
        return said
    if why["allowed"] is False:
        half = why["ingress"] if why["ingress"]["allowed"] is False else why["egress"]
        names = joined(half["policies"])
        verb = "deny" if len(half["policies"]) > 1 else "denies"
        said = f"Policy {names} {verb} {why['flow']}: {where(cause.hop)} refuses it"
    elif why["allowed"]:
        said = f"{said}, though policies allow it"
    else:
        return said
    return f"{said} (not sure of the policies: {why['unsure'][0]})" if why["unsure"] else said


def told(
    cluster: ClusterState,
    trace: Trace,
    doubts: Doubts,
    state: Sequence[Mapping[str, Any]] = (),
    enter: str = "",
) -> dict[str, Any]:
    """Render a trace as `trace_json` does, with what the API's policies say of its flow, and what makes that unsure."""
    why = of_trace(cluster, trace, doubts)
    return {**trace_json(trace, state, enter), "headline": headline(trace, why), "policy": why}

"""What policies say, in users' words: whom they select, whom they let in and out at which ports, and why a flow is allowed."""

from __future__ import annotations

from netviz.core.intent.parties import party_text
from netviz.core.intent.policies import Decision, Half, Party, RuleName, is_with_its_node
from netviz.core.intent.subjects import Direction, Policy, home_of, is_cluster_wide, rules_of
from netviz.core.model.addr import format_prefix
from netviz.core.model.kubernetes import (
    Cidr,
    ClusterRule,
    NetworkPolicy,
    ObjectKey,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    Selector,
)
from netviz.core.plain import joined

SAID = {"In": "in", "NotIn": "not in"}


def selector_text(selector: Selector) -> str:
    """A label selector as people write it; "" of one that selects everything."""
    found = [f"{key}={value}" for key, value in sorted(selector.labels.items())]
    for one in selector.expressions:
        if one.operator in SAID:
            found.append(f"{one.key} {SAID[one.operator]} ({', '.join(one.values)})")
        else:
            found.append(one.key if one.operator == "Exists" else f"without {one.key}")
    return ", ".join(found)


def called(policy: ObjectKey) -> str:
    """Name a policy in a sentence."""
    return " ".join(policy) if is_cluster_wide(policy) else f"policy {'/'.join(policy)}"


def selected_text(policy: Policy) -> str:
    """Whom a policy selects."""
    if not isinstance(policy, NetworkPolicy):
        return peer_text("", policy.subject)
    labels = selector_text(policy.pods)
    return f"pods of {policy.namespace} with {labels}" if labels else f"all pods of {policy.namespace}"


def peer_text(home: str, peer: PolicyPeer) -> str:
    """Who a peer of a rule is, of a policy in the namespace `home`."""
    if peer.block is not None:
        but = f" but {' and '.join(map(_cidr, peer.but))}" if peer.but else ""
        return f"{_cidr(peer.block)}{but}"
    if peer.nodes is not None:
        labels = selector_text(peer.nodes)
        return f"nodes with {labels}" if labels else "all nodes"
    if peer.domains:
        return " or ".join(peer.domains)
    labels = selector_text(peer.pods) if peer.pods is not None else ""
    pods = f"pods with {labels}" if labels else "all pods"
    if peer.namespaces is None:
        return f"{pods} of {home}" if not labels else f"pods of {home} with {labels}"
    spaces = selector_text(peer.namespaces)
    return f"{pods} of namespaces with {spaces}" if spaces else f"{pods} of all namespaces"


def _cidr(one: Cidr) -> str:
    return format_prefix(one.addr, one.prefixlen)


def peers_text(home: str, rule: PolicyRule | ClusterRule) -> str:
    """Who the other end may be by a rule."""
    return " or ".join(peer_text(home, one) for one in rule.peers) or "everybody"


def port_text(one: PolicyPort) -> str:
    """A rule's ports: "TCP 80", "TCP 8000-8010", "every UDP port"."""
    if not one.port:
        return f"every {one.protocol} port"
    return f"{one.protocol} {one.port}" + (f"-{one.end_port}" if one.end_port else "")


def ports_text(rule: PolicyRule | ClusterRule) -> str:
    """For which ports a rule is."""
    return ", ".join(map(port_text, rule.ports)) or "every port"


def rule_text(policy: Policy, direction: Direction, number: int) -> str:
    """Which flows a rule is for: "from pods of shop with app=web at TCP 80"."""
    rule = rules_of(policy, direction)[number]
    way = "from" if direction == "ingress" else "to"
    return f"{way} {peers_text(home_of(policy), rule)} at {ports_text(rule)}"


def flow_text(source: Party, target: Party, protocol: str, port: int) -> str:
    """Name a flow for people."""
    at = f" at {protocol} {port}" if port and protocol != "ICMP" else f" by {protocol}"
    return f"{party_text(source)} to {party_text(target)}{at}"


def why_text(decision: Decision, source: Party, target: Party) -> str:
    """Say in a sentence or two why a flow is allowed or denied."""
    if source.pod is not None and target.pod is not None and source.pod.key == target.pod.key:
        return "A pod always reaches itself, whatever policies say."
    if decision.allowed and is_with_its_node(source, target) and not decision.rules:
        return "Allowed: NetworkPolicies never come between a node and its own pods."
    for half, who, does in (
        (decision.egress, source, "send"),
        (decision.ingress, target, "receive"),
    ):
        if half.allowed is False and half.rule is not None:
            return f"Denied: {_rule(half.rule)} doesn't let {party_text(who)} {does} this."
        if half.allowed is False:
            return (
                f"Denied: {_policies(half)} {_select(half)} {party_text(who)}, and none of"
                f" {'its' if len(half.policies) == 1 else 'their'} rules lets it {does} this."
            )
    if decision.allowed is None:
        open_half = decision.egress if decision.egress.allowed is None else decision.ingress
        return f"Unknown: the API leaves open what {_policies(open_half)} {'does' if len(open_half.policies) == 1 else 'do'} here."
    found = [
        f"{_rule(half.rule)} lets {party_text(who)} {does} this"
        for half, who, does in (
            (decision.egress, source, "send"),
            (decision.ingress, target, "receive"),
        )
        if half.rule is not None
    ]
    if found:
        return f"Allowed: {' and '.join(found)}."
    return "Allowed: no policy restricts what the sender sends or the receiver receives."


def _policies(half: Half) -> str:
    names = ["/".join(key) for key in half.policies]
    return f"{'policy' if len(names) == 1 else 'policies'} {joined(names)}"


def _select(half: Half) -> str:
    return "selects" if len(half.policies) == 1 else "select"


def _rule(rule: RuleName) -> str:
    return f"policy {'/'.join(rule.policy)} (rule {rule.number + 1} of {rule.direction})"

"""Policies for the whole cluster by a direct, slow reading of their API's documentation, against the evaluation that is used."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from netviz.core.intent.policies import Party, Policies, RuleName
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    Cidr,
    ClusterPolicy,
    ClusterRule,
    KubeNamespace,
    KubeNode,
    KubePod,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    Selector,
)
from tests.core.intent import readings as slow

KINDS = ("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
OLDER = KINDS[1:]


# --- the slow reading: each sentence of the documentation, as it stands. It returns the set of answers that the API leaves open.


def reads_peer(
    peer: PolicyPeer, who: Party, spaces: dict[str, KubeNamespace], nodes: dict[str, KubeNode]
) -> bool | None:
    if peer.domains:
        return None  # which addresses a name has, nobody here knows
    if peer.nodes is not None:
        # "It selects the nodeIPs as the peer type by matching on the IPs present in the node.Status.Addresses field."
        return any(
            who.addr in node.addresses
            for node in nodes.values()
            if slow.reads_selector(peer.nodes, node.labels)
        )
    if peer.block is not None:
        # "cluster-internal traffic will be checked against the rule as well"
        return slow.reads_range(who.addr, peer.block)
    if who.pod is None or who.pod.host_network:
        return False  # "host-networked pods are not included in this type of peer"
    assert peer.namespaces is not None
    return slow.reads_selector(peer.namespaces, spaces[who.pod.namespace].labels) and (
        peer.pods is None or slow.reads_selector(peer.pods, who.pod.labels)
    )


def reads_rule(
    rule: ClusterRule,
    peer: Party,
    target: Party,
    flow: tuple[str, int],
    spaces: dict[str, KubeNamespace],
    nodes: dict[str, KubeNode],
) -> bool | None:
    # "If unspecified, protocol-specific attributes will not be used to match traffic."
    if rule.ports and not any(slow.reads_port(one, target, *flow) for one in rule.ports):
        return False
    # "If any element matches ... then the specified action is applied."
    told = [reads_peer(one, peer, spaces, nodes) for one in rule.peers]
    return True if True in told else None if None in told else False


def orders(policies: list[ClusterPolicy]) -> list[list[ClusterPolicy]]:
    """All orders that the API allows: lower values of priority first, of equal ones any; one generation before the other."""
    found: list[list[ClusterPolicy]] = []
    newer = [one for one in policies if one.kind not in OLDER]
    older = [one for one in policies if one.kind in OLDER]
    for first, last in ((newer, older), (older, newer)):
        for a in _orders(first):
            found += [a + b for b in _orders(last)]
    return found


def _orders(policies: list[ClusterPolicy]) -> list[list[ClusterPolicy]]:
    if not policies:
        return [[]]
    lowest = min(one.priority for one in policies)
    found = []
    for one in policies:
        if one.priority == lowest:
            rest = [other for other in policies if other is not one]
            found += [[one, *others] for others in _orders(rest)]
    return found


def reads_tier(rules: list[ClusterRule], matched: list[bool | None]) -> set[str]:
    """The actions that the first rule that matches may have; "" of none."""
    for number, told in enumerate(matched):
        if told:
            return {rules[number].action}
        if told is None:
            return {rules[number].action} | reads_tier(rules[number + 1 :], matched[number + 1 :])
    return {""}


def reads_half(
    cluster: list[ClusterPolicy],
    policies: list[NetworkPolicy],
    spaces: dict[str, KubeNamespace],
    nodes: dict[str, KubeNode],
    direction: str,
    who: Party,
    peer: Party,
    target: Party,
    flow: tuple[str, int],
) -> set[bool | None]:
    def tier(name: str) -> set[str]:
        # "host-networked pods are not included in subject selection"
        if who.pod is None or who.pod.host_network:
            return {""}
        mine = [one for one in cluster if one.tier == name and reads_peer(one.subject, who, spaces, nodes)]
        found = set()
        for order in orders(mine):
            rules = [rule for one in order for rule in (one.egress if direction == "egress" else one.ingress)]
            found |= reads_tier(
                rules, [reads_rule(rule, peer, target, flow, spaces, nodes) for rule in rules]
            )
        return found

    def baseline() -> set[bool | None]:
        # "the default kubernetes policy is applied, which says that all pods can communicate with each other"
        return {action != "Deny" for action in tier("Baseline")}

    def middle() -> set[bool | None]:
        selected = who.pod is not None and any(
            one.namespace == who.pod.namespace
            and slow.reads_selector(one.pods, who.pod.labels)
            and (one.restricts_egress if direction == "egress" else one.restricts_ingress)
            for one in policies
        )
        if not selected:
            # "Further evaluation only happens for Pods not selected by a v1.NetworkPolicy."
            return baseline()
        if slow.reads_own_node(peer, who):
            return {True}
        return {slow.reads_half(policies, spaces, direction, who, peer, target, *flow)}

    found: set[bool | None] = set()
    for action in tier("Admin"):
        if action in ("Accept", "Deny"):
            found.add(action == "Accept")
        else:
            found |= middle()
    return found


def reads(
    cluster: list[ClusterPolicy],
    policies: list[NetworkPolicy],
    spaces: dict[str, KubeNamespace],
    nodes: dict[str, KubeNode],
    source: Party,
    target: Party,
    flow: tuple[str, int],
) -> bool | None:
    if source.pod is not None and source.pod == target.pod:
        return True
    told = []
    for direction, who, peer in (("egress", source, target), ("ingress", target, source)):
        answers = reads_half(cluster, policies, spaces, nodes, direction, who, peer, target, flow)
        told.append(answers.pop() if len(answers) == 1 else None)
    return False if False in told else None if None in told else True


# --- random clusters


def _subject(pick: Random) -> PolicyPeer:
    pods = slow.random_selector(pick) if pick.random() < 0.6 else None
    return PolicyPeer(pods, slow.random_selector(pick))


def _far(pick: Random, direction: str) -> PolicyPeer:
    kind = pick.random()
    if direction == "ingress" or kind < 0.55:
        return _subject(pick)
    if kind < 0.8:
        return PolicyPeer(block=Cidr(pack_ip("10.0.0.0"), pick.choice((0, 8, 28))))
    if kind < 0.95:
        return PolicyPeer(nodes=slow.random_selector(pick))
    return PolicyPeer(domains=("example.org",))


def _ports(pick: Random) -> tuple[PolicyPort, ...]:
    if pick.random() < 0.4:
        return ()
    if pick.random() < 0.3:
        name = pick.choice(slow.NAMES)
        return tuple(PolicyPort(protocol, name) for protocol in slow.PROTOCOLS)
    return (slow.random_port(pick),)


def _rules(pick: Random, direction: str, actions: tuple[str, ...]) -> tuple[ClusterRule, ...]:
    return tuple(
        ClusterRule(
            pick.choice(actions),
            tuple(_far(pick, direction) for _ in range(pick.choice((1, 1, 2)))),
            _ports(pick),
            f"r{number}",
        )
        for number in range(pick.choice((0, 1, 2, 3)))
    )


def _policy(pick: Random, number: int) -> ClusterPolicy:
    kind = pick.choice((*KINDS[:1] * 5, *OLDER))
    baseline = kind == KINDS[2] or (kind == KINDS[0] and pick.random() < 0.4)
    actions = ("Accept", "Deny") if kind == KINDS[2] else ("Accept", "Deny", "Pass")
    return ClusterPolicy(
        kind,
        f"c{number}",
        "Baseline" if baseline else "Admin",
        0 if kind == KINDS[2] else pick.randint(0, 12),
        _subject(pick),
        _rules(pick, "ingress", actions),
        _rules(pick, "egress", actions),
    )


def test_the_fast_evaluation_agrees_with_the_slow_reading_on_10000_random_flows() -> None:
    pick = Random(76)
    told: Counter[bool | None] = Counter()
    tiers: Counter[str] = Counter()
    for _ in range(200):
        spaces = {name: KubeNamespace(name, slow.random_labels(pick)) for name in slow.NAMESPACES}
        nodes = {
            name: KubeNode(name, addresses=(pack_ip(addr),), labels=slow.random_labels(pick))
            for name, addr in (("n1", "192.0.2.1"), ("n2", "192.0.2.2"))
        }
        made = [slow.random_policy(pick, number) for number in range(pick.randint(0, 6))]
        cluster = [_policy(pick, number) for number in range(pick.randint(1, 4))]
        pods = [slow.random_pod(pick, number) for number in range(1, 13)]
        policies = Policies({one.key: one for one in made}, spaces, {one.key: one for one in cluster}, nodes)
        for _ in range(50):
            source, target = slow.random_party(pick, pods), slow.random_party(pick, pods)
            flow = pick.choice((*slow.PROTOCOLS, "ICMP")), pick.choice(slow.PORTS)
            wanted = reads(cluster, made, spaces, nodes, source, target, flow)
            found = policies.decide(source, target, *flow)
            assert found.allowed is wanted, (cluster, made, spaces, source, target, flow)
            told[wanted] += 1
            for half in (found.egress, found.ingress):
                if half.rule is not None:
                    tiers[next((one.tier for one in cluster if one.key == half.rule.policy), "between")] += 1
    assert told.total() == 10_000
    assert min(told[True], told[False]) > 1_500
    assert told[None] > 100
    assert min(tiers[name] for name in ("Admin", "between", "Baseline")) > 300, tiers


EVERYBODY = PolicyPeer(namespaces=Selector())
WEB = KubePod("shop", "web", node="n1", ips=(pack_ip("10.0.0.2"),), labels={"app": "web"})
DB = KubePod("shop", "db", node="n2", ips=(pack_ip("10.0.0.3"),), labels={"app": "db"})
SPACES = {"shop": KubeNamespace("shop", {})}


def decided(*cluster: ClusterPolicy, policies: tuple[NetworkPolicy, ...] = ()) -> Policies:
    return Policies({one.key: one for one in policies}, SPACES, {one.key: one for one in cluster})


def rule(action: str, *ports: PolicyPort, name: str = "") -> tuple[ClusterRule, ...]:
    return (ClusterRule(action, (EVERYBODY,), ports, name),)


def admin(name: str, priority: int, ingress: tuple[ClusterRule, ...]) -> ClusterPolicy:
    return ClusterPolicy("ClusterNetworkPolicy", name, "Admin", priority, EVERYBODY, ingress)


def test_the_rule_that_decides_is_named() -> None:
    policies = decided(admin("later", 9, rule("Accept")), admin("first", 3, rule("Deny", name="all")))
    half = policies.decide(Party(WEB.ips[0], WEB), Party(DB.ips[0], DB), "TCP", 80).ingress
    assert (half.allowed, half.policies) == (False, (("ClusterNetworkPolicy", "first"),))
    assert half.rule == RuleName(("ClusterNetworkPolicy", "first"), "ingress", 0, "all")


@pytest.mark.parametrize(
    ("ingress", "networkpolicy", "baseline", "allowed"),
    [
        (rule("Accept"), True, rule("Deny"), True),
        (rule("Pass"), True, rule("Accept"), False),
        (rule("Pass"), False, rule("Deny"), False),
        (rule("Pass"), False, (), True),
        ((), False, rule("Deny"), False),
        ((), True, rule("Accept"), False),
        (rule("Deny", PolicyPort("TCP", "81")), False, (), True),
    ],
)
def test_tiers_are_asked_in_turn(
    ingress: tuple[ClusterRule, ...], networkpolicy: bool, baseline: tuple[ClusterRule, ...], allowed: bool
) -> None:
    policies = decided(
        admin("a", 5, ingress),
        ClusterPolicy("BaselineAdminNetworkPolicy", "default", "Baseline", 0, EVERYBODY, baseline),
        policies=(NetworkPolicy("shop", "deny"),) if networkpolicy else (),
    )
    assert policies.decide(Party(WEB.ips[0], WEB), Party(DB.ips[0], DB), "TCP", 80).allowed is allowed


def test_two_policies_of_one_priority_leave_it_open_only_where_they_differ() -> None:
    flow = Party(WEB.ips[0], WEB), Party(DB.ips[0], DB), "TCP", 80
    assert decided(admin("a", 5, rule("Deny")), admin("b", 5, rule("Accept"))).decide(*flow).allowed is None
    assert decided(admin("a", 5, rule("Deny")), admin("b", 5, rule("Deny"))).decide(*flow).allowed is False
    assert decided(admin("a", 5, rule("Pass")), admin("b", 5, rule("Accept"))).decide(*flow).allowed is True

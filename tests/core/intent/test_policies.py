"""NetworkPolicies by a direct, slow reading of the API's documentation, against the evaluation that is used."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from netviz.core.intent.policies import Party, Policies, RuleName
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    Cidr,
    ContainerPort,
    KubeNamespace,
    KubePod,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    Requirement,
    Selector,
)

NAMESPACES = ("a", "b", "c")
KEYS, VALUES = ("app", "tier"), ("x", "y", "z")
NAMES = ("http", "dns")
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORTS = (53, 80, 81, 8080, 8090)


# --- the slow reading: each sentence of the documentation, as it stands


def reads_selector(selector: Selector, labels: dict[str, str]) -> bool:
    """All of matchLabels and matchExpressions are ANDed; an empty selector matches everything."""
    good = [labels.get(key) == value for key, value in selector.labels.items()]
    for one in selector.expressions:
        if one.operator == "In":
            good.append(one.key in labels and labels[one.key] in one.values)
        elif one.operator == "NotIn":
            good.append(not (one.key in labels and labels[one.key] in one.values))
        elif one.operator == "Exists":
            good.append(one.key in labels)
        else:
            good.append(one.key not in labels)
    return all(good)


def reads_range(addr: bytes, block: Cidr) -> bool:
    bits = len(addr) * 8
    if len(block.addr) != len(addr):
        return False
    shift = bits - block.prefixlen
    return int.from_bytes(addr, "big") >> shift == int.from_bytes(block.addr, "big") >> shift


def reads_peer(policy: NetworkPolicy, peer: PolicyPeer, who: Party, spaces: dict[str, KubeNamespace]) -> bool:
    if peer.block is not None:
        return reads_range(who.addr, peer.block) and not any(reads_range(who.addr, one) for one in peer.but)
    pod = who.pod
    if pod is None or pod.host_network:
        return False
    if peer.namespaces is not None and peer.pods is not None:
        return reads_selector(peer.namespaces, spaces[pod.namespace].labels) and reads_selector(
            peer.pods, pod.labels
        )
    if peer.namespaces is not None:
        return reads_selector(peer.namespaces, spaces[pod.namespace].labels)
    assert peer.pods is not None
    return pod.namespace == policy.namespace and reads_selector(peer.pods, pod.labels)


def reads_port(port: PolicyPort, target: Party, protocol: str, number: int) -> bool:
    if port.protocol != protocol:
        return False
    if port.port == "":
        return True
    if port.port in NAMES:
        pod = target.pod
        if pod is None or pod.host_network:
            return False
        return any(
            one.name == port.port and one.protocol == protocol and one.port == number for one in pod.ports
        )
    if port.end_port:
        return int(port.port) <= number <= port.end_port
    return int(port.port) == number


def reads_half(
    policies: list[NetworkPolicy],
    spaces: dict[str, KubeNamespace],
    direction: str,
    who: Party,
    peer: Party,
    target: Party,
    protocol: str,
    port: int,
) -> bool | None:
    if who.pod is None:
        return True
    mine = [
        one
        for one in policies
        if one.namespace == who.pod.namespace
        and reads_selector(one.pods, who.pod.labels)
        and (one.restricts_egress if direction == "egress" else one.restricts_ingress)
    ]
    if not mine:
        return True
    if who.pod.host_network or protocol not in PROTOCOLS:
        return None
    return any(
        (not rule.peers or any(reads_peer(policy, one, peer, spaces) for one in rule.peers))
        and (not rule.ports or any(reads_port(one, target, protocol, port) for one in rule.ports))
        for policy in mine
        for rule in (policy.egress if direction == "egress" else policy.ingress)
    )


def reads(
    policies: list[NetworkPolicy],
    spaces: dict[str, KubeNamespace],
    source: Party,
    target: Party,
    protocol: str,
    port: int,
) -> bool | None:
    if source.pod is not None and source.pod == target.pod:
        return True
    for pod, other in ((source.pod, target), (target.pod, source)):
        if pod is not None and not pod.host_network:
            node = other.node
            if other.pod is not None and other.pod.host_network:
                node = other.pod.node
            if node == pod.node:
                return True
    halves = (
        reads_half(policies, spaces, "egress", source, target, target, protocol, port),
        reads_half(policies, spaces, "ingress", target, source, target, protocol, port),
    )
    if False in halves:
        return False
    return None if None in halves else True


# --- random clusters


def _labels(pick: Random) -> dict[str, str]:
    return {key: pick.choice(VALUES) for key in KEYS if pick.random() < 0.7}


def _selector(pick: Random) -> Selector:
    expressions = []
    for key in KEYS:
        if pick.random() < 0.25:
            operator = pick.choice(("In", "NotIn", "Exists", "DoesNotExist"))
            values = tuple(pick.sample(VALUES, 2)) if operator in ("In", "NotIn") else ()
            expressions.append(Requirement(key, operator, values))
    labels = {key: pick.choice(VALUES) for key in KEYS if pick.random() < 0.3}
    return Selector(labels, tuple(expressions))


def _peer(pick: Random) -> PolicyPeer:
    if pick.random() < 0.35:
        block = Cidr(pack_ip("10.0.0.0"), pick.choice((0, 8, 24, 28)))
        if pick.random() < 0.2:
            return PolicyPeer(block=Cidr(pack_ip("fd00::"), 64))
        but = (Cidr(pack_ip(f"10.0.0.{pick.choice((0, 4, 8))}"), pick.choice((30, 31, 32))),)
        return PolicyPeer(block=block, but=but if pick.random() < 0.6 else ())
    pods = _selector(pick) if pick.random() < 0.7 else None
    spaces = _selector(pick) if pods is None or pick.random() < 0.4 else None
    return PolicyPeer(pods, spaces)


def _port(pick: Random) -> PolicyPort:
    protocol = pick.choice(PROTOCOLS[:2])
    kind = pick.random()
    if kind < 0.2:
        return PolicyPort(protocol)
    if kind < 0.45:
        return PolicyPort(protocol, pick.choice(NAMES))
    first = pick.choice(PORTS)
    return PolicyPort(protocol, str(first), first + pick.choice((0, 1, 50)) if pick.random() < 0.4 else 0)


def _rules(pick: Random) -> tuple[PolicyRule, ...]:
    return tuple(
        PolicyRule(
            tuple(_peer(pick) for _ in range(pick.choice((0, 1, 2)))),
            tuple(_port(pick) for _ in range(pick.choice((0, 1, 1, 2)))),
        )
        for _ in range(pick.choice((0, 1, 1, 2)))
    )


def _policy(pick: Random, number: int) -> NetworkPolicy:
    ingress = pick.random() < 0.7
    return NetworkPolicy(
        pick.choice(NAMESPACES),
        f"p{number}",
        _selector(pick),
        restricts_ingress=ingress,
        restricts_egress=not ingress or pick.random() < 0.4,
        ingress=_rules(pick),
        egress=_rules(pick),
    )


def _pod(pick: Random, number: int) -> KubePod:
    ports = tuple(
        ContainerPort(pick.choice(PORTS), pick.choice(PROTOCOLS[:2]), name)
        for name in NAMES
        if pick.random() < 0.6
    )
    addr = pack_ip(f"10.0.0.{number}") if pick.random() < 0.9 else pack_ip(f"fd00::{number}")
    return KubePod(
        pick.choice(NAMESPACES),
        f"w{number}",
        node=pick.choice(("n1", "n2")),
        ips=(addr,),
        host_network=pick.random() < 0.1,
        labels=_labels(pick),
        ports=ports,
    )


def _party(pick: Random, pods: list[KubePod]) -> Party:
    kind = pick.random()
    if kind < 0.75:
        pod = pick.choice(pods)
        return Party(pod.ips[0], pod)
    if kind < 0.85:
        return Party(pack_ip("192.0.2.1"), node=pick.choice(("n1", "n2")))
    return Party(pack_ip(pick.choice(("10.0.0.77", "10.9.9.9", "203.0.113.9", "fd00::77"))))


def test_the_fast_evaluation_agrees_with_the_slow_reading_on_10000_random_flows() -> None:
    pick = Random(12)
    told: dict[Any, int] = {True: 0, False: 0, None: 0}
    for _ in range(200):
        spaces = {name: KubeNamespace(name, _labels(pick)) for name in NAMESPACES}
        made = [_policy(pick, number) for number in range(pick.randint(1, 8))]
        pods = [_pod(pick, number) for number in range(1, 13)]
        policies = Policies({one.key: one for one in made}, spaces)
        for _ in range(50):
            source, target = _party(pick, pods), _party(pick, pods)
            flow = source, target, pick.choice((*PROTOCOLS, "ICMP")), pick.choice(PORTS)
            slow = reads(made, spaces, *flow)
            assert policies.decide(*flow).allowed is slow, (made, spaces, flow)
            told[slow] += 1
    assert sum(told.values()) == 10_000
    assert min(told[True], told[False]) > 1_500
    assert told[None] > 100


@pytest.fixture
def shop() -> tuple[Policies, Party, Party]:
    """A pod web, and a pod db that a policy lets it reach at its named port; another one denies the rest."""
    spaces = {"shop": KubeNamespace("shop", {"team": "shop"}), "dev": KubeNamespace("dev", {})}
    db = KubePod("shop", "db", node="n1", ips=(pack_ip("10.0.0.2"),), labels={"app": "db"})
    db = KubePod(
        "shop", "db", node="n1", ips=db.ips, labels=db.labels, ports=(ContainerPort(5432, "TCP", "sql"),)
    )
    web = KubePod("shop", "web", node="n2", ips=(pack_ip("10.0.0.3"),), labels={"app": "web"})
    made = [
        NetworkPolicy("shop", "default-deny"),
        NetworkPolicy(
            "shop",
            "db",
            Selector({"app": "db"}),
            ingress=(PolicyRule((PolicyPeer(Selector({"app": "web"})),), (PolicyPort("TCP", "sql"),)),),
        ),
    ]
    policies = Policies({one.key: one for one in made}, spaces)
    return policies, Party(web.ips[0], web), Party(db.ips[0], db)


def test_the_rule_that_allows_is_named(shop: tuple[Policies, Party, Party]) -> None:
    policies, web, db = shop
    found = policies.decide(web, db, "TCP", 5432)
    assert found.allowed is True
    assert found.ingress.rule == RuleName(("shop", "db"), "ingress", 0)
    assert found.ingress.policies == (("shop", "db"), ("shop", "default-deny"))
    assert found.egress.policies == ()


def test_what_no_rule_allows_is_denied_by_those_that_select(shop: tuple[Policies, Party, Party]) -> None:
    policies, web, db = shop
    found = policies.decide(web, db, "TCP", 80)
    assert found.allowed is False
    assert found.ingress.rule is None
    assert policies.decide(db, web, "TCP", 80).ingress.policies == (("shop", "default-deny"),)


def test_a_pod_reaches_itself_and_its_node_reaches_it(shop: tuple[Policies, Party, Party]) -> None:
    policies, _, db = shop
    assert policies.decide(db, db, "TCP", 80).allowed is True
    assert policies.decide(Party(pack_ip("192.0.2.1"), node="n1"), db, "TCP", 80).allowed is True
    assert policies.decide(Party(pack_ip("192.0.2.2"), node="n2"), db, "TCP", 80).allowed is False
    assert policies.decide(Party(pack_ip("192.0.2.9")), db, "TCP", 80).allowed is False

"""NetworkPolicies by a direct, slow reading of the API's documentation, and random clusters to hold it against."""

from __future__ import annotations

from random import Random

from netviz.core.intent.policies import Party
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


def reads_own_node(one: Party, other: Party) -> bool:
    """Traffic to and from the node where a pod runs is always allowed."""
    for pod, end in ((one.pod, other), (other.pod, one)):
        if pod is not None and not pod.host_network:
            node = end.node
            if end.pod is not None and end.pod.host_network:
                node = end.pod.node
            if node == pod.node:
                return True
    return False


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
    if reads_own_node(source, target):
        return True
    halves = (
        reads_half(policies, spaces, "egress", source, target, target, protocol, port),
        reads_half(policies, spaces, "ingress", target, source, target, protocol, port),
    )
    if False in halves:
        return False
    return None if None in halves else True


# --- random clusters


def random_labels(pick: Random) -> dict[str, str]:
    return {key: pick.choice(VALUES) for key in KEYS if pick.random() < 0.7}


def random_selector(pick: Random) -> Selector:
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
    pods = random_selector(pick) if pick.random() < 0.7 else None
    spaces = random_selector(pick) if pods is None or pick.random() < 0.4 else None
    return PolicyPeer(pods, spaces)


def random_port(pick: Random) -> PolicyPort:
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
            tuple(random_port(pick) for _ in range(pick.choice((0, 1, 1, 2)))),
        )
        for _ in range(pick.choice((0, 1, 1, 2)))
    )


def random_policy(pick: Random, number: int) -> NetworkPolicy:
    ingress = pick.random() < 0.7
    return NetworkPolicy(
        pick.choice(NAMESPACES),
        f"p{number}",
        random_selector(pick),
        restricts_ingress=ingress,
        restricts_egress=not ingress or pick.random() < 0.4,
        ingress=_rules(pick),
        egress=_rules(pick),
    )


def random_pod(pick: Random, number: int) -> KubePod:
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
        labels=random_labels(pick),
        ports=ports,
    )


def random_party(pick: Random, pods: list[KubePod]) -> Party:
    kind = pick.random()
    if kind < 0.75:
        pod = pick.choice(pods)
        return Party(pod.ips[0], pod)
    if kind < 0.85:
        return Party(pack_ip("192.0.2.1"), node=pick.choice(("n1", "n2")))
    return Party(pack_ip(pick.choice(("10.0.0.77", "10.9.9.9", "203.0.113.9", "fd00::77"))))

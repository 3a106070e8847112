"""What NetworkPolicies allow: between any two parties, by which policies and which rule.

A pod that no policy selects for a direction is open in it; else some rule of those that select it has to allow the other
party on the port. Pods are told apart by what policies can see of them: which policies select them, which peers of rules
they are, and which numbers the named ports have. Pods alike in that have one answer, which is worked out once.

A pod always reaches itself, and a node and its own pods each other, whatever policies say. What the API leaves open is
unknown: a host-network pod that a policy selects, and other protocols than TCP, UDP and SCTP where a policy applies.

Source: networking.k8s.io/v1, NetworkPolicySpec and its parts (Kubernetes 1.35 staging/src/k8s.io/api/networking/v1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from netviz.core.model.addr import in_prefix
from netviz.core.model.kubernetes import (
    Cidr,
    KubeNamespace,
    KubePod,
    Labels,
    NetworkPolicy,
    ObjectKey,
    PolicyPeer,
    PolicyPort,
    Selector,
)
from netviz.core.state.naming import ENDED

Direction = Literal["egress", "ingress"]
MAX_REMEMBERED = 200_000


class Party(msgspec.Struct, frozen=True, gc=False):
    """One end of a flow: its address, and the pod or the node that has it; neither: somebody outside."""

    addr: bytes
    pod: KubePod | None = None
    node: str = ""


class RuleName(NamedTuple):
    """A rule of a policy: the policy's key, the direction, and the rule's number from 0."""

    policy: ObjectKey
    direction: Direction
    number: int


class Half(msgspec.Struct, frozen=True, gc=False):
    """One direction's answer: whether it is allowed (None: the API leaves it open), by which rule, and who restricts."""

    allowed: bool | None = True
    rule: RuleName | None = None
    policies: tuple[ObjectKey, ...] = ()


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a flow is allowed, and what each side's policies say of it."""

    egress: Half = Half()
    ingress: Half = Half()

    @property
    def allowed(self) -> bool | None:
        """Both allow it; None: the API leaves it open."""
        if self.egress.allowed is False or self.ingress.allowed is False:
            return False
        return None if None in (self.egress.allowed, self.ingress.allowed) else True


FREE = Decision()
OPEN = Half()


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects: each label and each expression of it holds.

    Source: apimachinery pkg/labels/selector.go, Requirement.Matches: NotIn and DoesNotExist hold without the key.
    """
    if not selector.labels.items() <= labels.items():
        return False
    for one in selector.expressions:
        has = one.key in labels
        among = has and labels[one.key] in one.values
        if not {"In": among, "NotIn": not among, "Exists": has, "DoesNotExist": not has}[one.operator]:
            return False
    return True


def within(addr: bytes, cidr: Cidr) -> bool:
    """Tell whether an address is in a range."""
    return in_prefix(addr, cidr.addr, cidr.prefixlen)


_Named = tuple[tuple[str, str], int]  # a named port's name and protocol, and its number


class _Sort(NamedTuple):
    """What policies see of a party: who restricts it, which peers of rules it is, and its named ports."""

    egress: tuple[int, ...] = ()
    ingress: tuple[int, ...] = ()
    peers: frozenset[int] = frozenset()
    ports: frozenset[_Named] = frozenset()
    host: bool = False


class _Rule(NamedTuple):
    peers: frozenset[int]  # none: everybody
    ports: tuple[PolicyPort, ...]  # none: every port


class Policies:
    """The policies of one state of a cluster."""

    def __init__(
        self,
        policies: Mapping[Any, NetworkPolicy],
        namespaces: Mapping[Any, KubeNamespace],
    ) -> None:
        self._policies = [policies[key] for key in sorted(policies)]
        self._namespaces = namespaces
        self._peers: dict[tuple[str, bytes], int] = {}
        self._peer: list[tuple[str, PolicyPeer]] = []
        self._rules: list[dict[Direction, list[_Rule]]] = [
            {
                "egress": [self._rule(policy.namespace, rule) for rule in policy.egress],
                "ingress": [self._rule(policy.namespace, rule) for rule in policy.ingress],
            }
            for policy in self._policies
        ]
        self._names = {
            (port.port, port.protocol)
            for policy in self._policies
            for rule in (*policy.egress, *policy.ingress)
            for port in rule.ports
            if port.port and not port.port.isdecimal()
        }
        self._by_labels: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Any, ...]] = {}
        self._blocks: dict[bytes, frozenset[int]] = {}
        self._halves: dict[tuple[Any, ...], Half] = {}

    def _rule(self, namespace: str, rule: Any) -> _Rule:
        numbers = []
        for peer in rule.peers:
            # A range means the same in each namespace.
            key = "" if peer.block is not None else namespace, msgspec.msgpack.encode(peer)
            if key not in self._peers:
                self._peers[key] = len(self._peer)
                self._peer.append((namespace, peer))
            numbers.append(self._peers[key])
        return _Rule(frozenset(numbers), rule.ports)

    def sort(self, party: Party) -> _Sort:
        """What policies see of a party: those with the same are alike to them."""
        blocks = self._blocks.get(party.addr)
        if blocks is None:
            blocks = self._blocks[party.addr] = frozenset(
                number
                for number, (_, peer) in enumerate(self._peer)
                if peer.block is not None
                and within(party.addr, peer.block)
                and not any(within(party.addr, one) for one in peer.but)
            )
        pod = party.pod
        if pod is None:
            return _Sort(peers=blocks)
        egress, ingress, peers = self._seen(pod.namespace, pod.labels)
        if pod.host_network:
            return _Sort(egress, ingress, blocks, host=True)
        ports = frozenset(
            ((port.name, port.protocol), port.port)
            for port in pod.ports
            if (port.name, port.protocol) in self._names
        )
        return _Sort(egress, ingress, peers | blocks, ports)

    def _seen(self, namespace: str, labels: Labels) -> tuple[Any, ...]:
        key = namespace, frozenset(labels.items())
        known = self._by_labels.get(key)
        if known is None:
            mine = [
                (number, one)
                for number, one in enumerate(self._policies)
                if one.namespace == namespace and selects(one.pods, labels)
            ]
            known = self._by_labels[key] = (
                tuple(number for number, one in mine if one.restricts_egress),
                tuple(number for number, one in mine if one.restricts_ingress),
                frozenset(
                    number
                    for number, (home, peer) in enumerate(self._peer)
                    if peer.block is None and self._is(home, peer, namespace, labels)
                ),
            )
        return known

    def _is(self, home: str, peer: PolicyPeer, namespace: str, labels: Labels) -> bool:
        """Tell whether pods with these labels are a peer of a policy in the namespace `home`."""
        if peer.namespaces is None:
            in_namespace = namespace == home
        else:
            known = self._namespaces.get(namespace)
            in_namespace = known is not None and selects(peer.namespaces, known.labels)
        return in_namespace and (peer.pods is None or selects(peer.pods, labels))

    def decide(self, source: Party, target: Party, protocol: str, port: int) -> Decision:
        """Say whether a flow to a port is allowed; `protocol` is as the API names it, or another one's name."""
        if source.pod is not None and target.pod is not None and source.pod.key == target.pod.key:
            return FREE
        if is_with_its_node(source, target):
            return FREE
        one, other = self.sort(source), self.sort(target)
        return Decision(
            self._half("egress", one, other, other, protocol, port),
            self._half("ingress", other, one, other, protocol, port),
        )

    def _half(
        self, direction: Direction, who: _Sort, peer: _Sort, target: _Sort, protocol: str, port: int
    ) -> Half:
        policies = who.egress if direction == "egress" else who.ingress
        if not policies:
            return OPEN
        key = direction, policies, who.host, peer.peers, target.ports, protocol, port
        known = self._halves.get(key)
        if known is None:
            if len(self._halves) > MAX_REMEMBERED:
                self._halves.clear()
            known = self._halves[key] = self._decided(
                direction, policies, who.host, peer, target, protocol, port
            )
        return known

    def _decided(
        self,
        direction: Direction,
        policies: tuple[int, ...],
        host: bool,
        peer: _Sort,
        target: _Sort,
        protocol: str,
        port: int,
    ) -> Half:
        names = tuple(self._policies[number].key for number in policies)
        if host or protocol not in ("TCP", "UDP", "SCTP"):
            return Half(None, None, names)
        for number in policies:
            for at, rule in enumerate(self._rules[number][direction]):
                if rule.peers and rule.peers.isdisjoint(peer.peers):
                    continue
                if not rule.ports or any(_is_port(one, protocol, port, target.ports) for one in rule.ports):
                    return Half(True, RuleName(self._policies[number].key, direction, at), names)
        return Half(False, None, names)


def _is_port(one: PolicyPort, protocol: str, port: int, named: frozenset[_Named]) -> bool:
    if one.protocol != protocol:
        return False
    if not one.port:
        return True
    if not one.port.isdecimal():
        return ((one.port, protocol), port) in named
    return int(one.port) <= port <= (one.end_port or int(one.port))


def is_with_its_node(source: Party, target: Party) -> bool:
    """Tell whether one end is the other one's node, whose probes and answers no policy can block."""
    for one, other in ((source, target), (target, source)):
        pod = other.pod
        if pod is None or pod.host_network:
            continue
        node = one.node or (one.pod.node if one.pod is not None and one.pod.host_network else "")
        if node and node == pod.node:
            return True
    return False


def restricted(pods: Iterable[KubePod]) -> list[KubePod]:
    """The pods that policies can restrict: those that run in a namespace of their own."""
    return [pod for pod in pods if not pod.host_network and pod.phase not in ENDED and pod.ips]

"""What policies allow: between any two parties, by which policies and which rule.

Three tiers are asked in turn. In the Admin tier, the first rule of the policies for the whole cluster that matches accepts or
denies, or passes on to NetworkPolicies. A pod that no NetworkPolicy selects for a direction goes on to the Baseline tier's rules,
and is open where none matches; else some rule of those that select it has to allow the other party on the port.

Pods are told apart by what policies can see of them: which policies select them, which peers of rules they are, and which
numbers the named ports have. Pods alike in that have one answer, which is worked out once.

A pod always reaches itself. NetworkPolicies never come between a node and its own pods; rules for the whole cluster have
no such exception, but none of them can match what a node sends. What the API leaves open is unknown: a host-network pod
that a NetworkPolicy selects, other protocols than TCP, UDP and SCTP where one applies, and which of two policies of one
priority comes first (`netviz.core.intent.tiers`).

Source: networking.k8s.io/v1, NetworkPolicySpec and its parts (Kubernetes 1.35 staging/src/k8s.io/api/networking/v1);
policy.networking.k8s.io/v1beta1, ClusterNetworkPolicySpec and its parts (network-policy-api apis/v1beta1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from netviz.core.intent.peers import Peers, keys_of, selects
from netviz.core.intent.subjects import Direction
from netviz.core.intent.tiers import Listed, tier_decisions
from netviz.core.model.kubernetes import (
    ClusterPolicy,
    KubeNamespace,
    KubeNode,
    KubePod,
    Labels,
    NetworkPolicy,
    ObjectKey,
    PolicyPort,
)
from netviz.core.state.naming import ENDED
from netviz.core.state.section import EMPTY

MAX_REMEMBERED = 200_000
PROTOCOLS = ("TCP", "UDP", "SCTP")


class Party(msgspec.Struct, frozen=True, gc=False):
    """One end of a flow: its address, and the pod or the node that has it; neither: somebody outside."""

    addr: bytes
    pod: KubePod | None = None
    node: str = ""


class RuleName(NamedTuple):
    """A rule of a policy: the policy's key, the direction, the rule's number from 0, and its name if it has one."""

    policy: ObjectKey
    direction: Direction
    number: int
    name: str = ""


class Half(msgspec.Struct, frozen=True, gc=False):
    """One direction's answer: whether it is allowed (None: the API leaves it open), by which rule, and which policies decide.

    The key of a policy for the whole cluster is its kind and name.
    """

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

    @property
    def rules(self) -> tuple[RuleName, ...]:
        """The rules that decide, of either direction."""
        return tuple(half.rule for half in (self.egress, self.ingress) if half.rule is not None)

    @property
    def deciding(self) -> tuple[ObjectKey, ...]:
        """The policies that decide: those that deny or leave it open, else those whose rules allow."""
        for allowed in (False, None):
            for half in (self.egress, self.ingress):
                if half.allowed is allowed:
                    return (half.rule.policy,) if half.rule is not None else half.policies
        return tuple(rule.policy for rule in self.rules)


FREE = Decision()
OPEN = Half()


NEWER = "ClusterNetworkPolicy"
_Named = tuple[tuple[str, str], int]  # a named port's name and protocol, and its number
_Asked = tuple[str, int, frozenset[_Named]]  # protocol and port, and the target's named ports


class _Sort(NamedTuple):
    """What policies see of a party: who restricts it, which peers of rules it is, and its named ports."""

    egress: tuple[int, ...] = ()
    ingress: tuple[int, ...] = ()
    cluster: tuple[Listed, ...] = ()
    peers: frozenset[int] = frozenset()
    ports: frozenset[_Named] = frozenset()
    host: bool = False


class _Rule(NamedTuple):
    peers: frozenset[int]  # none: everybody
    ports: tuple[PolicyPort, ...]  # none: every port
    domains: bool = False
    action: str = ""
    name: RuleName | None = None


class Policies:
    """The policies of one state of a cluster: NetworkPolicies, and those for the whole cluster, if there are any."""

    def __init__(
        self,
        policies: Mapping[Any, NetworkPolicy],
        namespaces: Mapping[Any, KubeNamespace],
        cluster_policies: Mapping[Any, ClusterPolicy] = EMPTY,
        nodes: Mapping[Any, KubeNode] = EMPTY,
    ) -> None:
        self._policies = [policies[key] for key in sorted(policies)]
        self._cluster = [cluster_policies[key] for key in sorted(cluster_policies)]
        self._of_namespace: dict[str, list[int]] = {}
        for number, policy in enumerate(self._policies):
            self._of_namespace.setdefault(policy.namespace, []).append(number)
        self._peers = Peers(namespaces, nodes)
        self._rules: list[dict[Direction, list[_Rule]]] = [
            {
                "egress": [self._rule(policy.namespace, rule) for rule in policy.egress],
                "ingress": [self._rule(policy.namespace, rule) for rule in policy.ingress],
            }
            for policy in self._policies
        ]
        self._cluster_rules: list[dict[Direction, list[_Rule]]] = [
            {"egress": self._cluster_rule(policy, "egress"), "ingress": self._cluster_rule(policy, "ingress")}
            for policy in self._cluster
        ]
        self._names = {
            (port.port, port.protocol)
            for rules in (*self._rules, *self._cluster_rules)
            for rule in (*rules["egress"], *rules["ingress"])
            for port in rule.ports
            if port.port and not port.port.isdecimal()
        }
        self._keys = {
            key
            for selector in (
                *(one.pods for one in self._policies),
                *(one.subject.pods for one in self._cluster),
            )
            for key in keys_of(selector)
        }.union(self._peers.keys())
        self._by_labels: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Any, ...]] = {}
        self._halves: dict[tuple[Any, ...], Half] = {}
        self._firsts: dict[tuple[Any, ...], tuple[tuple[str, int], ...]] = {}

    def _rule(self, namespace: str, rule: Any) -> _Rule:
        return _Rule(frozenset(self._peers.number(namespace, peer) for peer in rule.peers), rule.ports)

    def _cluster_rule(self, policy: ClusterPolicy, direction: Direction) -> list[_Rule]:
        rules = policy.egress if direction == "egress" else policy.ingress
        return [
            self._rule("", rule)._replace(
                domains=any(peer.domains for peer in rule.peers),
                action=rule.action,
                name=RuleName(policy.key, direction, number, rule.name),
            )
            for number, rule in enumerate(rules)
        ]

    def sort(self, party: Party) -> _Sort:
        """What policies see of a party: those with the same are alike to them."""
        blocks = self._peers.of_address(party.addr)
        pod = party.pod
        if pod is None:
            return _Sort(peers=blocks)
        egress, ingress, cluster, peers = self._seen(pod.namespace, pod.labels)
        if pod.host_network:
            return _Sort(egress, ingress, peers=blocks, host=True)
        ports = frozenset(
            ((port.name, port.protocol), port.port)
            for port in pod.ports
            if (port.name, port.protocol) in self._names
        )
        return _Sort(egress, ingress, cluster, peers | blocks, ports)

    def _seen(self, namespace: str, labels: Labels) -> tuple[Any, ...]:
        # Policies see no other labels than those that some selector names.
        key = namespace, frozenset(item for item in labels.items() if item[0] in self._keys)
        known = self._by_labels.get(key)
        if known is None:
            here = ((number, self._policies[number]) for number in self._of_namespace.get(namespace, ()))
            mine = [(number, one) for number, one in here if selects(one.pods, labels)]
            known = self._by_labels[key] = (
                tuple(number for number, one in mine if one.restricts_egress),
                tuple(number for number, one in mine if one.restricts_ingress),
                tuple(
                    Listed("newer" if one.kind == NEWER else "older", one.tier, one.priority, number)
                    for number, one in enumerate(self._cluster)
                    if self._peers.is_subject(one.subject, namespace, labels)
                ),
                self._peers.of_pods(namespace, labels),
            )
        return known

    def selecting(self, pods: Iterable[KubePod]) -> list[NetworkPolicy | ClusterPolicy]:
        """The policies that select any of some pods: those for the whole cluster first, each in the order of their keys."""
        own, cluster = set[int](), set[int]()
        for namespace, labels in {
            (pod.namespace, frozenset(pod.labels.items())): (pod.namespace, pod.labels)
            for pod in restricted(pods)
        }.values():
            egress, ingress, listed, _ = self._seen(namespace, labels)
            own.update(egress, ingress)
            cluster.update(one.number for one in listed)
        return [
            *(self._cluster[one] for one in sorted(cluster)),
            *(self._policies[one] for one in sorted(own)),
        ]

    def decide(self, source: Party, target: Party, protocol: str, port: int) -> Decision:
        """Say whether a flow to a port is allowed; `protocol` is as the API names it, or another one's name."""
        if source.pod is not None and target.pod is not None and source.pod.key == target.pod.key:
            return FREE
        near = is_with_its_node(source, target)
        one, other = self.sort(source), self.sort(target)
        asked = protocol, port, other.ports
        return Decision(
            self._half("egress", one, near, other.peers, asked),
            self._half("ingress", other, near, one.peers, asked),
        )

    def firsts(self, source: Party, target: Party) -> tuple[tuple[str, int], ...]:
        """Where the answers for flows between two parties may change: (protocol, the first of the ports with one answer)."""
        one, other = self.sort(source), self.sort(target)
        key = one.egress, one.cluster, other.ingress, other.cluster, other.ports
        known = self._firsts.get(key)
        if known is None:
            rules = [rule for number in one.egress for rule in self._rules[number]["egress"]]
            rules += [rule for number in other.ingress for rule in self._rules[number]["ingress"]]
            rules += [rule for of in one.cluster for rule in self._cluster_rules[of.number]["egress"]]
            rules += [rule for of in other.cluster for rule in self._cluster_rules[of.number]["ingress"]]
            found = {(protocol, 1) for protocol in PROTOCOLS}
            for port in {port for rule in rules for port in rule.ports}:
                for first, last in _spans(port, other.ports):
                    found |= {(port.protocol, first), (port.protocol, last + 1)}
            known = self._firsts[key] = tuple(sorted(at for at in found if at[1] < 1 << 16))
        return known

    def _half(
        self, direction: Direction, who: _Sort, near: bool, peers: frozenset[int], asked: _Asked
    ) -> Half:
        policies = who.egress if direction == "egress" else who.ingress
        if not policies and not who.cluster:
            return OPEN
        key = direction, policies, who.cluster, who.host, near, peers, asked
        known = self._halves.get(key)
        if known is None:
            if len(self._halves) > MAX_REMEMBERED:
                self._halves.clear()
            known = self._halves[key] = self._decided(
                direction, policies, who.cluster, who.host, near, peers, asked
            )
        return known

    def _decided(
        self,
        direction: Direction,
        policies: tuple[int, ...],
        cluster: tuple[Listed, ...],
        host: bool,
        near: bool,
        peers: frozenset[int],
        asked: _Asked,
    ) -> Half:
        """Ask the tiers in turn. Where more than one end is possible and they differ, the answer is open."""
        ends, goes_on = self._tier("Admin", direction, cluster, peers, asked)
        if goes_on and policies:
            # What is between a node and its own pods, NetworkPolicies let pass.
            ends.append(OPEN if near else self._allowed(direction, policies, host, peers, asked))
        elif goes_on:
            found, goes_on = self._tier("Baseline", direction, cluster, peers, asked)
            ends += found
            if goes_on:
                ends.append(OPEN)
        if len({end.allowed for end in ends}) == 1:
            return ends[0]
        return Half(None, None, tuple(dict.fromkeys(key for end in ends for key in end.policies)))

    def _tier(
        self,
        tier: str,
        direction: Direction,
        cluster: tuple[Listed, ...],
        peers: frozenset[int],
        asked: _Asked,
    ) -> tuple[list[Half], bool]:
        """The ends that a tier may bring, and whether the next one may be asked."""
        decisions, goes_on = tier_decisions(
            (one for one in cluster if one.tier == tier),
            lambda number: self._cluster_rules[number][direction],
            lambda rule: _matches(rule, peers, asked),
        )
        ends = []
        for rule in decisions:
            if rule.action == "Pass":
                goes_on = True
            elif rule.name is not None:
                ends.append(Half(rule.action == "Accept", rule.name, (rule.name.policy,)))
        return ends, goes_on

    def _allowed(
        self,
        direction: Direction,
        policies: tuple[int, ...],
        host: bool,
        peers: frozenset[int],
        asked: _Asked,
    ) -> Half:
        """What the NetworkPolicies that select somebody say."""
        names = tuple(self._policies[number].key for number in policies)
        if host or asked[0] not in PROTOCOLS:
            return Half(None, None, names)
        for number in policies:
            for at, rule in enumerate(self._rules[number][direction]):
                if _matches(rule, peers, asked):
                    return Half(True, RuleName(self._policies[number].key, direction, at), names)
        return Half(False, None, names)


def _matches(rule: _Rule, peers: frozenset[int], asked: _Asked) -> bool | None:
    """Tell whether a rule is for a peer at a port; None: it is if the peer has one of the rule's domains."""
    if rule.ports and not any(_is_port(one, *asked) for one in rule.ports):
        return False
    if not rule.peers or not rule.peers.isdisjoint(peers):
        return True
    return None if rule.domains else False


def _is_port(one: PolicyPort, protocol: str, port: int, named: frozenset[_Named]) -> bool:
    if one.protocol != protocol:
        return False
    if not one.port:
        return True
    if not one.port.isdecimal():
        return ((one.port, protocol), port) in named
    return int(one.port) <= port <= (one.end_port or int(one.port))


def _spans(one: PolicyPort, named: frozenset[_Named]) -> Iterator[tuple[int, int]]:
    """The ports that a rule names, as ranges, both ends included; none where it names all of a protocol."""
    if one.port.isdecimal():
        yield int(one.port), one.end_port or int(one.port)
    elif one.port:
        yield from ((number, number) for name, number in named if name == (one.port, one.protocol))


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

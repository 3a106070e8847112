"""Which flows are to be tried to see whether policies are enforced: some for each two sorts of pods on each node.

Pods that policies see alike, and of which agents' rules say the same, stand for each other on one node: each node enforces
for its own pods. The other end is one of each sort, of the same node and of another one; sorts of few pods come first. Of
the port that the target listens on, those that rules name, and
one that none names, the first that is allowed is tried and the first that is denied.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, NamedTuple

from netviz.core.check.netpol.said import Said
from netviz.core.intent.policies import Decision, Party, Policies, restricted
from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import ClusterPolicy, KubePod, NetworkPolicy
from netviz.core.sim.endpoints import lowest_port, usable_addrs
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import joined

# No rule names it by itself.
ANY_PORT = 47809
PROTOCOLS = {"TCP": 6, "UDP": 17}
MAX_PORTS = 32
_Kind = tuple[Any, Hashable]


class Pod(NamedTuple):
    """A pod of the API's with its namespace on its node, and one of its addresses. `listens`: the lowest TCP port there.

    `sort` is what policies see of it, `said` what rules say of it.
    """

    party: Party
    netns: NetnsKey
    sort: Any
    said: Hashable
    listens: int | None

    @property
    def pod(self) -> KubePod:
        """The pod."""
        assert self.party.pod is not None
        return self.party.pod


class Try(NamedTuple):
    """A flow, and what policies say of it. `protocol` is TCP or UDP."""

    source: Pod
    target: Pod
    protocol: str
    port: int
    decision: Decision


def known_pods(cluster: ClusterState, objects: Objects, policies: Policies, said: Said) -> list[Pod]:
    """List the pods that policies can restrict and whose namespace is known, with an address that the namespace has."""
    found = []
    runs = {pod.key for pod in restricted(objects.kube_pods.values())}
    for name in sorted(objects.kube_nodes):
        node = cluster.nodes.get(name)
        for key, netns in sorted(joined(node).items()) if node is not None else ():
            pod = objects.kube_pods.get(key)
            if node is None or pod is None or key not in runs or netns not in node.netns:
                continue
            for addr in usable_addrs(node.netns[netns]):
                if addr in pod.ips:
                    party = Party(addr, pod)
                    listens = lowest_port(node.netns[netns], PROTOCOLS["TCP"])
                    found.append(Pod(party, netns, policies.sort(party), said.of(netns, addr), listens))
    return found


def ports_named(policies: Iterable[NetworkPolicy | ClusterPolicy], pods: list[Pod]) -> list[tuple[str, int]]:
    """List the ports that are worth trying: those that rules name, by number or as some pod calls them, and another one."""
    found: dict[tuple[str, int], None] = {}
    names = set()
    for policy in policies:
        for rule in (*policy.ingress, *policy.egress):
            for port in rule.ports:
                if port.protocol not in PROTOCOLS:
                    continue
                if port.port.isdecimal():
                    found[port.protocol, int(port.port)] = None
                elif port.port:
                    names.add((port.port, port.protocol))
    for one in pods:
        for own in one.pod.ports:
            if (own.name, own.protocol) in names:
                found[own.protocol, own.port] = None
    return [*sorted(found)[:MAX_PORTS], ("TCP", ANY_PORT)]


def tries(policies: Policies, pods: list[Pod], ports: list[tuple[str, int]]) -> Iterator[Try]:
    """Yield the flows, in order."""
    first: dict[tuple[str, int, _Kind], Pod] = {}
    for one in pods:
        first.setdefault((one.netns.node, len(one.party.addr), _kind(one)), one)
    others: dict[tuple[int, _Kind], list[Pod]] = {}
    for (_, family, kind), one in first.items():
        others.setdefault((family, kind), []).append(one)
    pairs: dict[tuple[NetnsKey, NetnsKey, int], tuple[tuple[bool, int], Pod, Pod]] = {}
    for (node, family, kind), one in first.items():
        for (of, _), every in others.items():
            if of != family:
                continue
            here = next((each for each in every if each.netns.node == node), None)
            there = next((each for each in every if each.netns.node != node), None)
            rare = min(len(others[family, kind]), len(every))
            for other in filter(None, (here, there)):
                # Where policies restrict nobody, only what one that is gone has left can be found.
                rank = not (_is_restricted(one) or _is_restricted(other)), rare
                for source, target in ((other, one), (one, other)):
                    ends = source.netns, target.netns, family
                    if source.netns != target.netns:
                        pairs.setdefault(ends, (rank, source, target))
    for _, source, target in sorted(pairs.values(), key=lambda pair: pair[0]):
        yield from _ports(policies, source, target, ports)


def _kind(one: Pod) -> _Kind:
    return one.sort, one.said


def _is_restricted(one: Pod) -> bool:
    return bool(one.sort.ingress or one.sort.egress or one.sort.cluster)


def _ports(policies: Policies, source: Pod, target: Pod, ports: list[tuple[str, int]]) -> Iterator[Try]:
    """Try a pair at the first port that is allowed and the first that is denied; that which is listened on comes first."""
    told: set[bool] = set()
    heard = [("TCP", target.listens)] if target.listens is not None else []
    for protocol, port in dict.fromkeys((*heard, *ports)):
        decision = policies.decide(source.party, target.party, protocol, port)
        if decision.allowed is not None and decision.allowed not in told:
            told.add(decision.allowed)
            yield Try(source, target, protocol, port, decision)

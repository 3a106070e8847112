"""The pods that policies can restrict, each with its kind: what policies see of it, and what agents' rules say of it.

Kept from one state to the next: a node's pods are looked at again when the node, the policies or a set of addresses is
another one.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator
from typing import Any, NamedTuple

from netviz.core.check.netpol.said import Said, SetsSay
from netviz.core.intent.policies import Party, Policies, restricted
from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import KubePod
from netviz.core.sim.endpoints import lowest_port, usable_addrs
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import joined

TCP = 6
# What looking at a node and at a pod takes, about, in milliseconds.
NODE_MS, POD_MS = 0.05, 0.1
MAX_NUMBERS = 200_000  # of what was seen in states that are gone, too
POLICY_SECTIONS = ("network_policies", "cluster_policies", "kube_namespaces", "kube_nodes")


class Kind(NamedTuple):
    """What tells pods apart here: numbers of what policies see of one and of what rules say of it."""

    sort: int
    said: int
    restricted: bool


class Pod(NamedTuple):
    """A pod of the API's with its namespace on its node, and one of its addresses. `listens`: the lowest TCP port there."""

    party: Party
    netns: NetnsKey
    kind: Kind
    listens: int | None

    @property
    def pod(self) -> KubePod:
        """The pod."""
        assert self.party.pod is not None
        return self.party.pod

    @property
    def node(self) -> str:
        """Its node's name."""
        return self.netns.node

    @property
    def family(self) -> int:
        """The length of its address in bytes."""
        return len(self.party.addr)


class _Seen(NamedTuple):
    node: NodeState
    said: SetsSay
    pods: tuple[Pod, ...]


class Pods:
    """The pods of one cluster. It follows the state, and remembers."""

    def __init__(self) -> None:
        self._made_of: tuple[Any, ...] = ()
        self._numbers: dict[Hashable, int] = {}
        self._nodes: dict[str, _Seen] = {}
        self.policies = Policies({}, {})
        self.said = Said()

    def follow(self, cluster: ClusterState, objects: Objects) -> Generator[float, None, list[Pod]]:
        """Take in a state; returns its pods, and yields what the work costs, in ms."""
        made_of = tuple(getattr(objects, name) for name in POLICY_SECTIONS)
        if len(self._made_of) != len(made_of) or any(
            was is not now for was, now in zip(self._made_of, made_of, strict=True)
        ):
            self._made_of, self._nodes, self._numbers = made_of, {}, {}
            self.policies = Policies(
                objects.network_policies,
                objects.kube_namespaces,
                objects.cluster_policies,
                objects.kube_nodes,
            )
            yield POD_MS * (1 + len(objects.network_policies) + len(objects.cluster_policies))
        if len(self._numbers) > MAX_NUMBERS:
            self._nodes, self._numbers = {}, {}
        sets = yield from self.said.follow(cluster)
        found: list[Pod] = []
        nodes: dict[str, _Seen] = {}
        for name in sorted(objects.kube_nodes):
            node = cluster.nodes.get(name)
            if node is None:
                continue
            seen = self._nodes.get(name)
            if seen is None or seen.node is not node or seen.said is not sets:
                seen = _Seen(node, sets, tuple(self._of_node(node, cluster, objects, sets)))
                yield POD_MS * len(seen.pods)
            nodes[name] = seen
            found += seen.pods
            yield NODE_MS
        self._nodes = nodes
        return found

    def now(self, cluster: ClusterState, objects: Objects) -> list[Pod]:
        """Take in a state at once; returns its pods."""
        job = self.follow(cluster, objects)
        while True:
            try:
                next(job)
            except StopIteration as end:
                found: list[Pod] = end.value
                return found

    def _of_node(
        self, node: NodeState, cluster: ClusterState, objects: Objects, sets: SetsSay
    ) -> Iterator[Pod]:
        """Yield a node's pods whose namespace is known, with each address that the API and the namespace have."""
        rules = None
        for key, netns in sorted(joined(node).items()):
            pod = objects.kube_pods.get(key)
            if pod is None or not restricted((pod,)) or netns not in node.netns:
                continue
            for addr in usable_addrs(node.netns[netns]):
                if addr in pod.ips:
                    rules = self.said.of_node(node, cluster.bodies) if rules is None else rules
                    party = Party(addr, pod)
                    sort = self.policies.sort(party)
                    kind = Kind(
                        self._number(sort),
                        self._number((rules.get(netns, ()), sets.get(addr, frozenset()))),
                        bool(sort.ingress or sort.egress or sort.cluster),
                    )
                    yield Pod(party, netns, kind, lowest_port(node.netns[netns], TCP))

    def _number(self, one: Hashable) -> int:
        return self._numbers.setdefault(one, len(self._numbers))

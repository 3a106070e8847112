"""What a fault is: a record of what it does to whom, and the function that makes it by undoable changes.

A fault is applied to a target: a node, another node, a third one, a pod, another pod of the same node.
Its record speaks of them as NODE, OTHER, THIRD, POD and OTHER-POD: in the words for users, in what is to
blame, and in which pairs are affected. `Effect` names sets of senders and receivers:

    POD, OTHER-POD, NODE, OTHER, THIRD       that one (a node as a sender is the node itself)
    OTHER-FIRST                              OTHER's first pod
    NODE.pods, OTHER.pods, THIRD.pods        its pods (NODE.default, ...: those of namespace default)
    others.pods                              the pods of all nodes but NODE
    pods, nodes                              all of them
    SERVICE, SERVICES                        the cluster address of the service that the fault is about, of all
    DNS                                      the cluster address of the DNS service
    outside                                  the internet's host
    any                                      as a sender all pods and nodes, as a receiver all pods and outside

joined by "+", without what follows "!": "NODE+NODE.pods", "any!POD".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from lab.changes import Changes
from lab.cluster import Cluster, LabError
from lab.kinds import KINDS
from lab.kubernetes import shapes
from lab.spec import ClusterState, NodeState, Pod

ALL = tuple(KINDS)
BRIDGED = ("textbook", "vxlan", "cni", "two-nics")
BY_NODES = tuple(name for name in ALL if name != "macvlan")  # pods' packets pass their node's IP layer
OUTSIDE = "internet"
SMALL, LARGE = "small", "large"
DNS = f"{shapes.DNS_NAMESPACE}/{shapes.DNS_NAME}"
# The source port of the flow that a fault is about.
FLOW_PORT = 40053


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pairs that a fault affects: other than before, their packets are lost, refused or changed.

    `sizes` says whether small packets suffer, large ones (1420 bytes), or both; `kinds` limits it to some
    kinds of networks, `at_home` to those where packets between pods of one node pass its IP layer's rules;
    with `both` the way back is meant too; `sources` to clusters where pods see each other's own addresses (True) or their
    nodes' (False); `sometimes` says that it depends on chance. With `sport` only what
    is sent from that UDP port suffers.
    """

    src: str
    dst: str
    families: tuple[int, ...] = (4, 6)
    sizes: tuple[str, ...] = (SMALL, LARGE)
    kinds: tuple[str, ...] = ()
    at_home: bool = False
    sources: bool | None = None
    both: bool = False
    sometimes: bool = False
    sport: int = 0


class Pair(msgspec.Struct, frozen=True):
    """A sender and a receiver by name, an address family, a size of packets, and a UDP source port (0 is any)."""

    src: str
    dst: str
    family: int
    size: str
    sport: int = 0


class Target(msgspec.Struct, frozen=True):
    """What a fault is applied to."""

    node: NodeState
    other: NodeState | None
    third: NodeState | None
    pod: Pod | None
    other_pod: Pod | None
    kind: str  # as which it is built
    at_home: bool
    keeps_sources: bool
    masquerade_chains: list[str]
    service: str = ""
    dns: dict[int, str] = {}  # the DNS service's cluster address in each family

    def need_service(self) -> str:
        """Return the name of the service, as NAMESPACE/NAME. Raises: LabError."""
        if not self.service:
            raise LabError("this fault needs a service that leads to pods")
        return self.service

    def need_other(self) -> NodeState:
        """Return the other node. Raises: LabError."""
        if self.other is None:
            raise LabError("this fault needs a second node")
        return self.other

    def need_third(self) -> NodeState:
        """Return the third node. Raises: LabError."""
        if self.third is None:
            raise LabError("this fault needs a third node")
        return self.third

    def need_pod(self) -> Pod:
        """Return the pod. Raises: LabError."""
        if self.pod is None:
            raise LabError(f"this fault needs a pod on {self.node.name}")
        return self.pod

    def need_other_pod(self) -> Pod:
        """Return the other pod. Raises: LabError."""
        if self.other_pod is None:
            raise LabError(f"this fault needs a second pod on {self.node.name}")
        return self.other_pod

    def other_first(self) -> Pod:
        """Return the other node's first pod. Raises: LabError."""
        other = self.need_other()
        if not other.pods:
            raise LabError(f"this fault needs a pod on {other.name}")
        return next(iter(other.pods.values()))

    @property
    def uplink(self) -> str:
        """The device by which the node reaches the others' pods."""
        return KINDS[self.kind].uplink


Make = Callable[[Changes, Target], None]


class Fault(msgspec.Struct, frozen=True):
    """A fault. `blame` is the part of the target and the device there that is at fault ("" is none).

    A device is named, or is "uplink" (by which the node reaches the others' pods), "veth" (the host end of
    POD's pair) or "bridge".
    """

    name: str
    area: str
    summary: str
    uses: tuple[str, ...]
    kinds: tuple[str, ...]
    blame: tuple[str, str]
    affects: tuple[Effect, ...]
    make: Make
    needs_services: bool = False


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    area: str,
    summary: str,
    *,
    uses: tuple[str, ...] = ("node",),
    kinds: tuple[str, ...] = BY_NODES,
    blame: tuple[str, str],
    affects: tuple[Effect, ...],
    needs_services: bool = False,
) -> Callable[[Make], Make]:
    """Register the function that makes a fault."""

    def register(make: Make) -> Make:
        FAULTS[name] = Fault(name, area, summary, uses, kinds, blame, affects, make, needs_services)
        return make

    return register


def choose_target(
    cluster: Cluster,
    node: str | None = None,
    other: str | None = None,
    pod: str | None = None,
    other_pod: str | None = None,
) -> Target:
    """Fill in what isn't told: the first node, the next ones, its first and second pods. Raises: LabError."""
    nodes = cluster.state.nodes
    for name in (node, other):
        if name is not None and name not in nodes:
            raise LabError(f"{cluster.name} has no node {name}")
    if pod is not None:
        where = cluster.pod(pod).node
        if node not in (None, where):
            raise LabError(f"{pod} is on {where}, not on {node}")
        node = where
    first = nodes[node] if node else next((found for found in nodes.values() if found.name != other), None)
    if first is None:
        raise LabError("this fault needs a second node")
    second = nodes[other] if other else next((found for found in nodes.values() if found is not first), None)
    third = next((found for found in nodes.values() if found is not first and found is not second), None)
    chosen = first.pods[pod] if pod else next((p for p in first.pods.values() if p.name != other_pod), None)
    if other_pod is not None:
        if cluster.pod(other_pod).node != first.name:
            raise LabError(f"{other_pod} isn't on {first.name}")
        another: Pod | None = first.pods[other_pod]
    else:
        another = next((found for found in first.pods.values() if found is not chosen), None)
    spec, kind = cluster.state.spec, cluster.kind
    built_as = kind.built_as(spec)
    at_home = built_as in ("routed", "ptp") or kind.rules_bridged(spec)
    service, dns = _service(cluster.state, chosen), dns_addresses(cluster.state)
    return Target(
        first,
        second,
        third,
        chosen,
        another,
        built_as,
        at_home,
        kind.keeps_sources(spec),
        kind.masquerade_chains(spec, first),
        service,
        dns,
    )


def dns_addresses(state: ClusterState) -> dict[int, str]:
    """Map each address family to the DNS service's cluster address, if there is that service."""
    return {
        6 if ":" in address else 4: address
        for one in state.services
        if f"{one['metadata']['namespace']}/{one['metadata']['name']}" == DNS
        for address in one["spec"]["clusterIPs"]
    }


def usual_services(state: ClusterState) -> dict[str, dict[str, Any]]:
    """Map NAMESPACE/NAME to the specification of the services of namespace default with an address and pods."""
    return {
        f"default/{one['metadata']['name']}": one["spec"]
        for one in state.services
        if one["metadata"]["namespace"] == "default"
        and one["spec"]["clusterIP"] != "None"
        and one["spec"].get("selector")
    }


def _service(state: ClusterState, pod: Pod | None) -> str:
    """Choose the service that a pod is behind, or the first one."""
    usual = usual_services(state)
    mine = [
        n for n, spec in usual.items() if pod is not None and spec["selector"].items() <= pod.labels.items()
    ]
    return next(iter([*mine, *usual]), "")


def effects(found: Fault, target: Target) -> list[Effect]:
    """Return what a fault does in a cluster like the target's."""
    return [
        effect
        for effect in found.affects
        if (not effect.kinds or target.kind in effect.kinds)
        and (target.at_home or not effect.at_home)
        and effect.sources in (None, target.keeps_sources)
    ]


def affected(found: Fault, state: ClusterState, target: Target) -> dict[Pair, bool]:
    """Map each pair that a fault affects to whether that is certain."""
    pairs: dict[Pair, bool] = {}
    for effect in effects(found, target):
        ways = [(effect.src, effect.dst)]
        if effect.both:
            ways.append((effect.dst, effect.src))
        for src, dst in ways:
            for pair in _pairs(effect, _names(src, state, target, True), _names(dst, state, target, False)):
                if _works(pair, state, target.kind):
                    pairs[pair] = pairs.get(pair, False) or not effect.sometimes
    return pairs


def _works(pair: Pair, state: ClusterState, kind: str) -> bool:
    """Tell whether a pair's packets are delivered without a fault."""
    own = pair.src in state.nodes and pair.dst in state.nodes[pair.src].pods
    return (pair.family == 4 or state.spec.ipv6) and (KINDS[kind].reaches_own_pods or not own)


def _pairs(effect: Effect, sources: list[str], targets: list[str]) -> Iterable[Pair]:
    for src in sources:
        for dst in targets:
            if src != dst:
                # Services are for TCP, which has no large datagrams.
                sizes = (SMALL,) if dst.startswith("svc/") else effect.sizes
                yield from (
                    Pair(src, dst, family, size, effect.sport) for family in effect.families for size in sizes
                )


def _names(words: str, state: ClusterState, target: Target, sending: bool) -> list[str]:
    """Name the members of a set; as receivers nodes don't count, as senders the internet doesn't."""
    meant, _, without = words.partition("!")
    names = [name for word in meant.split("+") for name in _set(word, state, target, sending)]
    left_out = set(_names(without, state, target, sending)) if without else set()
    beyond = {OUTSIDE} if sending else set(state.nodes)
    return [name for name in dict.fromkeys(names) if name not in left_out and name not in beyond]


def _set(word: str, state: ClusterState, target: Target, sending: bool) -> list[str]:
    pods = [name for node in state.nodes.values() for name in node.pods]
    match word:
        case "pods":
            return pods
        case "nodes":
            return list(state.nodes)
        case "outside":
            return [OUTSIDE]
        case "any":
            return [*pods, *state.nodes] if sending else [*pods, OUTSIDE]
        case "OTHER-FIRST":
            return [target.other_first().name] if target.other is not None else []
        case "SERVICES":
            return [] if sending else [f"svc/{name}" for name in usual_services(state)]
        case "DNS":
            return [f"svc/{DNS}"] if target.dns and not sending else []
        case "SERVICE":
            return [f"svc/{target.service}"] if target.service and not sending else []
        case "others.pods":
            return [name for name in pods if name not in target.node.pods]
    part, _, pods_of = word.partition(".")
    found: NodeState | Pod | None = getattr(target, part.lower().replace("-", "_"))
    if found is None:
        return []
    if pods_of and isinstance(found, NodeState):
        return [pod.name for pod in found.pods.values() if pods_of == "pods" or pod.namespace == pods_of]
    return [found.name]


def device(found: Fault, target: Target) -> str:
    """Name the device that is to blame."""
    match found.blame[1]:
        case "uplink":
            return target.uplink
        case "bridge":
            return KINDS[target.kind].bridge
        case "veth":
            return target.pod.host_ifname if target.pod is not None else ""
    return found.blame[1]

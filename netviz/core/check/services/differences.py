"""Where what a node does with packets to a service differs from what the API asks of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from netviz.core.check.services.datapath import ChainRule, Datapath, Done
from netviz.core.intent.services import (
    NODE,
    OUTSIDE,
    PODS,
    End,
    Entrance,
    From,
    Ready,
    Wanted,
    entrances,
    is_by_node,
    of_port,
    wanted,
)
from netviz.core.model.kubernetes import KubeService
from netviz.core.sim.services import BALANCER, CLUSTER, EXTERNAL, NODE_PORT, How
from netviz.core.state.objects import Objects

# Whose packets are followed to which entrances: each way that the rules have of their own.
SOURCES: Mapping[How, tuple[From, ...]] = {
    CLUSTER: (PODS, NODE),
    EXTERNAL: (PODS, OUTSIDE),
    BALANCER: (OUTSIDE,),
    NODE_PORT: (NODE, OUTSIDE),
}
# One endpoint has that many times another one's share.
UNEVEN = 1.5

Kind = Literal["missing", "stale", "absent", "passes", "doubled"]


class Difference(msgspec.Struct, frozen=True):
    """What differs at one entrance, for one sort of source.

    `missing`: the rules lead elsewhere, and not to these endpoints. `stale`: they lead to these, which aren't to be led to.
    `absent`: they lead nowhere. `passes`: there is nobody to lead to, and they don't refuse. `doubled`: these have more
    than their share.
    """

    kind: Kind
    entrance: Entrance
    source: From
    ends: frozenset[End] = frozenset()
    rule: ChainRule = ChainRule()


class Held(msgspec.Struct, frozen=True):
    """What holding a node against services came to.

    Of `judged` entrances with their sources, `translated` lead to some endpoint, of which `node_ports` by a node port.
    """

    differences: tuple[Difference, ...] = ()
    unknown: tuple[str, ...] = ()
    translated: int = 0
    judged: int = 0
    node_ports: int = 0


class Port(msgspec.Struct, frozen=True):
    """An entrance of a service, with its endpoints."""

    service: KubeService
    entrance: Entrance
    ends: list[Ready]

    @property
    def by_node(self) -> bool:
        """Nodes are to lead to different endpoints."""
        return is_by_node(self.service, self.ends)


def ports_of(objects: Objects, service: KubeService) -> list[Port]:
    """List a service's entrances with their endpoints."""
    return [
        Port(service, one, of_port(objects.endpoint_slices, service, one.name, one.family))
        for one in entrances(service)
    ]


def differences(port: Port, source: From, want: Wanted, done: Done) -> Iterator[Difference]:
    """Compare what is done with what is wanted. Of what isn't known, only what contradicts is told."""
    entrance = port.entrance
    ends = frozenset(done.ends)
    if stale := ends - want.may:
        yield Difference("stale", entrance, source, stale, done.ends[min(stale)])
    if done.unknown:
        return
    missing = want.must - ends
    if missing and not ends:
        yield Difference("absent", entrance, source, missing, done.refused or ChainRule())
    elif missing:
        yield Difference("missing", entrance, source, missing, done.ends[min(ends)])
    elif done.passes is not None and not ends and not want.may:
        yield Difference("passes", entrance, source, frozenset(), done.passes)
    if done.shares and len(ends) > 1 and not port.service.affinity_s:
        least = min(done.shares.values())
        if doubled := frozenset(end for end, share in done.shares.items() if share > UNEVEN * least):
            yield Difference("doubled", entrance, source, doubled, done.ends[min(doubled)])


def sure(port: Port, done: Done, want: Wanted) -> Done:
    """Take for unknown what a session that stands may have decided: its source goes where it went before."""
    if port.service.affinity_s and len(done.ends) == 1 and len(want.must) > 1:
        return msgspec.structs.replace(
            done, unknown="session affinity may have chosen for the source that was traced"
        )
    return done


class Look(NamedTuple):
    """What is wanted of a node at a port for one sort of source, and what its rules do."""

    port: Port
    source: From
    want: Wanted
    done: Done


def looks(datapath: Datapath, name: str, objects: Objects, ports: Iterable[Port]) -> Iterator[Look]:
    """Look at what a node does for ports of services, for each sort of source that has rules of its own."""
    node = objects.kube_nodes[name]
    for port in ports:
        for source in SOURCES[port.entrance.how]:
            want = wanted(port.service, port.ends, port.entrance.how, source, node)
            yield Look(port, source, want, sure(port, datapath.done(name, port.entrance, source), want))


def hold(datapath: Datapath, name: str, objects: Objects, ports: Iterable[Port]) -> Held:
    """Hold a node's rules against ports of services."""
    found: list[Difference] = []
    unknown: dict[str, None] = {}
    translated = judged = node_ports = 0
    for port, source, want, done in looks(datapath, name, objects, ports):
        judged += 1
        translated += bool(done.ends)
        node_ports += bool(done.ends) and port.entrance.how == NODE_PORT
        if done.unknown:
            unknown[done.unknown] = None
        found += differences(port, source, want, done)
    return Held(tuple(found), tuple(unknown), translated, judged, node_ports)

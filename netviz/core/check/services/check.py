"""The check of services: what the API asks of each node, held against what its rules do, worked at in slices.

While what the API says isn't known whole and followed, nothing is judged: it would be the past that is held against now.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from netviz.core.check.problem import NodeHealth, Problem
from netviz.core.check.services.datapath import Datapath
from netviz.core.check.services.differences import Difference as Differs
from netviz.core.check.services.differences import Held, Port, hold, ports_of
from netviz.core.check.services.health import unheard
from netviz.core.check.services.told import KINDS, Teller
from netviz.core.check.sliced import Found, SlicedCheck, doubt
from netviz.core.sim.services import NODE_PORT
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects, cluster_source

NEEDS = ("services", "endpoint_slices", "kube_nodes")
TRACE_MS = 5.0
LOOK_MS = 0.02
DEMANDS = (
    "Each node's rules lead each service to the endpoints that the API has for it there, and to no others."
)


class ServicesCheck(SlicedCheck):
    """Holds every node's rules against every service."""

    name = "services"
    unit = "entrances"
    demands = DEMANDS

    def __init__(self) -> None:
        super().__init__()
        self.datapath = Datapath()

    def reset(self) -> None:
        """Forget all answers."""
        self.datapath = Datapath()

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth], found: Found) -> Iterator[float]:
        """Judge a state; yields what each piece of work costs, in ms."""
        if any(state.objects.services for state in cluster.clusters.values()):
            yield from self.datapath.follow(cluster)
        for name, state in sorted(cluster.clusters.items()):
            source = cluster_source(name)
            if why := doubt(name, state.gaps, health.get(source), NEEDS):
                found.unknown[why] = None
                continue
            if not state.objects.services:
                continue
            held: dict[str, Held] = {}
            yield from self._hold(cluster, state.objects, held)
            teller = Teller(cluster, source)
            found.problems += self._tell(teller, held, found.unknown)
            found.problems += teller.unhealthy(
                unheard(cluster, state.objects, [name for name, one in held.items() if one.translated])
            )
            found.judged += sum(one.judged for one in held.values())

    def _hold(self, cluster: ClusterState, objects: Objects, held: dict[str, Held]) -> Iterator[float]:
        """Hold the nodes against the services: those with the same rules at once where the same is asked of them."""
        every = [port for _, one in sorted(objects.services.items()) for port in ports_of(objects, one)]
        self.datapath.forget({port.entrance for port in every})
        common = [port for port in every if not port.by_node]
        own = [port for port in every if port.by_node]
        nodes = [name for name in sorted(objects.kube_nodes) if name in cluster.nodes]
        for alike in self.datapath.alike(nodes):
            shared = Held()
            for port in common:
                shared = _with(shared, (yield from self._one(alike[0], objects, port)))
            for name in alike:
                mine = shared
                for port in own:
                    mine = _with(mine, (yield from self._one(name, objects, port)))
                held[name] = mine

    def _one(self, name: str, objects: Objects, port: Port) -> Generator[float, None, Held]:
        before = self.datapath.traced
        found = hold(self.datapath, name, objects, (port,))
        yield LOOK_MS + TRACE_MS * (self.datapath.traced - before)
        return found

    def _tell(self, teller: Teller, held: Mapping[str, Held], unknown: dict[str, None]) -> Iterator[Problem]:
        anywhere = any(one.translated for one in held.values())
        found: dict[str, tuple[Differs, ...]] = {}
        for name, one in held.items():
            unknown |= dict.fromkeys(one.unknown)
            lost = any(each.kind == "absent" for each in one.differences)
            if lost and not one.translated:
                if anywhere and not one.unknown:
                    yield teller.absent(name)
                else:
                    unknown[
                        f"no rules of {name} translate any service's address: others may do it, or nobody"
                    ] = None
                continue
            ports = [each for each in one.differences if each.entrance.how == NODE_PORT]
            if ports and all(each.kind == "absent" for each in ports) and not one.node_ports:
                unknown[f"no node port is served at the address of {name}: it may be at others"] = None
                found[name] = tuple(each for each in one.differences if each not in ports)
            else:
                found[name] = one.differences
        yield from teller.told(found)


def _with(one: Held, other: Held) -> Held:
    return Held(
        one.differences + other.differences,
        tuple(dict.fromkeys((*one.unknown, *other.unknown))),
        one.translated + other.translated,
        one.judged + other.judged,
        one.node_ports + other.node_ports,
    )


__all__ = ["KINDS", "ServicesCheck"]

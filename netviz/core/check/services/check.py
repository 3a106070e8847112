"""The check of services: what the API asks of each node, held against what its rules do, worked at in slices.

While what the API says isn't known whole and followed, nothing is judged: it would be the past that is held against now.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping

from netviz.core.check.long import Ends
from netviz.core.check.problem import CheckResult, Difference, NodeHealth, Problem, Result
from netviz.core.check.services.datapath import Datapath
from netviz.core.check.services.differences import Difference as Differs
from netviz.core.check.services.differences import Held, Port, hold, ports_of
from netviz.core.check.services.told import KINDS, Teller
from netviz.core.check.standing import reasons_text
from netviz.core.intent.services import NODE_PORT
from netviz.core.sim.damage import BAD_STATE
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects, cluster_source

NEEDS = ("services", "endpoint_slices", "kube_nodes")
SLICE_MS = 40.0
TRACE_MS = 5.0
LOOK_MS = 0.02
DEMANDS = (
    "Each node's rules lead each service to the endpoints that the API has for it there, and to no others."
)


class ServicesCheck:
    """Holds every node's rules against every service."""

    def __init__(self) -> None:
        self.done: ClusterState | None = None
        self.datapath = Datapath()
        self._cluster = ClusterState()
        self._next: tuple[ClusterState, Mapping[str, NodeHealth]] | None = None
        self._job: Iterator[float] | None = None
        self._problems: tuple[Problem, ...] = ()
        self._unknown: tuple[str, ...] = ()
        self._judged = 0
        self._fault = ""

    def follow(
        self,
        cluster: ClusterState,
        changed: Collection[str] = (),
        health: Mapping[str, NodeHealth] | None = None,
    ) -> None:
        """Take a new state: it is judged by `work`, after the one that is being judged."""
        self._next = cluster, health or {}

    def work(self) -> bool:
        """Do one slice; tell whether anything is left to do."""
        if self._job is None:
            if self._next is None:
                return False
            (self._cluster, health), self._next = self._next, None
            self._job = self._judge(self._cluster, health)
        try:
            spent = 0.0
            for cost in self._job:
                spent += cost
                if spent >= SLICE_MS:
                    return True
        except BAD_STATE as err:
            self.datapath = Datapath()
            self._fault = f"the check failed on this state ({type(err).__name__}: {err})"
        else:
            self._fault = ""
        self._job, self.done = None, self._cluster
        return self._next is not None

    def _judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth]) -> Iterator[float]:
        problems: list[Problem] = []
        unknown: dict[str, None] = {}
        judged = 0
        if any(state.objects.services for state in cluster.clusters.values()):
            yield from self.datapath.follow(cluster)
        for name, state in sorted(cluster.clusters.items()):
            source = cluster_source(name)
            if why := _doubt(name, state.gaps, health.get(source)):
                unknown[why] = None
                continue
            held: dict[str, Held] = {}
            yield from self._hold(cluster, state.objects, held)
            problems += self._tell(Teller(cluster, source), held, unknown)
            judged += sum(one.judged for one in held.values())
        self._problems, self._unknown, self._judged = tuple(problems), tuple(unknown), judged

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

    def problems(self) -> Collection[Problem]:
        """The problems of the last state that was judged to the end."""
        return self._problems

    def follows(self, problem: Problem, fact: Problem) -> tuple[str, ...] | None:
        """A difference between API and rules follows from no record."""
        return None

    def reach(self, problem: Problem) -> Mapping[Ends, int]:
        """No pairs are counted."""
        return {}

    def counts(self) -> tuple[int, int]:
        """No pairs are judged."""
        return 0, 0

    def audit(self, count: int) -> None:
        """Every answer is a trace's already."""

    @property
    def differences(self) -> tuple[Difference, ...]:
        """None: nothing is put together of halves."""
        return ()

    def result(self) -> CheckResult | None:
        """How the check ended; None where no cluster's objects are known."""
        if not self._cluster.clusters and self._next is None:
            return None
        reasons = [*([self._fault] if self._fault else []), *self._unknown]
        if self.done is None:
            reasons.append("not all services are judged yet")
        state: Result = "fail" if self._problems else "unknown" if reasons else "pass"
        return CheckResult("services", state, self._judged, "entrances", reasons_text(reasons), DEMANDS)


def _doubt(name: str, gaps: Mapping[str, str], health: NodeHealth | None) -> str:
    if health is not None and not health.connected:
        return f"the API of cluster {name} isn't watched"
    missing = [section for section in NEEDS if section in gaps]
    if missing:
        return f"cluster {name}: {missing[0]}: {gaps[missing[0]]}"
    return ""


def _with(one: Held, other: Held) -> Held:
    return Held(
        one.differences + other.differences,
        tuple(dict.fromkeys((*one.unknown, *other.unknown))),
        one.translated + other.translated,
        one.judged + other.judged,
        one.node_ports + other.node_ports,
    )


__all__ = ["KINDS", "ServicesCheck"]

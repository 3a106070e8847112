"""Judges one pair of each key by the simulator, and remembers what came of it.

What is remembered goes by the key, which is canonical: a change of the state that leaves a pair's key as it was leaves
the verdict, and one that comes back is known already.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netviz.core.check.paths.contract import (
    UNDECIDED,
    Demand,
    between,
    judge,
    leads_on,
    leaves_as,
    to_internet,
    worst,
)
from netviz.core.check.paths.noderules import Reading
from netviz.core.check.paths.pairs import Pair
from netviz.core.check.problem import Judgement
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import IFF_LOOPBACK
from netviz.core.sim.nft.tracking import defragments, tracks_connections
from netviz.core.sim.node_index import resolve_lower_of
from netviz.core.sim.outcome import BROKEN
from netviz.core.sim.run import Run
from netviz.core.sim.trace import Flow, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState, NetnsState

# As much is done for one flow: a few hundred are many, unless courses multiply.
MAX_MOVES = 2000
# What hands no frames to the host of the device below it.
OVER_ANOTHER = ("macvlan", "ipvlan")


class Found(msgspec.Struct, frozen=True):
    """What came of one flow. `left_as`: it left the known network with another source than the pod's."""

    kind: str
    flow: Flow
    verdict: Judgement
    rewritten: bool | None = None


class Judged(msgspec.Struct, frozen=True):
    """What came of a pair's flows."""

    found: tuple[Found, ...]

    @property
    def verdict(self) -> Judgement:
        """The worst of them."""
        return worst(one.verdict for one in self.found)


class Simulator:
    """Traces flows in one state, and notes which netfilter bodies that read."""

    def __init__(self, cluster: ClusterState) -> None:
        self._plain = cluster
        self.reading = Reading(cluster.bodies)
        self.cluster = ClusterState(cluster.nodes, self.reading)
        self._warm: set[str] = set()

    def read_since(self) -> frozenset[bytes]:
        """The netfilter bodies that were read since this was asked last."""
        read, self.reading.read = frozenset(self.reading.read), set()
        return read

    def trace(self, demand: Demand) -> tuple[Flow, Trace] | None:
        """Trace a flow; None where its source has no address for it."""
        flow = demand.flow(self._plain)
        if flow is None:
            return None
        for node in {
            demand.source.key.node,
            *((demand.target.key.node,) if demand.target is not None else ()),
        }:
            self._warm_up(node, flow)
        return flow, simulate(self.cluster, flow, MAX_MOVES)

    def _warm_up(self, node: str, flow: Flow) -> None:
        """Find out whether a node's rules track connections, for which all of them may be read, before that counts."""
        if node in self._warm:
            return
        self._warm.add(node)
        root = self._plain.nodes[node].root
        run = Run(self._plain, flow)
        for ipv6 in (False, True) if root is not None else ():
            assert root is not None
            tracks_connections(run, root, ipv6)
            defragments(run, root, ipv6)


def demands_of(pair: Pair, cluster: ClusterState) -> list[Demand]:
    """List what is asked of a pair."""
    what = pair.key[0]
    source = _ns(cluster, pair.source)
    root = cluster.nodes[pair.source.node].root
    if what == "net":
        return [demand for demand in to_internet(source) if root is not None and leads_on(root, demand.addr)]
    if what == "home":
        if root is None or lies_over_its_node(cluster, source):
            return []
        return [*between(source, root, False), *between(root, source, False)]
    return between(source, _ns(cluster, pair.target))


def lies_over_its_node(cluster: ClusterState, pod: NetnsState) -> bool:
    """Tell whether a pod's links are macvlans or ipvlans over its node's own: by design they never reach that node."""
    node = cluster.nodes[pod.key.node]
    links = [link for link in pod.links.values() if not link.flags & IFF_LOOPBACK]
    lowers = [
        resolve_lower_of(node, LinkKey(pod.key, one.ifindex)) for one in links if one.kind in OVER_ANOTHER
    ]
    return (
        bool(links)
        and len(lowers) == len(links)
        and all(one and node.netns[one.netns].netns.root for one in lowers)
    )


def _ns(cluster: ClusterState, key: NetnsKey) -> NetnsState:
    return cluster.nodes[key.node].netns[key]


def judge_pair(simulator: Simulator, demands: Iterable[Demand]) -> tuple[Judged, list[tuple[Demand, Trace]]]:
    """Trace what is asked of a pair."""
    found, traces = [], []
    for demand in demands:
        traced = simulator.trace(demand)
        if traced is None:
            continue
        flow, trace = traced
        traces.append((demand, trace))
        left = leaves_as(trace) if demand.target is None else None
        rewritten = None if left is None else left != flow.src
        verdict = judge(demand, trace)
        found.append(Found(f"{demand.proto}{len(demand.addr)}", flow, verdict, rewritten))
        if verdict in (BROKEN, UNDECIDED):
            break  # the others are no better, and take as long
    return Judged(tuple(found)), traces

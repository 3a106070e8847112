"""One observation on one node, without a server: read the state, predict, watch, send, and lay both beside each other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import msgspec

from agents.collectors.base import Collector, NetnsHandle
from agents.collectors.netns import Namespaces, NetnsOptions
from agents.enter import NetnsThread
from agents.kernel import Kernel
from agents.observers.observer import TURN_S, Observer
from agents.snapshot import Snapshotter
from netviz.core.observe.cannot import ALWAYS_UNSEEN
from netviz.core.observe.counters import legacy_tables
from netviz.core.observe.evidence import Evidence, judge, place_name
from netviz.core.observe.gather import Gathering
from netviz.core.observe.match import Observation
from netviz.core.observe.orders import Prepare
from netviz.core.observe.routed import addresses_of
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.trace import Flow, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import dump_nvz, join_captures, load_nvz

QUIET_S = 0.05
SETTLE_S = 2.0
NUMBERS = 100_000


class ProbeRequest(msgspec.Struct, frozen=True):
    """What to send: as `netviz.core.sim.endpoints.resolve_flow` takes it, how often, and how long to wait for an answer."""

    from_: str
    to: str
    proto: str = "tcp"
    dport: int | None = None
    sport: int | None = None
    length: int | None = None
    df: bool = False
    count: int = 1
    wait_s: float = 2.0


class Observed(msgspec.Struct, frozen=True):
    """One probe: predicted from `cluster` and observed. `cannot` says in sentences what can't be seen here."""

    cluster: ClusterState
    trace: Trace
    evidence: Evidence
    observation: Observation
    cannot: tuple[str, ...]


def read_cluster(options: NetnsOptions, collectors: Sequence[Collector], kernel: Kernel) -> ClusterState:
    """Read the node's state as one cluster. Raises: OSError."""
    ledger = Snapshotter(options, collectors, kernel).run()
    return join_captures([load_nvz(dump_nvz(ledger.state, ledger.all_bodies(), time.time()))])


def observe(
    options: NetnsOptions, collectors: Sequence[Collector], kernel: Kernel, request: ProbeRequest
) -> Iterator[Observed]:
    """Send the probes one after the other. Raises: OSError, EndpointError."""
    cluster = read_cluster(options, collectors, kernel)
    flow = resolve_flow(
        cluster,
        request.from_,
        request.to,
        request.proto,
        request.sport,
        request.dport,
        request.length,
        request.df,
    )
    if flow.by is not None:
        raise EndpointError(f"{request.from_} isn't on this node: no probe can be sent from there")
    first = secrets.randbelow(NUMBERS - request.count)
    for number in range(first, first + request.count):
        with opened(options, kernel) as handles:
            yield _observe_one(options.node, cluster, flow, number, handles, request.wait_s)


@contextmanager
def opened(options: NetnsOptions, kernel: Kernel) -> Iterator[list[NetnsHandle]]:
    """Hold the namespaces of a node for a while."""
    thread = NetnsThread(kernel, inline=True)
    try:
        namespaces = Namespaces(options, thread)
        try:
            namespaces.take(namespaces.look())
            yield namespaces.handles()
        finally:
            namespaces.close()
    finally:
        thread.close()


def _observe_one(
    node: str, cluster: ClusterState, flow: Flow, number: int, handles: Sequence[NetnsHandle], wait_s: float
) -> Observed:
    wanted = msgspec.structs.replace(flow, sport=flow.sport if flow.own_sport else None)
    likely = simulate(cluster, flow)  # whichever port it has
    order = Prepare(
        wanted,
        number,
        sends=True,
        tracepoints=True,
        limit_s=wait_s + SETTLE_S,
        addrs=addresses_of(likely),
        legacy=legacy_tables(likely, place_name),
    )
    with closing(Observer(node, handles, order)) as observer:
        flow = msgspec.structs.replace(flow, sport=observer.sport)
        trace = simulate(cluster, flow)
        gathering = Gathering(flow, number, {})
        ready = observer.ready()
        gathering.take(node, ready, ready.at_ns, ready.at_ns)
        _watch(observer, gathering, node, wait_s)
        finished = observer.finish()
        gathering.take(node, finished, finished.at_ns, finished.at_ns)
    evidence = gathering.evidence()
    return Observed(
        cluster, trace, evidence, judge(cluster, trace, evidence), (*ALWAYS_UNSEEN, "other nodes")
    )


def _watch(observer: Observer, gathering: Gathering, node: str, wait_s: float) -> None:
    """Send, and watch until the sender was told something or the time is over, and then until nothing more comes."""
    gathering.take(node, observer.send(), 0, 0)
    limit = time.monotonic() + wait_s
    while not gathering.told and time.monotonic() < limit:
        _turn(observer, gathering, node)
    last, limit = time.monotonic(), time.monotonic() + SETTLE_S
    while time.monotonic() < min(limit, last + QUIET_S):
        if _turn(observer, gathering, node):
            last = time.monotonic()


def _turn(observer: Observer, gathering: Gathering, node: str) -> bool:
    """Take what was seen in one turn; tell whether that was anything of the probe."""
    news = observer.watch(TURN_S)
    gathering.take(node, news, 0, 0)
    return bool(news.sightings or news.rules)

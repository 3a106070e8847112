"""One observation on one node: read the state, predict, watch, send, and lay both beside each other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from agents.collectors.base import Collector, NetnsHandle
from agents.collectors.netns import Namespaces, NetnsOptions
from agents.enter import NetnsThread
from agents.kernel import Kernel
from agents.observers import tracefs
from agents.observers.nft_trace import NftTrace, marks
from agents.observers.packets import PacketSockets
from agents.observers.probe import Probe
from agents.observers.tracefs import TraceInstance
from agents.snapshot import Snapshotter
from netviz.core.observe.evidence import Evidence, chosen, judge, place_name, syn_of
from netviz.core.observe.match import Observation
from netviz.core.observe.sighting import Clocks
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Flow, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import dump_nvz, join_captures, load_nvz

QUIET_S = 0.05
SETTLE_S = 2.0
NUMBERS = 100_000
ALWAYS_UNSEEN = (
    "routing lookups, translations and connections: no source here shows them",
    "chains of legacy xtables, of bridges and of devices: nftables' trace messages don't show them",
    "other nodes",
)


class Ask(msgspec.Struct, frozen=True):
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
    options: NetnsOptions, collectors: Sequence[Collector], kernel: Kernel, ask: Ask
) -> Iterator[Observed]:
    """Send the probes one after the other. Raises: OSError, EndpointError."""
    cluster = read_cluster(options, collectors, kernel)
    flow = resolve_flow(cluster, ask.from_, ask.to, ask.proto, ask.sport, ask.dport, ask.length, ask.df)
    first = secrets.randbelow(NUMBERS - ask.count)
    for number in range(first, first + ask.count):
        with _opened(options, kernel) as handles:
            yield _observe_one(cluster, flow, number, handles, ask.wait_s)


@contextmanager
def _opened(options: NetnsOptions, kernel: Kernel) -> Iterator[list[NetnsHandle]]:
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
    cluster: ClusterState, flow: Flow, number: int, handles: Sequence[NetnsHandle], wait_s: float
) -> Observed:
    source = next((ns for ns in handles if ns.key == flow.src_netns), None)
    if source is None or source.fd < 0:
        raise OSError(f"the namespace {flow.src_netns} can't be entered (any more)")
    cannot = list(ALWAYS_UNSEEN)
    with ExitStack() as stack:
        probe = Probe(source, flow, number)
        stack.callback(probe.close)
        flow = msgspec.structs.replace(flow, sport=probe.sport)
        trace = simulate(cluster, flow)
        packets, rules = PacketSockets(), NftTrace(marks(flow.proto, probe.sport, number))
        stack.callback(packets.close)
        stack.callback(rules.close)
        for ns in handles:
            _watch(ns, packets, rules, cannot)
        instance = _started(stack, cannot)
        readings = [_reading()]
        sending, told = probe.send()
        told = told or probe.wait(wait_s)
        packets.drain()
        packets.settle(QUIET_S, SETTLE_S)
        if instance is not None:
            instance.stop()
        readings.append(_reading())
        frames = packets.in_order()
        seq = syn_of(frames, place_name(source.key), probe.sport)
        heard = chosen(rules.events(), number, seq)
        evidence = Evidence(
            chosen(frames, number, seq),
            tuple(instance.events()) if instance is not None else (),
            Clocks.of(readings),
            tuple(sorted(packets.places)),
            instance is not None,
            {
                "packet sockets": packets.lost(),
                "tracefs": instance.lost() if instance is not None else 0,
                "nftables trace": rules.lost,
            },
            sending,
            told,
            heard,
        )
    return Observed(cluster, trace, evidence, judge(cluster, trace, evidence), tuple(cannot))


def _watch(ns: NetnsHandle, packets: PacketSockets, rules: NftTrace, cannot: list[str]) -> None:
    """Watch a namespace; say in `cannot` what of it can't be seen."""
    if ns.fd < 0:
        cannot.append(f"the namespace {ns.key}, which can't be entered")
        return
    name = ns.name or str(ns.key)
    try:
        packets.add(place_name(ns.key), ns.run)
    except OSError as error:
        cannot.append(f"frames in the namespace {name}: {error.strerror}")
    try:
        rules.add(place_name(ns.key), ns)
    except OSError as error:
        cannot.append(f"nftables' rules in the namespace {name}: {error.strerror}")


def _started(stack: ExitStack, cannot: list[str]) -> TraceInstance | None:
    """Start a trace instance; where there can't be one, say so."""
    try:
        instance = TraceInstance()
        stack.callback(instance.close)
        instance.start()
    except OSError as error:
        cannot.append(tracefs.refusal(error))
        return None
    return instance


def _reading() -> tuple[int, int, int]:
    return time.monotonic_ns(), time.time_ns(), time.monotonic_ns()

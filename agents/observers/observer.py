"""All sources on one node, watching for one probe, and the probe's socket where its sender is here.

Whoever uses it: `Observer(...)`, then `watch` in turns, `send` in between, `finish`, and always `close`. On one thread.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from contextlib import suppress

from agents.collectors.base import NetnsHandle
from agents.observers import tracefs
from agents.observers.ct_events import CtEvents
from agents.observers.marks import marks
from agents.observers.nft_trace import NftTrace
from agents.observers.packets import PacketSockets
from agents.observers.probe import Probe
from agents.observers.tracefs import TraceInstance
from agents.observers.xt_counters import XtCounters
from netviz.core.observe.correlate import relevant
from netviz.core.observe.counters import Counts
from netviz.core.observe.evidence import Kernel, Sending, Source, chosen, place_name, syn_of
from netviz.core.observe.frame import Answers
from netviz.core.observe.lookups import in_hand
from netviz.core.observe.orders import MAX_EVENTS, MAX_SIGHTINGS, Finished, News, Prepare, Ready
from netviz.core.observe.sighting import Clocks, Event, RuleEvent, Sighting
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP

TURN_S = 0.02
FRAMES, RULES, TRACKED, TRACEPOINTS = "packet sockets", "nftables trace", "conntrack events", "tracefs"
COUNTERS = "counters of legacy xtables"


class Observer:
    """Watches all namespaces of a node. `sport` is the probe's port or echo identifier."""

    def __init__(self, node: str, handles: Sequence[NetnsHandle], order: Prepare) -> None:
        """Open everything. Raises: OSError when the probe's own socket can't be had; what else can't is said in the end."""
        self._node = node
        self._missing: dict[str, list[str]] = {
            name: [] for name in (FRAMES, RULES, TRACKED, TRACEPOINTS, COUNTERS)
        }
        self._probe: Probe | None = None
        self._packets: PacketSockets | None = None
        self._rules: NftTrace | None = None
        self._tracked: CtEvents | None = None
        self._instance: TraceInstance | None = None
        self._sending: Sending | None = None
        self._counters = XtCounters(order.legacy)
        self._order = order
        self._seq: int | None = None
        # Of TCP, what was seen before it was known which SYN is the probe's.
        self._early: tuple[list[Sighting], list[RuleEvent]] = ([], [])
        self._early_lost = 0
        self._mine: list[Sighting] = []
        self._poller = select.poll()
        try:
            self._open(handles, order)
        except BaseException:
            self.close()
            raise

    def _open(self, handles: Sequence[NetnsHandle], order: Prepare) -> None:
        flow = order.flow
        self.sport = flow.sport or 0
        if order.sends:
            source = next((ns for ns in handles if ns.key == flow.src_netns), None)
            if source is None or source.fd < 0:
                raise OSError(f"the namespace {flow.src_netns} can't be entered (any more)")
            self._probe = Probe(source, flow, order.number)
            self.sport = self._probe.sport
        answers = Answers(self.sport, order.number) if flow.proto == IPPROTO_UDP else None
        self._packets = PacketSockets(answers)
        self._rules = NftTrace(marks(flow, self.sport, order.number), order.number, answers)
        self._tracked = CtEvents(flow, self.sport)
        for ns in handles:
            self._watch_in(ns, self._packets, self._rules, self._tracked)
        for sock in (*self._packets.sockets(), *self._rules.sockets(), *self._tracked.sockets()):
            self._poller.register(sock, select.POLLIN)
        if order.tracepoints:
            self._start_tracing()
        self._readings = [reading()]

    def _watch_in(self, ns: NetnsHandle, packets: PacketSockets, rules: NftTrace, tracked: CtEvents) -> None:
        """Watch a namespace; note what of it can't be seen."""
        name = ns.name or str(ns.key)
        if ns.fd < 0:
            self._missing[FRAMES].append(f"the namespace {ns.key} on {self._node}, which can't be entered")
            return
        try:
            packets.add(place_name(ns.key), ns.run)
        except OSError as error:
            self._missing[FRAMES].append(f"frames in the namespace {name}: {error.strerror}")
        try:
            rules.add(place_name(ns.key), ns)
        except OSError as error:
            self._missing[RULES].append(f"nftables' rules in the namespace {name}: {error.strerror}")
        try:
            tracked.add(place_name(ns.key), ns)
        except OSError as error:
            self._missing[TRACKED].append(f"connections in the namespace {name}: {error.strerror}")
        try:
            self._counters.add(place_name(ns.key), ns)
        except OSError as error:
            self._missing[COUNTERS].append(f"legacy rules in the namespace {name}: {error.strerror}")

    def _start_tracing(self) -> None:
        try:
            self._instance = TraceInstance()
            self._instance.start()
        except OSError as error:
            self._missing[TRACEPOINTS].append(tracefs.refusal(error))
            self._stop_tracing()
            return
        for event, condition in tracefs.lookups_to(self._order.addrs, self._order.flow.proto):
            try:
                self._instance.add(event, condition)
            except OSError as error:
                self._missing[TRACEPOINTS].append(f"lookups of routes by {event}: {error.strerror}")

    def _stop_tracing(self) -> None:
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def ready(self) -> Ready:
        """Say what is watched."""
        assert self._packets is not None
        return Ready(time.time_ns(), tuple(sorted(self._packets.places)), Clocks.of(self._readings))

    def wake_by(self, fd: int) -> None:
        """Let `watch` end early when a descriptor can be read."""
        self._poller.register(fd, select.POLLIN)

    def send(self) -> News:
        """Send the probe; the kernel may refuse at once, which is what the sender was told then."""
        assert self._probe is not None
        self._sending, refused = self._probe.send()
        if not refused:
            self._probe.register(self._poller)
        return News(sending=self._sending, told=refused)

    def pick(self, seq: int) -> None:
        """Say which SYN is the probe's; the sender's node finds out by itself."""
        self._seq = seq

    def watch(self, timeout_s: float) -> News:
        """Wait for something, then return what was seen of the probe since, and once what the sender was told."""
        assert self._packets is not None
        assert self._rules is not None
        assert self._tracked is not None
        self._poller.poll(timeout_s * 1000)
        told = self._probe.hear() if self._probe is not None and self._sending is not None else ""
        if told and self._probe is not None:
            with suppress(KeyError):
                self._probe.unregister(self._poller)
        seen, said = self._of_probe(self._packets.read(), self._rules.read())
        self._mine += seen
        return News(seen, said, told=told, tracked=tuple(self._tracked.read()))

    def _of_probe(
        self, seen: list[Sighting], said: list[RuleEvent]
    ) -> tuple[tuple[Sighting, ...], tuple[RuleEvent, ...]]:
        """Choose what is of the probe. Of TCP, nothing is known to be before its SYN was seen or told of."""
        number = self._order.number
        if self._order.flow.proto == IPPROTO_TCP:
            early_seen, early_said = self._early
            early_seen += seen
            early_said += said
            if self._seq is None and self._order.sends:
                place = place_name(self._order.flow.src_netns)
                self._seq = syn_of([*early_seen, *early_said], place, self.sport)
            if self._seq is None:
                for one in (early_seen, early_said):
                    self._early_lost += max(0, len(one) - MAX_SIGHTINGS)
                    del one[MAX_SIGHTINGS:]
                return (), ()
            seen, said, self._early = early_seen, early_said, ([], [])
        return chosen(seen, number, self._seq), chosen(said, number, self._seq)

    def finish(self, elsewhere: Sequence[Sighting] = ()) -> Finished:
        """Stop, and say what the tracepoints and losses were. `elsewhere`: what others saw on the same kernel."""
        assert self._packets is not None
        assert self._rules is not None
        assert self._tracked is not None
        events, lost = self._traced()
        counted = self._counted()
        self._readings.append(reading())
        clocks = Clocks.of(self._readings)
        ordered = sorted([*self._mine, *elsewhere], key=lambda one: one.at_ns)
        sending = self._sending
        thread = (sending.thread, sending.began_ns, sending.ended_ns) if sending is not None else None
        kept = relevant(ordered, events, clocks, thread)
        counts = {
            FRAMES: self._packets.lost() + self._early_lost,
            RULES: self._rules.lost,
            TRACKED: self._tracked.lost,
            TRACEPOINTS: lost,
            COUNTERS: 0,
        }
        if len(kept) > MAX_EVENTS:
            counts[TRACEPOINTS] += len(kept) - MAX_EVENTS
            kept = kept[:MAX_EVENTS]
        sources = tuple(
            Source(self._node, name, counts[name], "; ".join(missing)[:500])
            for name, missing in self._missing.items()
            if missing or (name != COUNTERS and (name != TRACEPOINTS or self._instance is not None))
        )
        kernel = Kernel((self._node,), clocks, self._instance is not None, tuple(kept))
        return Finished(time.time_ns(), sources, kernel, counted)

    def _counted(self) -> Counts:
        try:
            return self._counters.finish()
        except OSError as error:
            self._missing[COUNTERS].append(f"legacy rules: {error.strerror}")
            return Counts()

    def _traced(self) -> tuple[list[Event], int]:
        if self._instance is None:
            return [], 0
        self._instance.stop()
        return in_hand(self._instance.events()), self._instance.lost()

    def close(self) -> None:
        """Remove everything."""
        for one in (self._probe, self._packets, self._rules, self._tracked, self._instance):
            if one is not None:
                one.close()


def reading() -> tuple[int, int, int]:
    """Read both clocks: monotonic, wall, monotonic again, in ns."""
    return time.monotonic_ns(), time.time_ns(), time.monotonic_ns()

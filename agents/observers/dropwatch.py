"""All that this kernel drops for a while: by the tracepoint of frees, joined with the frames of all namespaces.

Whoever uses it: `DropWatch(...)`, then `watch` in turns, `report` in between, and always `close`. On one thread.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence

from agents.collectors.base import NetnsHandle
from agents.observers import tracefs
from agents.observers.observer import FRAMES, TRACEPOINTS, reading
from agents.observers.tracefs import TraceInstance
from agents.observers.traffic import Traffic
from netviz.core.observe.drops import KEPT_NS, Group, Groups, Joiner
from netviz.core.observe.evidence import Source, place_name
from netviz.core.observe.orders import Drops, WatchDrops
from netviz.core.observe.sighting import Clocks

# How long after a loss of frames nothing is told of places: much longer than a frame and its event are apart.
AFTER_LOSS_S = 1.0


class DropWatch:
    """Watches for drops, and frames in all namespaces of a node."""

    def __init__(self, node: str, handles: Sequence[NetnsHandle], order: WatchDrops) -> None:
        """Open everything. Raises: OSError where tracepoints can't be had: nothing else shows drops."""
        self._node = node
        self._missing: list[str] = []
        self._lost = 0
        self._whole_s = 0.0  # from when on all frames of the last moment are there
        self._joiner = Joiner(order.shared)
        self._groups = Groups()
        self._poller = select.poll()
        self._traffic = Traffic()
        self._instance: TraceInstance | None = None
        try:
            self.add(handles)
            self._start()
            self._readings = [reading()]
        except BaseException:
            self.close()
            raise

    def add(self, handles: Sequence[NetnsHandle]) -> None:
        """Watch these namespaces too. What crossed their devices before isn't known, so for a moment nothing is told of places."""
        for ns in handles:
            self._add(ns)
        if handles:
            self._whole_s = time.monotonic() + KEPT_NS / 1e9

    def _add(self, ns: NetnsHandle) -> None:
        try:
            self._traffic.add(place_name(ns.key), ns.run)
        except OSError as error:
            name = ns.name or str(ns.key)
            self._missing.append(f"frames in the namespace {name}: {error.strerror or error}")

    def _start(self) -> None:
        try:
            self._instance = TraceInstance()
            self._instance.start()
        except OSError as error:
            raise OSError(error.errno, tracefs.refusal(error)) from None

    def wake_by(self, fd: int) -> None:
        """Let `watch` end early when a descriptor can be read."""
        self._poller.register(fd, select.POLLIN)

    def watch(self, timeout_s: float) -> bool:
        """Wait, then take what was dropped since; tell whether there was anything."""
        assert self._instance is not None
        self._poller.poll(timeout_s * 1000)
        events = self._instance.take()
        self._joiner.take(self._traffic.read())
        self._readings = [self._readings[0], reading()]
        drops = self._joiner.drops(events, Clocks.of(self._readings), whole=self._is_whole())
        for drop in drops:
            self._groups.add(drop)
        return bool(drops)

    def _is_whole(self) -> bool:
        """Tell whether the frames of the last moment are all that there were: no namespace isn't watched, none was lost."""
        lost, now_s = self._traffic.lost(), time.monotonic()
        if lost > self._lost:
            self._lost, self._whole_s = lost, now_s + AFTER_LOSS_S
        return not self._missing and now_s > self._whole_s

    def report(self, *, over: bool = False, addrs: frozenset[bytes] = frozenset()) -> Drops:
        """Say what was dropped so far; with `addrs` only what is known to go from one of them to another."""
        assert self._instance is not None
        groups = tuple(one for one in self._groups.all() if not addrs or _is_between(one, addrs))
        sources = (
            Source(self._node, FRAMES, self._traffic.lost(), "; ".join(self._missing)[:500]),
            Source(self._node, TRACEPOINTS, self._instance.lost()),
        )
        return Drops(groups, sources, self._groups.others, self._joiner.copies, over)

    def close(self) -> None:
        """Remove everything."""
        self._traffic.close()
        if self._instance is not None:
            self._instance.close()


def _is_between(group: Group, addrs: frozenset[bytes]) -> bool:
    headers = group.last.headers
    return headers is not None and {headers.src, headers.dst} <= addrs

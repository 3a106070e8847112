"""What a running collector offers: a `Host` to the collectors, a `StateSource` to the transport.

Here is the node's state as the ledger keeps it. What collectors report gathers there and is told to the
sink every few milliseconds. Finding namespaces and reading them is the runner's.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable

from agents.collectors.base import NetnsHandle
from agents.collectors.netns import NetnsOptions
from agents.health import Meter
from agents.opened import OpenedNode
from agents.schedule import until_tick
from agents.source import Sink
from agents.worker import Worker
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body
from netviz.core.model.netns import Pod
from netviz.core.state.delta import NetnsDelta
from netviz.core.state.node import NodeState
from netviz.core.wire.messages import AgentStatus

FLUSH_S = 0.01


class CollectorHost(OpenedNode):
    """The owner of the node's state. `_loop` is set before any collector starts."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, options: NetnsOptions, sink: Sink | None = None) -> None:
        super().__init__(options)
        self.sink = sink
        self.ready = asyncio.Event()
        self._workers: list[Worker] = []
        self._owner: dict[str, Worker] = {}
        self._readers: dict[NetnsKey, dict[int, socket.socket]] = {}
        self._oldest_ns = 0
        self._dirty_ns: dict[tuple[NetnsKey, str], int] = {}
        self._flush_timer: asyncio.TimerHandle | None = None
        self._meter = Meter()
        self._stopped = False

    # Host: what collectors ask for.

    def changed(self, delta: NetnsDelta) -> None:
        """Fold a change in."""
        self.ledger.change(delta)
        for worker in self._workers:
            worker.note(delta)
        self._flush_soon()

    def dirty(self, ns: NetnsHandle, section: str) -> None:
        """Have a section read again soon."""
        self._dirty_ns.setdefault((ns.key, section), time.time_ns())
        self._owner[section].mark(ns.key, section)

    def settle(self, ns: NetnsHandle, section: str) -> None:
        """Have a section compared later."""
        self._owner[section].mark(ns.key, section, settle=True)

    def lost(self, ns: NetnsHandle, section: str, count: int = 1) -> None:
        """Count lost events and have the section read again."""
        self.ledger.set_status(section, lost=self.ledger.status(section).lost + count)
        self.dirty(ns, section)
        self._flush_soon()

    def shed(self, section: str, count: int) -> None:
        """Count changes left out."""
        super().shed(section, count)
        self._flush_soon()

    def made_good(self, section: str, count: int) -> None:
        """Note that the state has what so many changes would have told."""
        super().made_good(section, count)
        self._flush_soon()

    def set_pod(self, key: NetnsKey, pod: Pod | None) -> None:
        """Say which pod a namespace is."""
        super().set_pod(key, pod)
        self._flush_soon()

    def set_trouble(self, source: str, reason: str) -> None:
        """Note that a source cannot be read, or can again."""
        super().set_trouble(source, reason)
        self._flush_soon()

    def add_reader(self, ns: NetnsHandle, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """Watch a socket for as long as its namespace lives."""
        self._readers.setdefault(ns.key, {})[sock.fileno()] = sock
        self._loop.add_reader(sock.fileno(), on_readable)

    def remove_reader(self, ns: NetnsHandle, sock: socket.socket) -> None:
        """Stop watching a socket and close it."""
        if self._readers.get(ns.key, {}).pop(sock.fileno(), None) is not None:
            self._loop.remove_reader(sock.fileno())
        sock.close()

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Run `fn` on the loop."""
        self._loop.call_soon_threadsafe(fn)

    def call_at_tick(self, period_s: float, fn: Callable[[], None]) -> None:
        """Run `fn` at the next multiple of a period."""
        self.call_later(until_tick(self._loop.time(), period_s), fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> None:
        """Run `fn` later, unless the collector stopped."""
        self._loop.call_later(delay_s, lambda: None if self._stopped else fn())

    def _close_readers(self, key: NetnsKey) -> None:
        for fd, sock in self._readers.pop(key, {}).items():
            self._loop.remove_reader(fd)
            sock.close()

    # Telling the sink.

    def _flush_soon(self, since_ns: int = 0) -> None:
        at = since_ns or time.time_ns()
        self._oldest_ns = min(self._oldest_ns, at) if self._oldest_ns else at
        if self._flush_timer is None and not self._stopped:
            self._flush_timer = self._loop.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flush_timer = None
        at_ns, self._oldest_ns = self._oldest_ns, 0
        if not self.ledger.pending:
            return
        delta = self.ledger.flush()
        if not delta.empty and self.sink is not None and self.ready.is_set():
            self.sink.state_changed(delta, at_ns)

    # StateSource: what the transport asks for.

    def state(self) -> NodeState:
        """The state as told to the sink."""
        return self.ledger.state

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        """The netfilter bodies that are known."""
        return self.ledger.bodies(digests)

    def status(self) -> AgentStatus:
        """The collector's own health."""
        rss_bytes, cpu = self._meter.measure()
        sections = self.ledger.state.status.values()
        return AgentStatus(
            rss_bytes=rss_bytes,
            cpu=cpu,
            lost_events=sum(s.lost for s in sections),
            shed_events=self.shed_events,
            netns=len(self.ledger.state.netns),
        )

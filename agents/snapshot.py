"""Read a node's whole state once: the work of `python -m agents snapshot`.

The same collectors as in `run`, one namespace after the other on one thread, without events.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence

from agents.collectors.base import Collector, NetnsHandle
from agents.collectors.netns import Namespaces, NetnsOptions
from agents.enter import NetnsThread
from agents.kernel import Kernel
from agents.ledger import Ledger
from agents.opened import OpenedNode
from agents.relations import Relations
from netviz.core.state.delta import NetnsDelta

log = logging.getLogger(__name__)


class Snapshotter(OpenedNode):
    """A `Host` without a clock: it lets collectors read each namespace once."""

    def __init__(
        self, options: NetnsOptions, collectors: Sequence[Collector], kernel: Kernel | None = None
    ) -> None:
        """Open the node's own namespace. Raises: OSError, ValueError."""
        super().__init__(options)
        self._thread = NetnsThread(kernel, inline=True)
        self._collectors = collectors
        try:
            self._namespaces = Namespaces(options, self._thread)
        except BaseException:
            self._thread.close()
            raise

    def run(self) -> Ledger:
        """Read everything and close everything. Raises: OSError."""
        try:
            running = [c for c in self._collectors if self._admit(c)]
            self._namespaces.take(self._namespaces.look())
            for ns in self.namespaces():
                self._read(ns, running)
            self.ledger.flush()
            self._relate(running)
            for section in {s for c in running for s in c.sections}:
                self.ledger.set_status(section, read_at_s=time.time())
            self.ledger.flush()
            for collector in running:
                for ns in self.namespaces():
                    collector.detach(ns)
        finally:
            self._namespaces.close()
            self._thread.close()
        return self.ledger

    def _admit(self, collector: Collector) -> bool:
        reason = collector.can_run(self)
        if reason is not None:
            for section in collector.sections:
                self.ledger.set_status(section, whole=False, reason=reason)
        return reason is None

    def _read(self, ns: NetnsHandle, collectors: Sequence[Collector]) -> None:
        """Let the collectors read a namespace, from inside it where it can be entered."""
        self.ledger.describe(ns)
        if ns.fd < 0:
            self._collect(ns, [collector for collector in collectors if collector.name == "rtnl"])
        else:
            ns.run(lambda: self._collect(ns, collectors))

    def _collect(self, ns: NetnsHandle, collectors: Sequence[Collector]) -> None:
        for collector in collectors:
            try:
                reading = collector.collect(ns, collector.sections)
            except OSError as err:
                self._lacks(ns, collector, err.strerror or str(err))
            except Exception as err:
                log.exception("%s failed in %s", collector.name, ns.key)
                self._lacks(ns, collector, repr(err))
            else:
                self.ledger.replace(ns.key, reading)

    def _lacks(self, ns: NetnsHandle, collector: Collector, why: str) -> None:
        self.ledger.set_gaps(ns.key, (), dict.fromkeys(collector.sections, why))

    def _relate(self, collectors: Sequence[Collector]) -> None:
        relations = Relations(self.ledger, self.root, self._thread)
        relations.set_namespaces(self.namespaces())
        for ns in self.namespaces():
            relations.update(ns)
        for ns in relations.discover()[0]:
            self._read(ns, collectors)
            relations.update(ns)

    # A snapshot hears no events, so collectors have no reason to call the rest.
    def changed(self, delta: NetnsDelta) -> None:
        """Nothing changes in a snapshot."""

    def dirty(self, ns: NetnsHandle, section: str) -> None:
        """Nothing is read twice."""

    def settle(self, ns: NetnsHandle, section: str) -> None:
        """Nothing is read twice."""

    def lost(self, ns: NetnsHandle, section: str, count: int = 1) -> None:
        """No events, no losses."""

    def look_for_namespaces(self) -> None:
        """All were found already."""

    def nsids_changed(self, ns: NetnsHandle) -> None:
        """All are asked for at the end."""

    def add_reader(self, ns: NetnsHandle, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """No events."""
        sock.close()

    def remove_reader(self, ns: NetnsHandle, sock: socket.socket) -> None:
        """No events."""

    def call_soon(self, fn: Callable[[], None]) -> None:
        """There is no loop."""

    def call_at_tick(self, period_s: float, fn: Callable[[], None]) -> None:
        """There is no later."""

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> None:
        """There is no later."""

"""Observing on a server's order: one observation at a time, on a thread of its own, while the collector goes on.

What it opens is gone when it has finished, when the server falls silent about it for longer than the order allows, when
the connection ends, and when the collector does.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress

from agents.collectors.base import NetnsHandle
from agents.observers.capture import Capturing
from agents.observers.dropwatch import DropWatch
from agents.observers.observer import TURN_S, Observer
from agents.source import Say
from netviz.core.observe.orders import (
    Capture,
    Finish,
    News,
    Order,
    Pick,
    Prepare,
    Refused,
    Report,
    Send,
    WatchDrops,
    encode,
    read_order,
)

log = logging.getLogger("agents.observers")

LONGEST_S = 60.0
LOOK_S = 0.4
NOT_ENDED = "the server didn't end this observation in time"
STOP_S = 5.0


class Observers:
    """Takes orders and says reports, both on the event loop's thread. `say(id, body)` is called from any."""

    def __init__(
        self,
        node: str,
        namespaces: Callable[[], Iterable[NetnsHandle]],
        say: Say,
    ) -> None:
        self._node = node
        self._namespaces = namespaces
        self._say = say
        self._running: _Running | None = None

    def take(self, ident: str, body: bytes) -> None:
        """Take an order."""
        try:
            order = read_order(body)
        except ValueError as err:
            self._report(ident, Refused(f"an order that this version doesn't know: {err}"))
            return
        before = self._running
        running = before if before is not None and not before.over else None
        if isinstance(order, Prepare | WatchDrops | Capture):
            if running is not None:
                self._report(ident, Refused("another observation is under way on this node"))
                return
            handles = [ns.duplicate() for ns in self._namespaces()]
            self._running = _Running(self._node, ident, handles, order, self._report, before)
        elif running is not None and running.ident == ident:
            running.take(order)
        else:
            self._report(ident, Refused("this observation has ended here"))

    def cut(self) -> None:
        """End what is under way: nobody hears any more."""
        if self._running is not None:
            self._running.end()

    def close(self) -> None:
        """End what is under way, and wait until everything is removed."""
        if self._running is not None:
            self._running.end()
            self._running.join(STOP_S)

    def _report(self, ident: str, report: Report) -> None:
        self._say(ident, encode(report))


class _Running:
    """One observation's thread."""

    def __init__(
        self,
        node: str,
        ident: str,
        handles: list[NetnsHandle],
        order: Prepare | WatchDrops | Capture,
        report: Callable[[str, Report], None],
        before: _Running | None,
    ) -> None:
        """Begin, once what was `before` has removed everything."""
        self.ident = ident
        self.over = False
        self._before = before
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._report = report
        self._thread = threading.Thread(
            target=self._run, args=(node, handles, order), name="observer", daemon=True
        )
        self._thread.start()

    def take(self, order: Order | None) -> None:
        """Hand an order on; None ends it."""
        self._orders.put(order)
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def end(self) -> None:
        """End without a report."""
        self.over = True
        self.take(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self, node: str, handles: list[NetnsHandle], order: Prepare | WatchDrops | Capture) -> None:
        if self._before is not None:
            self._before.join(STOP_S)
            self._before = None
        limit = time.monotonic() + min(order.limit_s, LONGEST_S)
        try:
            with ExitStack() as stack:
                stack.callback(os.close, self._wake)
                for ns in handles:
                    stack.callback(ns.close)
                if isinstance(order, Capture):
                    capturing = stack.enter_context(closing(Capturing(node, handles, order)))
                    capturing.wake_by(self._wake)
                    self._capture(capturing, limit)
                elif isinstance(order, WatchDrops):
                    drops = stack.enter_context(closing(DropWatch(node, handles, order)))
                    drops.wake_by(self._wake)
                    self._watch_drops(drops, limit)
                else:
                    observer = stack.enter_context(closing(Observer(node, handles, order)))
                    observer.wake_by(self._wake)
                    self._say(observer.ready())
                    self._observe(observer, limit)
        except OSError as err:
            self._say(Refused(err.strerror or str(err)), last=True)
        except Exception:
            log.exception("an observation failed")
            self._say(Refused("the collector failed; its log says why"), last=True)

    def _say(self, report: Report, *, last: bool = False) -> None:
        """Report; after the last of this one the next may begin."""
        self.over = self.over or last
        self._report(self.ident, report)

    def _observe(self, observer: Observer, limit: float) -> None:
        while time.monotonic() < limit:
            news = observer.watch(min(TURN_S * 10, limit - time.monotonic()))
            if news != News():
                self._say(news)
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            while not self._orders.empty():
                match self._orders.get():
                    case Send():
                        self._say(observer.send())
                    case Pick(seq=seq):
                        observer.pick(seq)
                    case Finish(elsewhere=elsewhere):
                        if (news := observer.watch(0)) != News():
                            self._say(news)
                        self._say(observer.finish(elsewhere), last=True)
                        return
                    case _:
                        return
        self._say(Refused(NOT_ENDED), last=True)

    def _watch_drops(self, drops: DropWatch, limit: float) -> None:
        """Watch until told to end. What was dropped is told all LOOK_S."""
        said, is_more = time.monotonic(), False
        self._say(drops.report())
        while time.monotonic() < limit:
            is_more = drops.watch(TURN_S * 5) or is_more
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            while not self._orders.empty():
                if isinstance(self._orders.get(), Finish):
                    drops.watch(0)
                    self._say(drops.report(over=True), last=True)
                return
            if is_more and time.monotonic() >= said + LOOK_S:
                said, is_more = time.monotonic(), False
                self._say(drops.report())
        self._say(Refused(NOT_ENDED), last=True)

    def _capture(self, capturing: Capturing, limit: float) -> None:
        """Capture until told to end, or a bound is reached; say at first what is captured at."""
        self._say(capturing.read(0))
        while time.monotonic() < limit:
            found = capturing.read(TURN_S * 10)
            if found.packets:
                self._say(found)
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            while not self._orders.empty():
                if isinstance(self._orders.get(), Finish):
                    self._say(capturing.read(0, over=True), last=True)
                return
            if found.full:
                self._say(capturing.read(0, over=True), last=True)
                return
        self._say(Refused(NOT_ENDED), last=True)

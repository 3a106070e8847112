"""Observing on a server's order: one observation at a time, and one capture beside it, each on a thread of its own.

What it opens is gone when it has finished, when the server falls silent about it for longer than the order allows, when
the connection ends, and when the collector does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, closing, suppress

from agents.collectors.base import NetnsHandle
from agents.observers.capture import Capturing
from agents.observers.dropwatch import DropWatch
from agents.observers.observer import TRACEPOINTS, TURN_S, Observer
from agents.source import Say
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.evidence import Source
from netviz.core.observe.orders import (
    Capture,
    Drops,
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
        self._loop = asyncio.get_running_loop()
        # The last of each sort. A capture's sockets don't disturb a probe, and may be there for a minute.
        self._last: dict[bool, _Running] = {}

    def take(self, ident: str, body: bytes) -> None:
        """Take an order."""
        try:
            order = read_order(body)
        except ValueError as err:
            self._report(ident, Refused(f"an order that this version doesn't know: {err}"))
            return
        if isinstance(order, Prepare | WatchDrops | Capture):
            is_capture = isinstance(order, Capture)
            before = self._last.get(is_capture)
            if before is not None and not before.over:
                what = "capture" if is_capture else "observation"
                self._report(ident, Refused(f"another {what} is under way on this node"))
                return
            handles = [ns.duplicate() for ns in self._namespaces()]
            self._last[is_capture] = _Running(
                self._node, ident, handles, order, self._report, self._look, before
            )
            return
        for running in self._last.values():
            if running.ident == ident and not running.over:
                running.take(order)
                return
        self._report(ident, Refused("this observation has ended here"))

    def cut(self) -> None:
        """End what is under way: nobody hears any more."""
        for running in self._last.values():
            running.end()

    def close(self) -> None:
        """End what is under way, and wait until everything is removed."""
        self.cut()
        for running in self._last.values():
            running.join(STOP_S)

    def _report(self, ident: str, report: Report) -> None:
        self._say(ident, encode(report))

    def _look(self, running: _Running, known: Collection[NetnsKey]) -> None:
        """Hand on the namespaces that aren't known yet. From any thread."""

        def hand_on() -> None:
            running.offer([ns.duplicate() for ns in self._namespaces() if ns.key not in known])

        with suppress(RuntimeError):  # the collector ends
            self._loop.call_soon_threadsafe(hand_on)


class _Running:
    """One observation's thread."""

    def __init__(
        self,
        node: str,
        ident: str,
        handles: list[NetnsHandle],
        order: Prepare | WatchDrops | Capture,
        report: Callable[[str, Report], None],
        look: Callable[[_Running, Collection[NetnsKey]], None],
        before: _Running | None,
    ) -> None:
        """Begin, once what was `before` has removed everything."""
        self.ident = ident
        self.over = False
        self._before = before
        self._orders: queue.SimpleQueue[Order | list[NetnsHandle] | None] = queue.SimpleQueue()
        self._look = look
        self._lock = threading.Lock()
        self._ended = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._report = report
        self._thread = threading.Thread(
            target=self._run, args=(node, handles, order), name="observer", daemon=True
        )
        self._thread.start()

    def take(self, order: Order | list[NetnsHandle] | None) -> None:
        """Hand an order on, or namespaces that came; None ends it."""
        self._orders.put(order)
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def offer(self, came: list[NetnsHandle]) -> None:
        """Hand on namespaces that came, which are closed by the thread, or here where it has ended."""
        with self._lock:
            if not self._ended:
                self.take(came)
                return
        for ns in came:
            ns.close()

    def _close_offered(self) -> None:
        with self._lock:
            self._ended = True
        while not self._orders.empty():
            if isinstance(left := self._orders.get(), list):
                for ns in left:
                    ns.close()

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
                    self._capture(capturing, self._drops_beside(node, handles, order, stack), limit)
                elif isinstance(order, WatchDrops):
                    drops = stack.enter_context(closing(DropWatch(node, handles, order)))
                    drops.wake_by(self._wake)
                    self._watch_drops(drops, limit, stack, {ns.key for ns in handles})
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
        finally:
            self._close_offered()

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

    def _watch_drops(self, drops: DropWatch, limit: float, stack: ExitStack, known: set[NetnsKey]) -> None:
        """Watch until told to end, in the namespaces that come, too. What was dropped is told all LOOK_S."""
        looked = said = time.monotonic()
        is_more = False
        self._say(drops.report())
        while time.monotonic() < limit:
            is_more = drops.watch(TURN_S * 5) or is_more
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            while not self._orders.empty():
                match self._orders.get():
                    case list() as came:
                        for ns in came:
                            stack.callback(ns.close)
                            known.add(ns.key)
                        drops.add(came)
                    case Finish():
                        drops.watch(0)
                        self._say(drops.report(over=True), last=True)
                        return
                    case _:
                        return
            now = time.monotonic()
            if now >= looked + LOOK_S:
                looked = now
                self._look(self, frozenset(known))
            if is_more and now >= said + LOOK_S:
                said, is_more = now, False
                self._say(drops.report())
        self._say(Refused(NOT_ENDED), last=True)

    def _drops_beside(
        self, node: str, handles: list[NetnsHandle], order: Capture, stack: ExitStack
    ) -> Callable[[], None] | None:
        """Return what takes the drops of a capture's packets and tells them now and then; None where they aren't asked for."""
        if not order.drops:
            return None
        try:
            wanted = WatchDrops(order.limit_s, order.shared)
            drops = stack.enter_context(closing(DropWatch(node, handles, wanted)))
        except OSError as error:
            self._say(Drops((), (Source(node, TRACEPOINTS, missing=error.strerror or str(error)),)))
            return None
        said: list[Drops] = []

        def take() -> None:
            drops.watch(0)
            report = drops.report(addrs=order.addrs)
            if report not in said[-1:]:
                said[:] = [report]
                self._say(report)

        take()
        return take

    def _capture(self, capturing: Capturing, drops: Callable[[], None] | None, limit: float) -> None:
        """Capture until told to end, or a bound is reached; say at first what is captured at."""
        self._say(capturing.read(0))
        while time.monotonic() < limit:
            found = capturing.read(TURN_S * 10)
            if found.packets:
                self._say(found)
            if drops is not None:
                drops()
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            is_told = not self._orders.empty()
            if is_told and not isinstance(self._orders.get(), Finish):
                return
            if is_told or found.full:
                self._say(capturing.read(0, over=True), last=True)
                return
        self._say(Refused(NOT_ENDED), last=True)

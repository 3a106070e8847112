"""The collector at run: the only clock and the only task group; the state itself is its `host` half's.

Namespaces are found (`watch` says when to look), each is given to every collector, whose workers read
it; what they read and what events report gathers in the ledger and is told to the sink every few
milliseconds. Everything but the reading happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agents.collectors.base import Collector, NetnsHandle, Reading
from agents.collectors.netns import Found, Namespaces, NetnsOptions
from agents.enter import NetnsThread
from agents.host import CollectorHost
from agents.kernel import Kernel
from agents.relations import Relations
from agents.sampling import Sampling
from agents.schedule import until_tick
from agents.source import Sink
from agents.watch import MountWatch, ProcessWatch
from agents.worker import Task, Worker, raise_file_limit
from netviz.core.model.ids import NetnsKey
from netviz.core.state.delta import NetnsDelta
from netviz.core.state.node import SECTIONS
from netviz.core.wire.messages import Watched

log = logging.getLogger(__name__)

LOOK_DELAY_S = 0.003
LOOK_COST_FACTOR = 10
LOOK_AGAIN_S = 1.0
PROC_LOOK_S = 10.0
UNWATCHED_LOOK_S = 0.5
RELATE_S = 0.005
DISCOVERY_S = 1.0
REMOTE_POLL_S = 5.0
AUDIT_S = 60.0
# What is polled so seldom may be dear to read: it waits as long as a mere check does.
SLOW_POLL_S = 60.0
AUDIT_STEP_S = 10.0
# Collectors begin one after the other: threads that read at the same time only take the interpreter from each other.
APART_S = 0.1
AUDIT_SHARE = 0.002


class Runner(CollectorHost):
    """A `CollectorHost` that finds namespaces and has them read. `run` it once; `ready` is set when the
    first whole snapshot is in `state()`."""

    def __init__(
        self,
        options: NetnsOptions,
        collectors: Sequence[Collector],
        *,
        sink: Sink | None = None,
        audit_s: float = AUDIT_S,
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__(options, sink)
        self.drift: dict[str, int] = {}
        self._collectors = collectors
        self._kernel = kernel
        self._audit_s = self._round_s = audit_s
        self._open: dict[NetnsKey, NetnsHandle] = {}
        self._unread: set[tuple[str, NetnsKey]] = set()
        self._all_read = asyncio.Event()
        self._auditing: set[tuple[NetnsKey, str]] = set()
        self._relate_timer: asyncio.TimerHandle | None = None
        self._discover_timer: asyncio.TimerHandle | None = None
        self._relate_keys: set[NetnsKey] = set()
        self._sampling = Sampling(self._read_for_watchers)
        self._look = asyncio.Event()
        self._unwatched = asyncio.Event()  # namespaces are held by processes whose end nothing tells
        self._look_processes = True

    async def run(self) -> None:
        """Collect until cancelled, then close everything.

        Raises: OSError, ValueError when the node's own namespace cannot be opened.
        """
        raise_file_limit()
        self._loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            self._thread = NetnsThread(self._kernel)
            stack.callback(self._thread.close)
            self._namespaces = Namespaces(self._options, self._thread)
            stack.callback(self._namespaces.close)
            self._relations = Relations(self.ledger, self.root, self._thread)
            mounts = MountWatch(self._loop, self._mounts_changed)
            stack.callback(mounts.close)
            self._processes = ProcessWatch(self._loop, self._options.proc, self.look_for_namespaces)
            stack.callback(self._processes.close)
            try:
                await self._collect()
            finally:
                self._stopped = True
                await self._stop()

    async def _collect(self) -> None:
        for collector in self._collectors:
            reason = collector.can_run(self)
            if reason is not None:
                log.warning("%s cannot run: %s", collector.name, reason)
                for section in collector.sections:
                    self.ledger.set_status(section, whole=False, reason=reason)
                continue
            worker = Worker(collector, self._take, self._failed, self._thread.allow_here)
            self._workers.append(worker)
            self._owner.update(dict.fromkeys(collector.sections, worker))
            await collector.start(self)
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers:
                tasks.create_task(worker.run())
            self._namespaces_found(self._namespaces.look(), first=True)
            await self._all_read.wait()
            self._relate()
            self._discover()
            self._whole_reading()
            self._flush()
            self.ready.set()
            tasks.create_task(self._look_for_namespaces())
            tasks.create_task(self._every(PROC_LOOK_S, self.look_for_namespaces))
            tasks.create_task(self._look_unwatched())
            tasks.create_task(self._every(REMOTE_POLL_S, self._poll_remote))
            tasks.create_task(self._audit())
            for number, worker in enumerate(self._workers, 1):
                for section, period_s in worker.collector.poll_s.items():
                    tasks.create_task(self._poll(worker, section, period_s, number * APART_S))

    async def _stop(self) -> None:
        for timer in (self._flush_timer, self._relate_timer, self._discover_timer):
            if timer is not None:
                timer.cancel()
        self._sampling.watch(())
        for ns in list(self._open.values()):
            self._close_readers(ns.key)
            for worker in self._workers:
                worker.detach(ns, lambda: None)
        for worker in self._workers:
            await worker.collector.stop()

    # Namespaces come and go.

    def _mounts_changed(self) -> None:
        self._look.set()

    def look_for_namespaces(self) -> None:
        """Look through mounts and processes soon."""
        self._look_processes = True
        self._look.set()

    async def _look_unwatched(self) -> None:
        while True:
            await self._unwatched.wait()
            await asyncio.sleep(until_tick(self._loop.time(), UNWATCHED_LOOK_S))
            self._look.set()

    async def _look_for_namespaces(self) -> None:
        while True:
            await self._look.wait()
            await asyncio.sleep(LOOK_DELAY_S)
            self._look.clear()
            processes, self._look_processes = self._look_processes, False
            started = self._loop.time()
            try:
                if processes:
                    found = await asyncio.to_thread(self._namespaces.look)
                else:
                    found = self._namespaces.look(processes=False)
            except OSError as err:  # no descriptors left, or /proc is unmounted
                log.warning("cannot look for namespaces: %s", err)
                await asyncio.sleep(LOOK_AGAIN_S)
                self.look_for_namespaces()
                continue
            cost = self._loop.time() - started
            self._namespaces_found(found)
            await asyncio.sleep(cost * LOOK_COST_FACTOR)

    def _namespaces_found(self, found: dict[tuple[int, int], Found], *, first: bool = False) -> None:
        result = self._namespaces.take(found)
        for ns in result.gone:
            self._end(ns)
        for ns in result.changed:
            self.ledger.describe(ns)
        if result.added or result.gone or first:
            self._relations.set_namespaces(self.namespaces())
        for ns in [self.root, *result.added] if first else result.added:
            self._begin(ns)
        if result.added:
            for key in self._relations.unexplained:
                self._relate_soon(key)
        if result.added or result.gone or result.changed:
            self._processes.follow(self.namespaces())
            self._unwatched.set() if self._processes.unwatched else self._unwatched.clear()
            self._flush_soon()
        self._all_read_if_so()

    def _begin(self, ns: NetnsHandle) -> None:
        self._open[ns.key] = ns
        self.ledger.describe(ns)
        for worker in self._workers:
            collector = worker.collector
            if ns.fd < 0 and collector.name != "rtnl":
                continue
            worker.attach(ns)
            self._unread.add((collector.name, ns.key))
            for section in collector.sections or ("",):
                worker.mark(ns.key, section, at_once=True)

    def _end(self, ns: NetnsHandle) -> None:
        """Let go of a namespace: at once, for as long as we hold it, it lives."""
        self._open.pop(ns.key, None)
        self._close_readers(ns.key)
        waiting = len(self._workers)

        def left() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                ns.close()

        for worker in self._workers:
            self._unread.discard((worker.collector.name, ns.key))
            worker.detach(ns, left)
        self._relations.forget(ns)
        self._discover_soon()
        self.ledger.remove(ns.key)
        for section in SECTIONS:
            self._dirty_ns.pop((ns.key, section), None)
            self._auditing.discard((ns.key, section))
        self._flush_soon()

    # What an nsid means.

    def nsids_changed(self, ns: NetnsHandle) -> None:
        """Explain the namespace's nsids again soon."""
        self._relate_soon(ns.key)

    def _relate_soon(self, key: NetnsKey) -> None:
        self._relate_keys.add(key)
        if self._relate_timer is None and self.ready.is_set():
            self._relate_timer = self._loop.call_later(RELATE_S, self._relate)

    def _relate(self) -> None:
        self._relate_timer = None
        self._discover_soon()
        keys, self._relate_keys = self._relate_keys, set()
        for key in keys & self._open.keys():
            before = self._relations.unexplained.get(key, frozenset())
            try:
                self._relations.update(self._open[key])
            except OSError as err:
                log.warning("cannot explain the nsids of %s: %s", key, err)
            if self._relations.unexplained.get(key, frozenset()) - before:
                self.look_for_namespaces()
        self._flush_soon()

    def _discover_soon(self) -> None:
        if self._discover_timer is None and self.ready.is_set():
            self._discover_timer = self._loop.call_later(DISCOVERY_S, self._discover)

    def _discover(self) -> None:
        """Take in namespaces discovered by a veth peer alone. Late enough that a new pod was found by other means."""
        self._discover_timer = None
        added, gone = self._relations.discover()
        for ns in gone:
            self._end(ns)
        for ns in added:
            self._begin(ns)

    def _poll_remote(self) -> None:
        for key, ns in self._open.items():
            if ns.fd < 0:
                for section in ("links", "addrs"):
                    self._owner[section].mark(key, section)

    # What was read, and what changed.

    def _take(self, worker: Worker, task: Task, reading: Reading) -> None:
        key, sections = task.ns.key, task.sections
        since = [self._dirty_ns.pop((key, s), 0) for s in sections]
        audited = [s for s in sections if (key, s) in self._auditing]
        found = self.ledger.replace(key, reading)
        differed = sum(found.get(section, 0) for section in audited)
        for delta in task.replay:
            self.ledger.change(_only(delta, sections))
        if audited:
            self._auditing.difference_update((key, s) for s in audited)
            if differed and not task.replay and not any(since):
                log.info("the audit of %s found %d differences in %s", key, differed, ", ".join(sections))
                self.drift[worker.collector.name] = self.drift.get(worker.collector.name, 0) + differed
        if "links" in reading.sections:
            self._relate_soon(key)
        self._was_read(worker, task.ns)
        self._flush_soon(min((at for at in since if at), default=0))

    def _failed(self, worker: Worker, task: Task, error: Exception) -> None:
        key = task.ns.key
        if self.ledger.knows(key):
            why = (error.strerror if isinstance(error, OSError) else None) or repr(error)
            self.ledger.set_gaps(key, (), dict.fromkeys((s for s in task.sections if s), why))
        self._was_read(worker, task.ns)
        self._flush_soon()

    def _was_read(self, worker: Worker, ns: NetnsHandle) -> None:
        self._unread.discard((worker.collector.name, ns.key))
        self._all_read_if_so()

    def _all_read_if_so(self) -> None:
        if not self._unread:
            self._all_read.set()

    # Work by the clock.

    async def _every(self, period_s: float, fn: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(until_tick(self._loop.time(), period_s))
            fn()

    async def _poll(self, worker: Worker, section: str, period_s: float, apart_s: float) -> None:
        while True:
            await asyncio.sleep(until_tick(self._loop.time() - apart_s, period_s))
            for key in worker.attached:
                worker.mark(key, section, settle=period_s >= SLOW_POLL_S)

    async def _audit(self) -> None:
        """Compare every section of every namespace with the kernel, a few namespaces after the others.

        A round takes `audit_s`, or longer where that would cost more than AUDIT_SHARE of a core.
        """
        while True:
            began = self._loop.time()
            keys = list(self._open)
            batch: list[NetnsKey] = []
            pause_s = 0.0
            for key in keys:
                batch.append(key)
                cost_s = sum(worker.schedule.cost(key) for worker in self._workers)
                pause_s += max(self._audit_s / len(keys), cost_s / AUDIT_SHARE)
                if pause_s >= min(AUDIT_STEP_S, self._audit_s / 2) or key == keys[-1]:
                    await asyncio.sleep(pause_s)
                    for worker in self._workers:
                        self._audit_by(worker, batch)
                        await asyncio.sleep(APART_S)
                    batch, pause_s = [], 0.0
            self._whole_reading(self._loop.time() - began)
            self.ledger.prune_bodies()
            self._flush_soon()

    def _audit_by(self, worker: Worker, keys: Iterable[NetnsKey]) -> None:
        for key in keys:
            if key in worker.attached:
                worker.listen_again(key)
                for section in worker.collector.sections:
                    if section not in worker.collector.poll_s:
                        self._auditing.add((key, section))
                        worker.mark(key, section)

    def _whole_reading(self, round_s: float = 0.0) -> None:
        """Note that every section was compared with the kernel, in a round that took so long."""
        now = time.time()
        self._round_s = max(self._audit_s, round_s)
        for section in self._owner:
            self.ledger.set_status(section, read_at_s=now, max_age_s=self._max_age_s(section))

    def _max_age_s(self, section: str) -> float:
        worker = self._owner[section]
        by_itself_s = worker.collector.poll_s.get(section, self._round_s)
        if by_itself_s >= SLOW_POLL_S and section in worker.collector.poll_s:
            by_itself_s = max(by_itself_s, worker.schedule.settled_every_s(section))
        return round(min(by_itself_s, self._sampling.every_s(section) or by_itself_s), 3)

    # What somebody watches.

    def watch(self, watched: Iterable[Watched]) -> None:
        """Read this so often from now on, and nothing else more often than by itself."""
        if self._stopped:
            return
        self._sampling.watch(watched)
        for section in self._owner:
            self.ledger.set_status(section, max_age_s=self._max_age_s(section))
        self._flush_soon()

    def _read_for_watchers(self, key: NetnsKey | None, section: str) -> None:
        worker = self._owner.get(section)
        if worker is not None:
            for one in worker.attached if key is None else (key,):
                worker.mark(one, section)


def _only(delta: NetnsDelta, sections: Iterable[str]) -> NetnsDelta:
    """Keep the changes of some sections."""
    kept: dict[str, Any] = {name: getattr(delta, name) for name in SECTIONS if name in sections}
    return NetnsDelta(key=delta.key, **kept)

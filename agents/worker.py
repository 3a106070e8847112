"""One collector at work: its own thread for reading, and its own schedule of what to read.

A slow collector delays only itself, and one that fails (even by a mistake of its own) leaves the others
alone: its sections are marked as not whole, and read again a second later. What events report while
a reading is under way is kept and folded in again on top of it, since the reading may be older than
the event. Namespaces that are due together are read in one visit to the thread, as changing threads
costs more than a small namespace does; a visit ends after `VISIT_S` when something else has been asked for
meanwhile, so that news is not kept waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from agents.collectors.base import Collector, NetnsHandle, Reading
from agents.schedule import Schedule
from netviz.core.model.ids import NetnsKey
from netviz.core.state.delta import NetnsDelta

log = logging.getLogger(__name__)

SPARE_DESCRIPTORS = 256
RETRY_S = 1.0
VISIT_S = 0.01
MAX_VISIT = 64


def check_descriptors() -> None:
    """Keep some descriptors back: namespaces for which none are left to listen by can still be read.

    The kernel gives out the lowest number that is free, so a new one tells how many are in use. Raises: OSError.
    """
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    os.close(fd)
    if fd + SPARE_DESCRIPTORS > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def raise_file_limit() -> None:
    """Allow as many descriptors as may be had: a dozen are needed for each namespace.

    The hard limit is passed where that is allowed (CAP_SYS_RESOURCE), up to what the kernel gives a process.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/fs/nr_open", encoding="ascii") as f:
        most = int(f.read())
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Task(msgspec.Struct, eq=False):
    """Sections of one namespace to read; `replay` gathers what events report meanwhile."""

    ns: NetnsHandle
    sections: tuple[str, ...]
    replay: list[NetnsDelta] = []
    ended: float = 0.0
    cpu_s: float = 0.0
    reading: Reading | None = None
    error: Exception | None = None


class Worker:
    """Runs a collector's `collect` whenever its schedule says so.

    `take(worker, task)` gets what was read and `failed(worker, task)` what could not be, both on the
    event loop's thread. `prepare_thread` is called on the collector's thread before anything else.
    """

    def __init__(
        self,
        collector: Collector,
        take: Callable[[Worker, Task, Reading], None],
        failed: Callable[[Worker, Task, Exception], None],
        prepare_thread: Callable[[], None],
    ) -> None:
        self.collector = collector
        self.attached: dict[NetnsKey, NetnsHandle] = {}
        self.schedule: Schedule[NetnsKey] = Schedule()
        self._take = take
        self._failed = failed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=collector.name, initializer=prepare_thread)
        self._wake = asyncio.Event()
        self._asleep_until: float | None = None
        self._news = False
        self._busy: dict[NetnsKey, Task] = {}
        self._leaving: dict[NetnsKey, Callable[[], None]] = {}
        self._no_events: dict[NetnsKey, str] = {}
        self._reasons: set[str] = set()

    def attach(self, ns: NetnsHandle) -> None:
        """Begin with a namespace. While it cannot be listened in, what is read of it has gaps that say so."""
        self.attached[ns.key] = ns
        self._listen(ns)

    def listen_again(self, key: NetnsKey) -> None:
        """Try to listen in an attached namespace if that failed before."""
        if key in self._no_events:
            self._listen(self.attached[key])

    def _listen(self, ns: NetnsHandle) -> None:
        try:
            check_descriptors()
            self.collector.attach(ns)
        except OSError as err:
            reason = f"no events: {err.strerror or err}"
            if reason not in self._reasons:
                self._reasons.add(reason)
                log.warning(
                    "%s cannot listen in %s (the first of such): %s", self.collector.name, ns.key, err
                )
            self._no_events[ns.key] = reason
        else:
            self._no_events.pop(ns.key, None)

    def detach(self, ns: NetnsHandle, then: Callable[[], None]) -> None:
        """End with a namespace, as soon as no reading of it is under way; then call `then`."""
        if self.attached.pop(ns.key, None) is None:
            then()
            return
        self.schedule.forget(ns.key)
        self._no_events.pop(ns.key, None)

        def leave() -> None:
            self.collector.detach(ns)
            then()

        if ns.key in self._busy:
            self._leaving[ns.key] = leave
        else:
            leave()

    def mark(self, key: NetnsKey, section: str, *, settle: bool = False, at_once: bool = False) -> None:
        """Have a section read: see `Schedule.mark`. Ignored for a namespace that isn't attached."""
        if key in self.attached:
            self._news = True
            now = asyncio.get_running_loop().time()
            due = self.schedule.mark(key, section, now, settle=settle, at_once=at_once)
            if self._asleep_until is None or due < self._asleep_until:
                self._wake.set()

    def note(self, delta: NetnsDelta) -> None:
        """Remember a change that was folded in while its namespace is being read."""
        task = self._busy.get(delta.key)
        if task is not None:
            task.replay.append(delta)

    async def run(self) -> None:
        """Read whatever is due, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                tasks = self._due(loop.time())
                if not tasks:
                    await self._sleep(loop)
                    continue
                self._busy = {task.ns.key: task for task in tasks}
                try:
                    await loop.run_in_executor(self._thread, self._visit, tasks)
                finally:
                    self._busy = {}
                for task in tasks:
                    self._finish(loop, task)
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def _due(self, now: float) -> list[Task]:
        tasks: list[Task] = []
        self._news = False
        while len(tasks) < MAX_VISIT and (item := self.schedule.pop(now)) is not None:
            key, sections = item
            ns = self.attached.get(key)
            if ns is not None:
                tasks.append(Task(ns, sections))
        return tasks

    async def _sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake.clear()
        self._asleep_until = self.schedule.next_due()
        try:
            async with asyncio.timeout_at(self._asleep_until):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _visit(self, tasks: Sequence[Task]) -> None:
        """Read, on the collector's own thread."""
        first = time.monotonic()
        for task in tasks:
            task.ended = time.monotonic()
            if self._news and task.ended - first > VISIT_S:
                return
            cpu_s = time.thread_time()
            try:
                task.reading = self.collector.collect(task.ns, tuple(s for s in task.sections if s))
            except OSError as err:
                task.error = err
            except Exception as err:
                log.exception("%s failed in %s", self.collector.name, task.ns.key)
                task.error = err
            task.ended, task.cpu_s = time.monotonic(), time.thread_time() - cpu_s

    def _finish(self, loop: asyncio.AbstractEventLoop, task: Task) -> None:
        key = task.ns.key
        leave = self._leaving.pop(key, None)
        if leave is not None:
            leave()
        elif task.error is not None:
            self.schedule.done(key, task.sections, task.ended, task.cpu_s)
            log.warning("%s of %s: %s", self.collector.name, key, task.error)
            self._failed(self, task, task.error)
            loop.call_later(RETRY_S, self._retry, key, task.sections)
        elif task.reading is not None:
            self.schedule.done(key, task.sections, task.ended, task.cpu_s)
            self._take(self, task, self._with_no_events(task.ns.key, task.reading))
        else:
            for section in task.sections:
                self.mark(key, section, at_once=True)

    def _with_no_events(self, key: NetnsKey, reading: Reading) -> Reading:
        """Add a gap for each section that was read but whose changes won't be heard of."""
        reason = self._no_events.get(key)
        if reason is None:
            return reading
        unheard = [section for section in reading.sections if section not in self.collector.poll_s]
        return msgspec.structs.replace(reading, gaps={**dict.fromkeys(unheard, reason), **reading.gaps})

    def _retry(self, key: NetnsKey, sections: tuple[str, ...]) -> None:
        for section in sections:
            self.mark(key, section)

"""From the topology to the browsers of this process's event loop.

One task wakes up when the store changes (and each second, for what changes with time), waits until about 50 ms have passed since it last did, lets
the topology advance (in a thread: a first projection of a large cluster takes seconds) and so fills
the browsers' mailboxes. Each browser empties its own. One that cannot keep up loses its mail and
gets a snapshot instead when it is ready for one, and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from netviz.core.state.delta import NodeDelta
from netviz.ingest.looks import keep_in_sight
from netviz.problems.board import reader
from netviz.topology.frames import Frame, Watch
from netviz.topology.live import Topology, get_topology

log = logging.getLogger("netviz.topology")

COALESCE_S = 0.05
SETTLE_S = 0.01
PING_S = 5.0
TICK_S = 1.0
MAILBOX_FRAMES = 200
MAILBOX_BYTES = 8 << 20

_encode = msgspec.json.Encoder().encode


class Mailbox:
    """What waits for one browser. `take` may be called from any thread, the rest is the loop's.

    `watch` are the nodes of which the browser is told the details. Its numbers are its own: a change that has
    nothing for it is skipped, and each delta names the revision that it was sent last.
    """

    def __init__(self, topology: Topology, loop: asyncio.AbstractEventLoop, watch: Watch = None) -> None:
        self._topology = topology
        self._loop = loop
        self._texts: deque[str] = deque()
        self._bytes = 0
        self._sent = -1
        self._watch = self._wanted = self._asked = watch
        # The changes that come while a snapshot is being made.
        self._early: list[Frame] | None = None
        self._snapshot_due = True
        self._closed = False
        self._ready = asyncio.Event()
        self._ready.set()

    def take(self, revision: int, frame: Frame | None) -> None:
        """Put a change in, from any thread, in order; None takes all out, and a snapshot comes next."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, frame)

    def watch(self, watch: Watch) -> None:
        """Tell the browser the details of these nodes from now on."""
        self._wanted = watch
        self._ready.set()

    def ping(self) -> None:
        """Say that all is well, and what was sent last."""
        if self._sent >= 0 and not self._snapshot_due and not self._closed:
            self._add(_encode({"type": "ping", "revision": self._sent}).decode())

    def resync(self) -> None:
        """Forget what waits: a snapshot comes next."""
        self._topology.leave(self.take)
        self._clear()
        self._snapshot_due = True
        self._ready.set()

    async def next_frame(self) -> str:
        """Wait for the next text to send."""
        while True:
            await self._ready.wait()
            if self._snapshot_due:
                self._snapshot_due = False
                return await self._take_snapshot()
            if self._wanted != self._asked:
                self._asked = self._wanted
                await asyncio.to_thread(self._topology.watch, self.take, self._asked)
            elif self._texts:
                text = self._texts.popleft()
                self._bytes -= len(text)
                return text
            else:
                self._ready.clear()

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._topology.leave(self.take)

    async def _take_snapshot(self) -> str:
        self._early = []
        self._watch = self._asked = self._wanted
        revision, snapshot = await asyncio.to_thread(self._topology.listen, self.take, self._watch)
        early, self._early = self._early, None
        self._clear()
        self._sent = revision
        for frame in early:
            if frame.revision > revision:
                self._put(frame)
        return snapshot

    def _put(self, frame: Frame | None) -> None:
        if self._closed:
            self._topology.leave(self.take)
        elif frame is None:
            self.resync()
        elif self._early is not None:
            self._early.append(frame)
        elif not self._snapshot_due and (text := frame.text(self._sent, self._watch)) is not None:
            self._sent = frame.revision
            if frame.scope:
                self._watch = frame.watch
            if len(self._texts) >= MAILBOX_FRAMES or self._bytes + len(text) > MAILBOX_BYTES:
                log.info("a browser is too slow: it gets a snapshot next")
                self.resync()
            else:
                self._add(text)

    def _add(self, text: str) -> None:
        self._texts.append(text)
        self._bytes += len(text)
        self._ready.set()

    def _clear(self) -> None:
        self._texts.clear()
        self._bytes = 0


class Feed:
    """The browsers of one event loop, and the task that serves them."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._loop = asyncio.get_running_loop()
        self._mailboxes: set[Mailbox] = set()
        self._changed = asyncio.Event()
        self._woken = False
        self._task: asyncio.Task[None] | None = None

    @property
    def browsers(self) -> int:
        """How many browsers listen."""
        return len(self._mailboxes)

    def join(self, watch: Watch = None) -> Mailbox:
        """Open a mailbox for a browser that watches these nodes; the first one starts the task."""
        mailbox = Mailbox(self.topology, self._loop, watch)
        self._mailboxes.add(mailbox)
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name="topology-feed")
        return mailbox

    def leave(self, mailbox: Mailbox) -> None:
        """Close a mailbox; the last one ends the task."""
        mailbox.close()
        self._mailboxes.discard(mailbox)
        if not self._mailboxes and self._task is not None:
            self._task.cancel()
            self._task = None

    def _wake(self, node: str, delta: NodeDelta | None, revision: int) -> None:
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _run(self) -> None:
        unsubscribe = self.topology.store.subscribe(self._wake)
        unsubscribe_clusters = self.topology.store.subscribe_clusters(self._wake)
        leave = reader.listen(lambda: self._wake("", None, 0))
        beside = [self._loop.create_task(part()) for part in (self._ping, self._keep_in_sight)]
        last = 0.0
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), TICK_S)
                await asyncio.sleep(max(SETTLE_S, last + COALESCE_S - self._loop.time()))
                last = self._loop.time()
                self._changed.clear()
                self._woken = False
                with suppress(Exception):  # the topology logs it, and tells the mailboxes
                    await asyncio.to_thread(self.topology.advance)
        finally:
            unsubscribe()
            unsubscribe_clusters()
            leave()
            for task in beside:
                task.cancel()

    async def _keep_in_sight(self) -> None:
        while True:
            await asyncio.to_thread(lambda: keep_in_sight(self.topology.in_sight()))
            await asyncio.sleep(TICK_S)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            for mailbox in self._mailboxes:
                mailbox.ping()


_feeds: WeakKeyDictionary[Any, Feed] = WeakKeyDictionary()


def get_feed() -> Feed:
    """Return the running event loop's feed."""
    loop = asyncio.get_running_loop()
    topology = get_topology()
    feed = _feeds.get(loop)
    if feed is None or feed.topology is not topology:
        feed = _feeds[loop] = Feed(topology)
    return feed


def browsers() -> int:
    """How many browsers this process serves."""
    return sum(feed.browsers for feed in _feeds.values())

"""Connection tracking of every namespace: large, fast-changing, and never in the way of the rest.

A busy node makes 10,000 connections a second, and every one is at least two events. So everything
here has a bound that holds whatever the traffic does:

- Events are read in small batches at a steady pace (`EVENTS_PER_TICK` each `TICK_S`), which begins with the
  first event and ends when all has been told: while nothing happens nothing ticks. What comes faster
  overflows in the kernel's socket buffer, which counts it; it is reported as shed.
- Changes gather under their entry's key and are told about every `flush_s`, at most `max_changes` at a time.
- After a loss the table is dumped again, but dumping takes at most a twentieth of the time. Events that
  were queued before the dump are dropped then: the end of what they began may be what was lost. Once the
  dump's differences are told, what was shed before it counts no more.
- At most `max_entries` are held for a namespace; a gap says when there are more.

A dump of a large table is compared with the state here, on the collector's own thread, and its
differences are told in portions like events, so that the event loop never chews on 100,000 records.

A namespace whose table is empty costs one small request each audit; its event socket stays silent.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

import msgspec

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.collectors.tracker import Tracker
from agents.netlink.conntrack import (
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    IPCTNL_MSG_CT_GET_STATS,
    IPCTNL_MSG_CT_NEW,
    CtKey,
    Interner,
    parse_count,
    parse_entry,
)
from agents.netlink.nfnetlink import (
    NETLINK_NETFILTER,
    NFNLGRP_CONNTRACK_DESTROY,
    NFNLGRP_CONNTRACK_NEW,
    NFNLGRP_CONNTRACK_UPDATE,
    nfgenmsg,
    stream_dump,
)
from agents.netlink.wire import HEADER, DumpInterrupted, request
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.state.delta import Change, NetnsDelta

T = TypeVar("T")

TICK_S = 0.05
IDLE_TICK_S = 0.2
EVENTS_PER_TICK = 250
WHOLE_UP_TO = 5_000
DUMP_SHARE = 20
MIN_REDUMP_S = 5.0
BACKLOG_FLUSH_S = 0.2
EVENT_BYTES = 4096
LOOP_TIMEOUT_S = 2.0

IPPROTO_TCP = 6
NLM_F_EXCL = 0x200
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8
_GROUPS = (NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY)


class Conntrack:
    """Collect connection tracking entries."""

    name = "conntrack"
    sections = ("conntrack",)
    poll_s: Mapping[str, float] = {}

    def __init__(self, *, flush_s: float = 1.0, max_changes: int = 5_000, max_entries: int = 200_000) -> None:
        self._flush_s = flush_s
        self._max_changes = max_changes
        self._max_entries = max_entries
        self._trackers: dict[NetnsKey, Tracker] = {}
        self._by_fd: dict[int, Tracker] = {}
        self._intern = Interner()
        self._flushed_at_s = 0.0
        self._left = False
        self._resting = False

    def can_run(self, host: Host) -> str | None:
        """Ask the node's own namespace how many entries it has."""
        try:
            with host.root.open_netlink(NETLINK_NETFILTER) as sock:
                read_count(sock)
        except OSError as err:
            return f"conntrack cannot be read: {err.strerror}"
        return None

    async def start(self, host: Host) -> None:
        """Wait for the first event."""
        self._host = host
        self._poll = select.epoll()
        self._loop = asyncio.get_running_loop()
        self._rest()

    async def stop(self) -> None:
        """Close every socket."""
        for tracker in list(self._trackers.values()):
            self.detach(tracker.ns)
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def attach(self, ns: NetnsHandle) -> None:
        """Listen for the namespace's conntrack events."""
        sock = ns.open_netlink(NETLINK_NETFILTER, _GROUPS)
        tracker = Tracker(ns, sock)
        self._trackers[ns.key] = tracker
        self._by_fd[sock.fileno()] = tracker
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def detach(self, ns: NetnsHandle) -> None:
        """Close the namespace's socket."""
        tracker = self._trackers.pop(ns.key, None)
        if tracker is not None:
            self._poll.unregister(tracker.sock.fileno())
            del self._by_fd[tracker.sock.fileno()]
            tracker.sock.close()
            if tracker.shed:
                self._host.made_good("conntrack", tracker.shed)

    # Events, on the loop.

    def _rest(self) -> None:
        """Do nothing until the kernel has an event, or a dump has ended."""
        self._resting = True
        self._loop.add_reader(self._poll.fileno(), self._wake)

    def _wake(self) -> None:
        """Tick while there is something to do."""
        if self._resting and not self._poll.closed:
            self._resting = False
            self._loop.remove_reader(self._poll.fileno())
            self._host.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        if self._poll.closed:
            return
        ready = self._poll.poll(0)
        for fd, _ in ready:
            self._read_events(self._by_fd[fd], max(EVENTS_PER_TICK // len(ready), 1))
        waited_s = time.monotonic() - self._flushed_at_s
        if waited_s >= self._flush_s or (waited_s >= BACKLOG_FLUSH_S and self._backlog(bool(ready))):
            self._left = self._flush()
            self._flushed_at_s = time.monotonic()
        if ready or any(tracker.pending or tracker.dumped_shed for tracker in self._trackers.values()):
            self._host.call_later(TICK_S if ready else IDLE_TICK_S, self._tick)
        else:
            self._rest()

    def _backlog(self, ready: bool) -> bool:
        """Tell whether more waits to be told than may be told at once."""
        if not ready:
            return self._left
        return any(len(tracker.pending) > self._max_changes for tracker in self._trackers.values())

    def _read_events(self, tracker: Tracker, share: int) -> None:
        for _ in range(share):
            try:
                data = tracker.sock.recv(EVENT_BYTES)
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                self._overran(tracker)
                continue
            _length, kind, flags, _seq, _pid = HEADER.unpack_from(data)
            if kind in (IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE):
                self._on_event(tracker, kind, flags, data[HEADER.size :])

    def _on_event(self, tracker: Tracker, kind: int, flags: int, body: bytes) -> None:
        try:
            entry = parse_entry(body, self._intern)
        except (ValueError, LookupError, struct.error):
            self._host.lost(tracker.ns, "conntrack")
            return
        key = entry.key
        if kind == IPCTNL_MSG_CT_DELETE:
            tracker.count -= 1
            tracker.pending[key] = None
        elif not flags & NLM_F_EXCL:
            tracker.pending[key] = self._complete(tracker, key, entry)
        elif tracker.count < self._max_entries:
            tracker.count += 1
            tracker.pending[key] = entry
        else:
            self._shed(tracker, 1)
            return
        if tracker.touched is not None:
            tracker.touched.add(key)

    def _complete(self, tracker: Tracker, key: CtKey, entry: CtEntry) -> CtEntry:
        """Add what an update leaves out because it did not change: TCP's state (CTA_PROTOINFO)."""
        if entry.proto != IPPROTO_TCP or entry.tcp_state:
            return entry
        was = tracker.pending.get(key) or self._host.lookup(tracker.ns.key, "conntrack", key)
        return msgspec.structs.replace(entry, tcp_state=was.tcp_state) if was is not None else entry

    def _overran(self, tracker: Tracker) -> None:
        """The kernel dropped events: count them, and ask for a dump when one is due."""
        info = tracker.sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64)
        drops = struct.unpack_from("=I", info, 4 * SK_MEMINFO_DROPS)[0]
        self._shed(tracker, max(drops - tracker.drops, 1))
        tracker.drops = drops
        tracker.lossy = True
        if not tracker.redump_asked:
            tracker.redump_asked = True
            self._ask_redump(tracker)

    def _shed(self, tracker: Tracker, count: int) -> None:
        tracker.shed += count
        self._host.shed("conntrack", count)

    def _ask_redump(self, tracker: Tracker) -> None:
        """Ask for a dump as soon as none is under way and the last one's share of the time is over."""
        if self._trackers.get(tracker.ns.key) is not tracker:
            return
        pause = max(MIN_REDUMP_S, DUMP_SHARE * tracker.dump_cost_s)
        wait = tracker.dumped_at_s + pause - time.monotonic()
        if wait > 0 or tracker.touched is not None:
            self._host.call_later(max(wait, IDLE_TICK_S), lambda: self._ask_redump(tracker))
        else:
            tracker.redump_asked = False
            self._host.dirty(tracker.ns, "conntrack")

    def _flush(self) -> bool:
        """Tell what waits, as far as may be; return whether some is left."""
        room = self._max_changes
        for tracker in self._trackers.values():
            if not tracker.pending:
                self._make_good(tracker)
                continue
            if room <= 0:
                continue
            keys = list(tracker.pending)[:room]
            room -= len(keys)
            changes = [(key, tracker.pending.pop(key)) for key in keys]
            put = tuple(entry for _, entry in changes if entry is not None)
            drop = tuple(key for key, entry in changes if entry is None)
            self._host.changed(NetnsDelta(key=tracker.ns.key, conntrack=Change(put, drop)))
        return room <= 0

    def _make_good(self, tracker: Tracker) -> None:
        """The last dump's differences are all told: what was shed before it isn't missing any more."""
        if tracker.dumped_shed:
            self._host.made_good("conntrack", tracker.dumped_shed)
            tracker.shed -= tracker.dumped_shed
            tracker.dumped_shed = 0

    # Dumps, on the collector's own thread.

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Dump the table; a large one is told in portions, see the module's text."""
        tracker = self._trackers.get(ns.key)
        with ns.open_netlink(NETLINK_NETFILTER) as sock:
            count = read_count(sock)
            if tracker is None:
                return self._collect_small(sock, count)
            try:
                if count > WHOLE_UP_TO:
                    return self._collect_large(tracker, sock, count)
                if tracker.lossy:
                    self._ask_loop(lambda: self._forget_events(tracker))
                shed = tracker.shed
                reading = self._collect_small(sock, count)
            except BaseException:
                tracker.lossy = True  # events may have been forgotten for a dump that failed
                raise
        tracker.count = count
        self._host.call_soon(lambda: self._dumped(tracker, shed))
        return reading

    def _dumped(self, tracker: Tracker, shed: int) -> None:
        """Note that a dump brought what had been shed before it began."""
        tracker.dumped_shed = shed
        self._wake()

    def _collect_small(self, sock: socket.socket, count: int) -> Reading:
        found = {entry.key: entry for entry in self._dump(sock)} if count else {}
        return Reading({"conntrack": tuple(found.values())}, self._gaps(count))

    def _ask_loop(self, fn: Callable[[], T]) -> T:
        """Run on the event loop's thread and wait for it. Raises: TimeoutError, an OSError: tried again later."""
        future: Future[T] = Future()
        self._host.call_soon(lambda: future.set_result(fn()))
        return future.result(timeout=LOOP_TIMEOUT_S)

    def _forget_events(self, tracker: Tracker) -> None:
        """Drop what waits to be read and to be told: a dump that begins now knows better.

        After a loss this must be done: the queue may hold an entry's beginning, and its end be lost.
        """
        with suppress(BlockingIOError):
            while True:
                try:
                    tracker.sock.recv(1)
                except OSError as err:
                    if err.errno != errno.ENOBUFS:
                        raise
                    self._overran(tracker)
        tracker.pending.clear()
        tracker.lossy = False

    def _dump(self, sock: socket.socket) -> Iterator[CtEntry]:
        """Dump entries. Interrupted is no harm: the table always changes, and events tell what was missed."""
        held = 0
        try:
            for body in stream_dump(sock, IPCTNL_MSG_CT_GET, nfgenmsg()):
                held += 1
                if held <= self._max_entries:
                    yield parse_entry(body, self._intern)
        except DumpInterrupted:
            return

    def _gaps(self, count: int) -> dict[str, str]:
        over = count > self._max_entries
        return {"conntrack": f"{self._max_entries} of {count} entries are held"} if over else {}

    def _collect_large(self, tracker: Tracker, sock: socket.socket, count: int) -> Reading:
        try:
            known = self._ask_loop(lambda: self._begin(tracker))
            shed = tracker.shed
            started = time.thread_time()
            differing, held = self._compare(sock, known)
            tracker.dump_cost_s = time.thread_time() - started
            tracker.dumped_at_s = time.monotonic()
        except BaseException:
            self._host.call_soon(lambda: self._end(tracker, {}, tracker.count))
            raise
        self._host.call_soon(lambda: self._end(tracker, differing, held))
        self._host.call_soon(lambda: self._dumped(tracker, shed))
        return Reading({}, self._gaps(count))

    def _compare(
        self, sock: socket.socket, known: Mapping[CtKey, CtEntry | None]
    ) -> tuple[dict[CtKey, CtEntry | None], int]:
        """Dump, and return what differs from `known` and how many entries there are."""
        seen: set[CtKey] = set()
        differing: dict[CtKey, CtEntry | None] = {}
        for entry in self._dump(sock):
            key = entry.key
            seen.add(key)
            if known.get(key) != entry:
                differing[key] = entry
        differing.update((key, None) for key, was in known.items() if was is not None and key not in seen)
        return differing, len(seen)

    def _begin(self, tracker: Tracker) -> Mapping[CtKey, CtEntry | None]:
        """Note from here on what events name; return what the state is going to be."""
        if tracker.lossy:
            self._forget_events(tracker)
        tracker.touched = set()
        state = self._host.section(tracker.ns.key, "conntrack")
        return {**state, **tracker.pending} if tracker.pending else state

    def _end(self, tracker: Tracker, differing: dict[CtKey, CtEntry | None], count: int) -> None:
        """Queue a dump's differences, but for what events have told since."""
        touched = tracker.touched or ()
        tracker.touched = None
        tracker.count = count
        for key, entry in differing.items():
            if key not in touched:
                tracker.pending[key] = entry
        self._wake()


def read_count(sock: socket.socket) -> int:
    """Ask how many entries the namespace has. Raises: OSError."""
    return parse_count(request(sock, IPCTNL_MSG_CT_GET_STATS, nfgenmsg()).body)

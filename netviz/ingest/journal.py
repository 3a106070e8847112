"""The journal's writer: a thread that makes changes durable in batches, and a cleaner with two bounds.

`append` hands a change over and returns at once. Every FLUSH_S the thread writes all that came, in
one transaction, and then calls back with the last number of each collector: only that is
acknowledged. A batch that cannot be written is tried again until it can; meanwhile the queue grows
to its bound and the collectors' sockets are not read any more (`has_room`), so the waiting reaches the
collectors, which keep what isn't acknowledged.

A change that cannot be made an entry of halts its collector's connection alone: neither it nor what
comes after it on that connection is acknowledged, and the connection is cut, so that the collector
sends it again.

Now and then the thread wants a node's whole held state (`wants_checkpoint`), which whoever appends the
next change hands over with it: a reference costs nothing, and packing it is this thread's work. So
the past can be cleaned up to a checkpoint, and going back to a time folds a bounded number of changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction

from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.node import NodeState
from netviz.ingest.connections import connections
from netviz.ingest.faults import faults
from netviz.ingest.journal_bodies import BodyKeeper, clean_bodies, referred
from netviz.ingest.journal_cleaner import clean
from netviz.ingest.journal_record import journaled, pack, summarise
from netviz.ingest.models import JournalEntry

log = logging.getLogger("netviz.journal")

FLUSH_S = 0.25
RETRY_S = 1.0
CLEAN_EVERY_S = 60.0
CHECKPOINT_ENTRIES = 1000
CHECKPOINT_EVERY_S = 86400.0
MAX_QUEUED_BYTES = 64 << 20
BATCH_ROWS = 500


class JournalChange(msgspec.Struct, frozen=True):
    """One change to make durable: a delta, or the whole state that a snapshot brought, or a checkpoint: the
    whole state held after the change of the same number.

    `durable` is called in the writer's thread with `seq`. `size_bytes` is what the change weighs while
    it waits (about its frame's size). `before` is the state that a delta changes, None where that isn't known.
    """

    node: str
    epoch: int
    seq: int
    received_at_s: float
    what: NodeDelta | NodeState
    size_bytes: int
    durable: Callable[[int], None]
    checkpoint: bool = False
    before: NodeState | None = None


class Journal:
    """The writer's queue and thread."""

    def __init__(self) -> None:
        self._queue: list[JournalChange] = []
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._cleaned_at = 0.0
        # Node -> entries since its last whole state, and when that was written (monotonic).
        self._since: dict[str, tuple[int, float]] = {}
        self._checkpoints: set[str] = set()
        self._bodies = BodyKeeper()
        # Node -> the connection of which nothing more is journaled, by its callback.
        self._halted: dict[str, Callable[[int], None]] = {}
        self.written = 0
        self.failing = False

    def start(self) -> None:
        """Start writing."""
        self._stopping = False
        self._wake.clear()
        self._cleaned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued and end."""
        if self._thread is not None:
            self._stopping = True
            self._wake.set()
            self._thread.join()
            self._thread = None

    @property
    def queued_bytes(self) -> int:
        """How much waits to be written."""
        return self._queued_bytes

    def has_room(self) -> bool:
        """Tell whether more may be appended."""
        return self._queued_bytes < MAX_QUEUED_BYTES

    def wants_checkpoint(self, node: str) -> bool:
        """Tell whether a checkpoint of a node is to be appended after its next change."""
        return node in self._checkpoints

    def append(self, change: JournalChange) -> None:
        """Queue a change."""
        if change.checkpoint:
            self._checkpoints.discard(change.node)
        with self._lock:
            self._queue.append(change)
            self._queued_bytes += change.size_bytes

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(FLUSH_S)
                try:
                    self._flush()
                except Exception:
                    # The batch is in the queue again: nothing is passed over.
                    if not self.failing:
                        log.exception("the journal fails, trying until it works")
                    self.failing = True
                    self._wake.wait(RETRY_S)
                if time.monotonic() - self._cleaned_at >= CLEAN_EVERY_S:
                    self._cleaned_at = time.monotonic()
                    self._clean()
            self._flush()
        finally:
            connection.close()

    def _flush(self) -> None:
        with self._lock:
            batch, self._queue = self._queue, []
        if not batch and not self._bodies.waits:
            return
        try:
            kept, entries, digests = self._entries(batch)
            while not self._write(entries, digests):
                if self._stopping:
                    return
                self._wake.wait(RETRY_S)
        except Exception:
            with self._lock:
                self._queue = [*batch, *self._queue]
            raise
        with self._lock:
            self._queued_bytes -= sum(change.size_bytes for change in batch)
        self.written += len(entries)
        self._count(entries)
        last = {change.durable: change.seq for change in kept}
        for durable, seq in last.items():
            try:
                durable(seq)
            except RuntimeError as err:
                # Its event loop has ended, and the connection with it.
                log.debug("cannot tell that change %d is durable: %s", seq, err)

    def _entries(
        self, batch: list[JournalChange]
    ) -> tuple[list[JournalChange], list[JournalEntry], list[bytes]]:
        """Make entries of what can be journaled.

        Returns those changes, the entries of what isn't noise, and the digests of the bodies that these refer to.
        """
        kept: list[JournalChange] = []
        entries: list[JournalEntry] = []
        digests: list[bytes] = []
        for change in batch:
            if self._halted.get(change.node) == change.durable:
                continue
            with faults.attempt(change.node, "journal") as attempt:
                delta = _delta(change)
                entry = _entry(change, delta) if delta is not None else None
            if attempt.fault is None:
                self._halted.pop(change.node, None)
                kept.append(change)
                if delta is not None and entry is not None:
                    entries.append(entry)
                    digests.extend(referred(delta))
            elif not change.checkpoint:
                self._halted[change.node] = change.durable
                with suppress(RuntimeError):  # its event loop has ended, and the connection with it
                    connections.cut(change.node, "internal", "a change could not be journaled")
        return kept, entries, digests

    def _count(self, entries: list[JournalEntry]) -> None:
        """Want a checkpoint of nodes that went far since their last whole state, or have none that is known."""
        now = time.monotonic()
        for entry in entries:
            if entry.kind == JournalEntry.Kind.DELTA:
                count, since = self._since.get(entry.node, (CHECKPOINT_ENTRIES, now))
                self._since[entry.node] = count + 1, since
                if count + 1 >= CHECKPOINT_ENTRIES or now - since >= CHECKPOINT_EVERY_S:
                    self._checkpoints.add(entry.node)
            else:
                self._since[entry.node] = 0, now
                self._checkpoints.discard(entry.node)

    def _write(self, entries: list[JournalEntry], digests: list[bytes]) -> bool:
        if not entries and not self._bodies.waits:
            return True
        try:
            close_old_connections()
            with transaction.atomic():
                JournalEntry.objects.bulk_create(entries, batch_size=BATCH_ROWS, ignore_conflicts=True)
            self._bodies.keep(digests)
        except DatabaseError as err:
            if not self.failing:
                log.error("cannot write %d journal entries, trying until it works: %s", len(entries), err)
            self.failing = True
            connection.close()
            return False
        if self.failing:
            log.warning("the journal can be written again")
        self.failing = False
        return True

    def _clean(self) -> None:
        try:
            deleted = clean(settings.JOURNAL_MAX_AGE_S, settings.JOURNAL_MAX_BYTES)
            clean_bodies()
        except DatabaseError as err:
            log.error("cannot clean the journal: %s", err)
            return
        if deleted:
            log.info("removed %d old journal entries", deleted)


def _delta(change: JournalChange) -> NodeDelta | None:
    """What of a change is journaled; None when it is noise."""
    what = change.what
    if isinstance(what, NodeState):
        empty = NodeState(what.node)
        return journaled(diff(empty, what), empty) or NodeDelta()
    return journaled(what, change.before)


def _entry(change: JournalChange, delta: NodeDelta) -> JournalEntry:
    kind = JournalEntry.Kind.DELTA
    if isinstance(change.what, NodeState):
        kind = JournalEntry.Kind.CHECKPOINT if change.checkpoint else JournalEntry.Kind.SNAPSHOT
    body = pack(delta)
    return JournalEntry(
        node=change.node,
        epoch=change.epoch,
        seq=change.seq,
        kind=kind,
        received_at=datetime.fromtimestamp(change.received_at_s, UTC),
        summary=summarise(delta),
        body=body,
        size=len(body),
    )


journal = Journal()

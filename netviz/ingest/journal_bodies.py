"""The netfilter bodies of the journal: each kept once, by its digest, for as long as an entry may refer to it.

A chain's or set's record in an entry carries its body's digest. The body reaches the server a moment
later (it is asked for), so what an entry refers to is noted first and kept as soon as the store has it.
`seen_at` is when an entry last referred to a body, give or take SEEN_STEP_S; every entry's past begins with
a whole state, which refers to all that it has, so what was seen long before the oldest entry is nobody's.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.db.models import Min
from django.utils import timezone

from netviz.core.model.netfilter import Body
from netviz.core.state.bodies import digests_of
from netviz.core.state.delta import NodeDelta
from netviz.core.state.door import UNREADABLE, read_body
from netviz.core.state.node import BODY_SECTIONS, NodeState
from netviz.ingest.live_store import get_store
from netviz.ingest.models import JournalBody, JournalEntry

SEEN_STEP_S = 3600.0
ROWS = 500


def referred(delta: NodeDelta) -> Iterator[bytes]:
    """The digests of the bodies that a delta's records refer to."""
    for change in delta.netns:
        for section in BODY_SECTIONS:
            if (records := getattr(change, section)) is not None:
                yield from (record.body for record in records.put if record.body)


class BodyKeeper:
    """Keeps what entries refer to. Used by the journal's thread alone."""

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}
        self._wanted: dict[bytes, None] = {}

    @property
    def waits(self) -> bool:
        """Some body that an entry refers to isn't kept yet."""
        return bool(self._wanted)

    def keep(self, digests: Iterable[bytes]) -> None:
        """Note what entries refer to, and keep what the store has of it. Raises: DatabaseError."""
        now_s = time.monotonic()
        fresh = [d for d in dict.fromkeys(digests) if now_s - self._seen.get(d, -SEEN_STEP_S) >= SEEN_STEP_S]
        for part in _parts(fresh):
            held = JournalBody.objects.filter(digest__in=[digest.hex() for digest in part])
            known = set(held.values_list("digest", flat=True))
            held.update(seen_at=timezone.now())
            self._wanted.update((digest, None) for digest in part if digest.hex() not in known)
        self._take()
        self._seen.update(dict.fromkeys(fresh, now_s))

    def _take(self) -> None:
        """Keep the wanted bodies that the store has; what nothing refers to any more isn't wanted."""
        store = get_store()
        for part in _parts([*self._wanted]):
            found = {digest: body for digest in part if (body := store.encoded_body(digest)) is not None}
            JournalBody.objects.bulk_create(
                [_row(digest, body) for digest, body in found.items()], ignore_conflicts=True
            )
            for digest in part:
                if digest in found or not store.refers_to(digest):
                    del self._wanted[digest]


def _row(digest: bytes, encoded: bytes) -> JournalBody:
    packed = zlib.compress(encoded, 6)
    return JournalBody(digest=digest.hex(), body=packed, size=len(packed), seen_at=timezone.now())


def _parts(digests: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(digests), ROWS):
        yield digests[start : start + ROWS]


def bodies_of(state: NodeState) -> Iterator[Body]:
    """The kept bodies that a state refers to; those that aren't kept, or cannot be read, are left out."""
    wanted = dict.fromkeys(digest for ns in state.netns.values() for digest in digests_of(ns))
    for part in _parts([*wanted]):
        rows = JournalBody.objects.filter(digest__in=[digest.hex() for digest in part])
        for packed in rows.values_list("body", flat=True):
            try:
                yield read_body(zlib.decompress(bytes(packed)))
            except (*UNREADABLE, zlib.error):
                continue


def clean_bodies() -> int:
    """Remove the bodies that no entry can refer to; return how many."""
    oldest = JournalEntry.objects.aggregate(at=Min("received_at"))["at"] or timezone.now()
    unseen = JournalBody.objects.filter(seen_at__lt=oldest - timedelta(seconds=2 * SEEN_STEP_S))
    return unseen.delete()[0]

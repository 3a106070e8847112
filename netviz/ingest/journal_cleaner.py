"""Remove the journal's past beyond a bound of age or size, but nothing that the remaining past stands on.

A change means nothing without the whole state before it. So of each node only what lies before one
of its whole states (a snapshot or a checkpoint) is ever removed: by age, what lies before the newest
that is itself beyond the bound; by size, the oldest entries, at most what lies before each node's newest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet, Sum

from netviz.ingest.models import JournalEntry
from netviz.inventory.models import Node

CLEAN_ROWS = 1000


def clean(max_age_s: float, max_bytes: int) -> int:
    """Remove what is beyond either bound, in small transactions; return how many entries."""
    limit = datetime.now(UTC) - timedelta(seconds=max_age_s)
    old = JournalEntry.objects.filter(received_at__lt=limit)
    known = Node.objects.filter(name=OuterRef("node"))
    deleted = _remove(old.filter(Exists(_standing_for(received_at__lt=limit)) | ~Exists(known)))
    excess = (JournalEntry.objects.aggregate(total=Sum("size"))["total"] or 0) - max_bytes
    if excess > 0:
        deleted += _remove(JournalEntry.objects.filter(Exists(_standing_for())), excess)
    return deleted


def _standing_for(**bound: Any) -> QuerySet[JournalEntry]:
    """Whole states that stand for an entry: later ones of its node, within a bound.

    Two servers may have written one epoch's entries out of order; there the collector's numbers count.
    """
    later = JournalEntry.objects.filter(
        node=OuterRef("node"), kind__in=JournalEntry.WHOLE, id__gt=OuterRef("id"), **bound
    )
    return later.exclude(epoch=OuterRef("epoch"), seq__lt=OuterRef("seq"))


def _remove(entries: QuerySet[JournalEntry], excess: int | None = None) -> int:
    """Delete the oldest first, all or until `excess` bytes are gone."""
    deleted = 0
    while excess is None or excess > 0:
        ids = []
        for entry_id, size in entries.order_by("id").values_list("id", "size")[:CLEAN_ROWS]:
            if excess is not None:
                if excess <= 0:
                    break
                excess -= size
            ids.append(entry_id)
        if not ids:
            break
        deleted += JournalEntry.objects.filter(id__in=ids).delete()[0]
    return deleted

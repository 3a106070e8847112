"""Who runs next: one observation at a time on a node, in the order in which they came.

An observation waits for all that came before it and watch any of its nodes. Who runs it renews its lease; when that
lapses, whoever looks ends it, so that nobody waits for the dead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from netviz.observing.models import Observation
from netviz.observing.notify import announce

Status = Observation.Status
UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.WAITING)
LEASE = timedelta(seconds=15)
LOST = "the server that ran this observation ended before it did; observe again"


def unfinished() -> QuerySet[Observation]:
    """The observations that aren't at their end."""
    return Observation.objects.filter(status__in=UNFINISHED)


def ahead_of(observation: Observation) -> list[int]:
    """Those that must end before this one may begin, the oldest first."""
    end_lapsed()
    mine = set(observation.nodes)
    before = unfinished().filter(pk__lt=observation.pk).order_by("pk").values_list("pk", "nodes")
    return [pk for pk, nodes in before if not mine.isdisjoint(nodes)]


def end_lapsed() -> None:
    """End those whose server has died."""
    lapsed = unfinished().filter(Q(lease_until=None) | Q(lease_until__lt=Now()))
    for pk in list(lapsed.values_list("pk", flat=True)):
        if lapsed.filter(pk=pk).update(status=Status.FAILED, error=LOST, finished_at=Now()):
            announce(pk)


def shown(observation: Observation) -> dict[str, Any]:
    """The observation as JSON shows it alone: with its place in the queue, 0 when its turn has come."""
    place = len(ahead_of(observation)) if observation.status == Status.QUEUED else None
    return {**observation.summary(), "place": place, "trace": observation.result}

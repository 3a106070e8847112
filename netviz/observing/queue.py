"""Who runs next: one observation at a time on a node, and one capture beside it, in the order in which they came.

An observation waits for all that came before it and watch any of its nodes; a capture, which is long and only listens, for
captures alone, and nobody else waits for it. Who runs one renews its lease; when that lapses, whoever looks ends it, so that
nobody waits for the dead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from netviz.lease import Lease, change_each, lapsed
from netviz.observing.models import Observation
from netviz.observing.notify import announce

Status = Observation.Status
UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.WAITING)
LEASE = timedelta(seconds=15)
LONGEST_WAIT_S = 300.0
LONGEST_S = LONGEST_WAIT_S + 120
TOO_LONG = f"it wasn't over within {LONGEST_S / 60:.0f} minutes; observe again"
LOST = "the server that ran this observation ended before it did; observe again"


def unfinished() -> QuerySet[Observation]:
    """The observations that aren't at their end."""
    return Observation.objects.filter(status__in=UNFINISHED)


def ahead_of(observation: Observation) -> list[int]:
    """Those that must end before this one may begin, the oldest first."""
    end_lapsed()
    mine, captures = set(observation.nodes), Observation.Kind.CAPTURE
    earlier = unfinished().filter(pk__lt=observation.pk).order_by("pk").values_list("pk", "kind", "nodes")
    is_capture = observation.kind == captures
    return [
        pk for pk, kind, nodes in earlier if (kind == captures) == is_capture and not mine.isdisjoint(nodes)
    ]


def end_lapsed() -> None:
    """End those whose server has died."""
    change_each(unfinished().filter(lapsed()), announce, status=Status.FAILED, error=LOST, finished_at=Now())


def lease_of(pk: int) -> Lease:
    """The lease of whoever runs an observation."""
    too_long = {"status": Status.FAILED, "error": TOO_LONG}
    return Lease(unfinished().filter(pk=pk), f"observation {pk}", LEASE, LONGEST_S, too_long)


def shown(observation: Observation) -> dict[str, Any]:
    """The observation as JSON shows it alone: with its place in the queue, 0 when its turn has come."""
    place = len(ahead_of(observation)) if observation.status == Status.QUEUED else None
    name = "trace" if observation.kind == Observation.Kind.PROBE else observation.kind
    return {**observation.summary(), "place": place, name: observation.result}

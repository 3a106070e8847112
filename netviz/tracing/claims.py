"""Who runs a trace: a claim with a lease, so that a run ends once whatever dies meanwhile.

    queued --take--> running --finish--> done, failed
      ^                 |
      +-----------------+   its lease lapsed (tending.py), or its holder gives it back

A claim is a random token: whoever takes a run next overwrites it, and what a holder writes is written only while the
token is still its own. So a run that two processes work out, because one of them was stopped for a while, has one result.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from netviz.lease import Lease
from netviz.tracing.models import TraceRun

Status = TraceRun.Status
UNFINISHED = (Status.QUEUED, Status.RUNNING)
LEASE = timedelta(seconds=10)
# The second attempt is the last: what ends two workers would end a third.
MAX_ATTEMPTS = 2
LONGEST_S = 240.0
TOO_LONG = (
    f"the simulator did not finish within {LONGEST_S / 60:.0f} minutes; "
    "trace again, and if that repeats, report it with the nodes' state files (GET /api/nodes/NAME/state)"
)


def waiting() -> QuerySet[TraceRun]:
    """The runs that aren't at their end."""
    return TraceRun.objects.filter(status__in=UNFINISHED)


def take(trace_id: int) -> Claim | None:
    """Claim a queued run; None when it isn't queued any more."""
    token = uuid.uuid4().hex
    taken = TraceRun.objects.filter(pk=trace_id, status=Status.QUEUED, attempts__lt=MAX_ATTEMPTS).update(
        status=Status.RUNNING,
        claim=token,
        attempts=F("attempts") + 1,
        started_at=Now(),
        lease_until=Now() + LEASE,
    )
    return Claim(trace_id, token) if taken else None


class Claim(Lease):
    """The right to run one trace."""

    def __init__(self, trace_id: int, token: str) -> None:
        super().__init__(
            TraceRun.objects.filter(pk=trace_id, claim=token, status__in=UNFINISHED),
            f"trace {trace_id}",
            LEASE,
            LONGEST_S,
            {"status": Status.FAILED, "error": TOO_LONG},
            {"status": Status.RUNNING},
        )

    def give_back(self) -> bool:
        """Queue the run again as if it had not been taken; False when the claim was lost."""
        return bool(
            self.mine.update(
                status=Status.QUEUED, claim="", attempts=F("attempts") - 1, lease_until=None, started_at=None
            )
        )

"""Who runs a trace: a claim with a lease, so that a run ends once whatever dies meanwhile.

    queued --take--> running --finish--> done, failed
      ^                 |
      +-----------------+   its lease lapsed (tending.py), or its holder gives it back

Each step is one conditional UPDATE. A claim is a random token: whoever takes a run next overwrites
it, and what a holder writes is written only while the token is still its own. So a run that two
processes work out, because one of them was stopped for a while, has one result. All times are the
database's, so the clocks of the machines needn't agree.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from datetime import timedelta
from types import TracebackType
from typing import Any

from django.db import connection
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from netviz.parts import DATABASE_AWAY
from netviz.tracing.models import TraceRun

log = logging.getLogger("netviz.tracing")

Status = TraceRun.Status
UNFINISHED = (Status.QUEUED, Status.RUNNING)
LEASE = timedelta(seconds=10)
RENEW_S = 3.0
# The second attempt is the last: what ends two workers would end a third.
MAX_ATTEMPTS = 2
LONGEST_S = 240.0
TOO_LONG = (
    f"the simulator did not finish within {LONGEST_S / 60:.0f} minutes; "
    "trace again, and if that repeats, report it with the nodes' state files (GET /api/nodes/NAME/state)"
)
# For how long a result waits for a database that is away.
WRITE_FOR_S = 60.0
RETRY_S = 1.0


def waiting() -> QuerySet[TraceRun]:
    """The runs that aren't at their end."""
    return TraceRun.objects.filter(status__in=UNFINISHED)


def take(trace_id: int) -> Lease | None:
    """Claim a queued run; None when it isn't queued any more."""
    token = uuid.uuid4().hex
    taken = TraceRun.objects.filter(pk=trace_id, status=Status.QUEUED, attempts__lt=MAX_ATTEMPTS).update(
        status=Status.RUNNING,
        claim=token,
        attempts=F("attempts") + 1,
        started_at=Now(),
        lease_until=Now() + LEASE,
    )
    return Lease(trace_id, token) if taken else None


class Lease:
    """The right to run one trace. In a `with` block a thread renews its lease."""

    def __init__(self, trace_id: int, token: str) -> None:
        self._mine = TraceRun.objects.filter(pk=trace_id, claim=token, status__in=UNFINISHED)
        self._trace_id = trace_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"claim-{trace_id}", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def finish(self, **fields: Any) -> bool:
        """Write the run's end; False when the claim was lost. A database that is away is waited for.

        Raises: one of DATABASE_AWAY when that takes too long: the lease lapses then.
        """
        deadline_s = time.monotonic() + WRITE_FOR_S
        while True:
            try:
                return bool(self._mine.update(finished_at=Now(), lease_until=None, **fields))
            except DATABASE_AWAY as err:
                if time.monotonic() > deadline_s:
                    raise
                log.warning("cannot write the end of trace %d, trying again: %s", self._trace_id, err)
                connection.close()
                time.sleep(RETRY_S)

    def give_back(self) -> bool:
        """Queue the run again as if it had not been taken; False when the claim was lost."""
        return bool(
            self._mine.update(
                status=Status.QUEUED, claim="", attempts=F("attempts") - 1, lease_until=None, started_at=None
            )
        )

    def _renew(self) -> None:
        """Renew the lease until the block ends, the claim is lost, or the run has taken too long."""
        began_s = time.monotonic()
        while not self._over.wait(RENEW_S):
            try:
                if time.monotonic() - began_s > LONGEST_S:
                    self._mine.update(
                        finished_at=Now(), lease_until=None, status=Status.FAILED, error=TOO_LONG
                    )
                    return
                if not self._mine.update(status=Status.RUNNING, lease_until=Now() + LEASE):
                    log.warning("trace %d is another worker's now", self._trace_id)
                    return
            except DATABASE_AWAY as err:
                log.warning("cannot renew the claim of trace %d: %s", self._trace_id, err)
            finally:
                connection.close()

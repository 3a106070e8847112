"""A trace is accepted: worked out at once (`execution.py`), or queued (`tasks.py`).

`claims.py` says who runs a queued one, `tending.py` that none is forgotten.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from netviz.inventory import audit
from netviz.tracing import currency, tasks
from netviz.tracing.claims import Status, waiting
from netviz.tracing.execution import work_out
from netviz.tracing.models import TraceRun
from netviz.tracing.predict import recent_revisions, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import live

log = logging.getLogger("netviz.tracing")

MAX_WAITING = 200
at_once = threading.BoundedSemaphore(settings.TRACES_AT_ONCE)


class Overload(Exception):
    """Too many traces wait already; the message says so in one sentence."""


def start(user: Any, request: TraceRequest, posted: dict[str, Any]) -> TraceRun:
    """Trace a request: at once, or, where TRACES_AT_ONCE others are being traced in this process, by the queue.

    Raises: CannotTrace when its ends don't exist; Overload.
    """
    resolved = resolve(request, live())
    if not at_once.acquire(blocking=False):
        return _enqueue(user, request, posted)
    try:
        started_at = timezone.now()
        end, prediction = work_out(resolved)
        run = _create(
            user, request, posted, started_at=started_at, finished_at=timezone.now(), attempts=1, **end
        )
        if prediction is not None:
            currency.note(run, prediction)
        return run
    finally:
        at_once.release()


def _create(user: Any, request: TraceRequest, posted: dict[str, Any], **fields: Any) -> TraceRun:
    with transaction.atomic():
        run = TraceRun.objects.create(
            user=user,
            request=posted,
            source=request.source,
            target=request.target,
            proto=request.proto,
            **fields,
        )
        audit.record("trace.start", run, id=str(run.pk), request=posted)
    return run


def _enqueue(user: Any, request: TraceRequest, posted: dict[str, Any]) -> TraceRun:
    if waiting().count() >= MAX_WAITING:
        raise Overload(f"{MAX_WAITING} traces are waiting already; try again in a few seconds")
    run = _create(user, request, posted, sent_at=Now())
    try:
        tasks.send(run.pk, recent_revisions() if settings.REDIS_URL else {})
    except Exception as err:
        log.warning("cannot queue trace %d: %s", run.pk, err)
        # Refused, unless a worker has it already: then the answer is that it runs.
        refused = TraceRun.objects.filter(pk=run.pk, status=Status.QUEUED).update(
            status=Status.FAILED, finished_at=Now(), error="the task queue cannot be reached"
        )
        if refused:
            raise Overload("the task queue cannot be reached; try again in a moment") from err
    return run

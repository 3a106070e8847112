"""A trace's life: accepted, run, kept. `claims.py` says who runs it, `tending.py` that none is forgotten."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from netviz.inventory import audit
from netviz.parts import AWAY
from netviz.tracing.claims import Claim, Status, take
from netviz.tracing.models import TraceRun
from netviz.tracing.notify import announce
from netviz.tracing.packed import pack
from netviz.tracing.predict import CannotTrace, Resolved, catch_up, predict, recent_revisions, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.tending import waiting

log = logging.getLogger("netviz.tracing")

MAX_WAITING = 200
at_once = threading.BoundedSemaphore(settings.TRACES_AT_ONCE)
FAILED_INSIDE = "the simulator failed; the server's log has the details"


class Overload(Exception):
    """Too many traces wait already; the message says so in one sentence."""


def start(user: Any, request: TraceRequest, posted: dict[str, Any]) -> TraceRun:
    """Trace a request: at once, or, where TRACES_AT_ONCE others are being traced in this process, by the queue.

    Raises: CannotTrace when its ends don't exist; Overload.
    """
    resolved = resolve(request)
    if not at_once.acquire(blocking=False):
        return _enqueue(user, request, posted)
    try:
        started_at = timezone.now()
        end = _predict(resolved)
        return _create(
            user, request, posted, started_at=started_at, finished_at=timezone.now(), attempts=1, **end
        )
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
    from netviz.tracing.tasks import send

    if waiting().count() >= MAX_WAITING:
        raise Overload(f"{MAX_WAITING} traces are waiting already; try again in a few seconds")
    run = _create(user, request, posted, sent_at=Now())
    try:
        send(run.pk, recent_revisions() if settings.REDIS_URL else {})
    except Exception as err:
        log.warning("cannot queue trace %d: %s", run.pk, err)
        # Refused, unless a worker has it already: then the answer is that it runs.
        refused = TraceRun.objects.filter(pk=run.pk, status=Status.QUEUED).update(
            status=Status.FAILED, finished_at=Now(), error="the task queue cannot be reached"
        )
        if refused:
            raise Overload("the task queue cannot be reached; try again in a moment") from err
    return run


def execute(trace_id: int, at_least: Mapping[str, int]) -> None:
    """Run a queued trace; do nothing when it isn't queued any more.

    A worker elsewhere hears of changes a little later than the server that the trace was asked from:
    `at_least` are the revisions that it is to know first.
    """
    claim = take(trace_id)
    if claim is None:
        return
    announce(trace_id)
    with claim:
        written = _run(claim, trace_id, at_least)
    if written:
        announce(trace_id)
    else:
        log.warning("trace %d was ended or taken over meanwhile: this result is not kept", trace_id)


def _run(claim: Claim, trace_id: int, at_least: Mapping[str, int]) -> bool:
    """Work a claimed run out; False when the claim was lost meanwhile."""
    try:
        if not catch_up(at_least):
            log.warning("trace %d reads states that are older than when it was asked for", trace_id)
        resolved = resolve(request_of(TraceRun.objects.get(pk=trace_id)))
    except CannotTrace as err:
        return claim.finish(status=Status.FAILED, error=str(err))
    except AWAY as err:
        log.warning("trace %d is queued again: %s", trace_id, err)
        return claim.give_back()
    except Exception:
        log.exception("trace %d failed", trace_id)
        return claim.finish(status=Status.FAILED, error=FAILED_INSIDE)
    return claim.finish(**_predict(resolved))


def _predict(resolved: Resolved) -> dict[str, Any]:
    """How a run ends: the fields to write."""
    try:
        result = predict(resolved)
    except Exception:
        log.exception("a trace failed")
        return {"status": Status.FAILED, "error": FAILED_INSIDE}
    packed = pack(result)
    return {
        "status": Status.DONE,
        "packed": packed,
        "packed_bytes": len(packed),
        "disposition": result["disposition"],
        "inputs": {entry["node"]: entry["revision"] for entry in result["state"]},
    }


def request_of(run: TraceRun) -> TraceRequest:
    """Read a kept request back."""
    return msgspec.convert(run.request, TraceRequest)

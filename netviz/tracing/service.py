"""A trace's life: queued, run, kept, and thrown away when it is old.

Each step is a conditional update, so a task that is delivered twice runs once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from netviz.ingest.store import get_store
from netviz.inventory.models import Collector
from netviz.tracing.models import TraceRun
from netviz.tracing.notify import announce
from netviz.tracing.predict import CannotTrace, catch_up, check, predict, recent_revisions
from netviz.tracing.request import TraceRequest

log = logging.getLogger("netviz.tracing")

MAX_WAITING = 200
STUCK_AFTER = timedelta(minutes=6)
KEEP_FOR = timedelta(days=30)
KEEP_RUNS = 20_000
SWEEP_EVERY_S = 60.0
# After a restart a collector connects again within 10 s, and sends its whole state.
COLLECTORS_RETURN_S = 30.0
HEARD_LATELY = timedelta(minutes=1)
LOOK_EVERY_S = 0.1

Status = TraceRun.Status
_last_sweep_s = 0.0


class Overload(Exception):
    """Too many traces wait already; the message says so in one sentence."""


def waiting() -> QuerySet[TraceRun]:
    """The runs that aren't at their end."""
    return TraceRun.objects.filter(status__in=(Status.QUEUED, Status.RUNNING))


def enqueue(user: Any, request: TraceRequest, posted: dict[str, Any]) -> TraceRun:
    """Queue a trace. Raises: CannotTrace when its ends don't exist; Overload."""
    from netviz.tracing.tasks import run_trace

    check(request)
    sweep_now_and_then()
    if waiting().count() >= MAX_WAITING:
        raise Overload(f"{MAX_WAITING} traces are waiting already; try again in a few seconds")
    run = TraceRun.objects.create(
        user=user, request=posted, source=request.source, target=request.target, proto=request.proto
    )
    try:
        run_trace.delay(run.pk, recent_revisions() if settings.REDIS_URL else {})
    except Exception as err:
        _finish(run.pk, status=Status.FAILED, error="the task queue cannot be reached")
        log.exception("cannot queue trace %d", run.pk)
        raise Overload("the task queue cannot be reached; try again in a moment") from err
    return run


def execute(trace_id: int, at_least: Mapping[str, int]) -> None:
    """Run a queued trace; do nothing when it isn't queued any more.

    A worker elsewhere hears of changes a little later than the server that the trace was asked from:
    `at_least` are the revisions that it is to know first.
    """
    started = TraceRun.objects.filter(pk=trace_id, status=Status.QUEUED).update(
        status=Status.RUNNING, started_at=timezone.now()
    )
    if not started:
        return
    announce(trace_id)
    run = TraceRun.objects.get(pk=trace_id)
    try:
        if not catch_up(at_least):
            log.warning("trace %d reads states that are older than when it was asked for", trace_id)
        result = predict(request_of(run))
    except CannotTrace as err:
        _finish(trace_id, status=Status.FAILED, error=str(err))
    except Exception:
        log.exception("trace %d failed", trace_id)
        _finish(
            trace_id, status=Status.FAILED, error="the simulator failed; the server's log has the details"
        )
    else:
        _finish(
            trace_id,
            status=Status.DONE,
            result=result,
            disposition=result["disposition"],
            inputs={entry["node"]: entry["revision"] for entry in result["state"]},
        )


def request_of(run: TraceRun) -> TraceRequest:
    """Read a kept request back."""
    return msgspec.convert(run.request, TraceRequest)


def _finish(trace_id: int, **fields: Any) -> None:
    TraceRun.objects.filter(pk=trace_id).update(finished_at=timezone.now(), **fields)
    announce(trace_id)


def sweep() -> tuple[int, int]:
    """End the runs that hang, and delete the old ones; return how many of each."""
    now = timezone.now()
    hanging = waiting().filter(created_at__lt=now - STUCK_AFTER)
    ended = hanging.update(
        status=Status.FAILED, finished_at=now, error="nobody finished this trace; a worker may have died"
    )
    deleted, _ = TraceRun.objects.filter(created_at__lt=now - KEEP_FOR).delete()
    newest = TraceRun.objects.order_by("-pk").values_list("pk", flat=True)[KEEP_RUNS : KEEP_RUNS + 1]
    for pk in newest:
        deleted += TraceRun.objects.filter(pk__lte=pk).delete()[0]
    return ended, deleted


def sweep_now_and_then() -> None:
    """Sweep, at most once a minute in each process."""
    global _last_sweep_s
    now_s = time.monotonic()
    if now_s - _last_sweep_s > SWEEP_EVERY_S or _last_sweep_s == 0.0:
        _last_sweep_s = now_s
        sweep()


class Recovery:
    """At the server's start, where its worker is in the same process: finish what an earlier one left."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Queue again what was queued or running when the server ended, once the collectors are back."""
        if settings.REDIS_URL:
            return
        self._stop.clear()
        waiting().update(status=Status.QUEUED, started_at=None)
        left = list(waiting().order_by("pk").values_list("pk", flat=True))
        expected = _nodes_heard_of_lately() if left else set()
        if left:
            self._thread = threading.Thread(
                target=self._recover, args=(left, expected), name="trace-recovery", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the waiting; what wasn't queued again is left to the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _recover(self, left: list[int], expected: set[str]) -> None:
        """Wait, within reason, for the nodes that were known, then queue the runs.

        The live state begins empty: a trace that runs before the nodes are back knows nothing of them.
        """
        from netviz.tracing.tasks import run_trace

        deadline_s = time.monotonic() + COLLECTORS_RETURN_S
        while not _known(expected) and time.monotonic() < deadline_s:
            if self._stop.wait(LOOK_EVERY_S):
                return
        for pk in left:
            try:
                run_trace.delay(pk)
            except Exception:
                log.exception("cannot queue trace %d again", pk)


def _known(expected: set[str]) -> bool:
    nodes = get_store().cluster().nodes
    return bool(nodes) and expected <= nodes.keys()


def _nodes_heard_of_lately() -> set[str]:
    """The nodes whose collectors may connect and spoke shortly before the server ended."""
    approved = Collector.objects.filter(status=Collector.Status.APPROVED, last_seen_at__isnull=False)
    seen = dict(approved.order_by("last_seen_at").values_list("node__name", "last_seen_at"))
    newest = max(seen.values(), default=timezone.now())
    return {node for node, seen_at in seen.items() if seen_at > newest - HEARD_LATELY}

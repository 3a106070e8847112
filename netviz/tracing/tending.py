"""The tender: a thread of every server and every worker that lets no accepted trace be forgotten.

A task is only a word to the workers that a run waits; the database says which runs there are. So
whoever lives looks, every second or two, for runs whose worker has died (their lease has lapsed) and
queues them again, ends what nobody can finish, and sends the task of what waits once more: the first
one may have been lost with Redis or with a worker. A task that comes twice finds nothing to claim.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from celery.signals import worker_ready, worker_shutdown
from django.conf import settings
from django.db import connection
from django.db.models import F, Q, Sum, Window
from django.db.models.functions import Now

from netviz.ingest.live_store import get_store
from netviz.inventory.models import Collector
from netviz.lease import change_each, lapsed
from netviz.parts import AWAY
from netviz.tracing import tasks
from netviz.tracing.claims import MAX_ATTEMPTS, UNFINISHED, Status
from netviz.tracing.models import TraceRun
from netviz.tracing.notify import announce

log = logging.getLogger("netviz.tracing")

TEND_EVERY_S = 1.0
SEND_AGAIN_AFTER = timedelta(seconds=10)
WAITS_AT_MOST = timedelta(minutes=6)
KEEP_FOR = timedelta(days=30)
KEEP_RUNS = 20_000
DELETE_EVERY_S = 60.0
# After a restart a collector connects again within 10 s, and sends its whole state.
COLLECTORS_RETURN_S = 30.0
HEARD_LATELY = timedelta(minutes=1)
LOOK_EVERY_S = 0.1

NOT_TAKEN = (
    "no worker took this trace within 6 minutes; see that a worker runs (GET /healthz says so), "
    "then trace again"
)
LOST = (
    "the worker that ran this trace ended before the trace did; see why in its log (killed, or out of "
    "memory?), then trace again"
)


def tend() -> int:
    """Queue again what lost its worker, end what hangs, send what waits; return how many runs were ended."""
    late = Q(created_at__lt=Now() - WAITS_AT_MOST)
    lost = TraceRun.objects.filter(lapsed(), status=Status.RUNNING)
    again = change_each(
        lost.filter(~late, attempts__lt=MAX_ATTEMPTS), announce, status=Status.QUEUED, sent_at=None
    )
    if again:
        log.warning("%d traces lost their worker and are queued again", again)
    ended = change_each(lost, announce, status=Status.FAILED, finished_at=Now(), lease_until=None, error=LOST)
    forgotten = TraceRun.objects.filter(late, status=Status.QUEUED)
    ended += change_each(forgotten, announce, status=Status.FAILED, finished_at=Now(), error=NOT_TAKEN)
    if ended:
        log.error("%d traces could not be finished", ended)
    _send_waiting()
    return ended


def _send_waiting() -> None:
    """Send the tasks of queued runs for which none was sent lately, the oldest first."""
    unsent = Q(sent_at=None) | Q(sent_at__lt=Now() - SEND_AGAIN_AFTER)
    due = TraceRun.objects.filter(unsent, status=Status.QUEUED).order_by("pk")
    for pk in due.values_list("pk", flat=True):
        if due.filter(pk=pk).update(sent_at=Now()):
            tasks.send(pk)


def delete_old() -> int:
    """Delete what is older than KEEP_FOR, and all but the newest KEEP_RUNS and TRACES_MAX_BYTES; return how many."""
    deleted, _ = TraceRun.objects.filter(created_at__lt=Now() - KEEP_FOR).delete()
    for pk in (_first_beyond_runs(), _first_beyond_bytes()):
        if pk is not None:
            deleted += TraceRun.objects.filter(pk__lte=pk).exclude(status__in=UNFINISHED).delete()[0]
    return deleted


def _first_beyond_runs() -> int | None:
    """The newest run that is one too many."""
    return TraceRun.objects.order_by("-pk").values_list("pk", flat=True)[KEEP_RUNS : KEEP_RUNS + 1].first()


def _first_beyond_bytes() -> int | None:
    """The newest run that with all that are newer takes more than TRACES_MAX_BYTES."""
    total = TraceRun.objects.aggregate(total=Sum("packed_bytes"))["total"] or 0
    if total <= settings.TRACES_MAX_BYTES:
        return None
    newer = Window(Sum("packed_bytes"), order_by=F("pk").desc())
    sums = TraceRun.objects.annotate(newer=newer).order_by("-pk").values_list("pk", "newer")
    return next(pk for pk, bytes_ in sums.iterator() if bytes_ > settings.TRACES_MAX_BYTES)


class Tender:
    """The thread."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False
        self.awaits_collectors = False

    def start(self) -> None:
        """Begin; where the live state is this process's own, once the collectors are back."""
        self._stop.clear()
        expected = set() if settings.REDIS_URL else _nodes_heard_of_lately()
        self.awaits_collectors = bool(expected)
        self._thread = threading.Thread(target=self._run, args=(expected,), name="trace-tender", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what waits is left to the others, or to the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.awaits_collectors = False

    def _run(self, expected: set[str]) -> None:
        self._await(expected)
        self.awaits_collectors = False
        deleted_s = time.monotonic()
        while not self._stop.wait(TEND_EVERY_S):
            try:
                tend()
                if time.monotonic() - deleted_s > DELETE_EVERY_S:
                    deleted_s = time.monotonic()
                    delete_old()
                self._failing = False
            except AWAY as err:
                if not self._failing:
                    log.error("cannot look after the traces, trying until it works: %s", err)
                self._failing = True
            except Exception:
                log.exception("looking after the traces failed, and goes on")
            finally:
                connection.close()

    def _await(self, expected: set[str]) -> None:
        """Wait, within reason, for the nodes that were known.

        The live state begins empty: a trace that runs before the nodes are back knows nothing of them.
        """
        deadline_s = time.monotonic() + COLLECTORS_RETURN_S
        while not expected <= get_store().cluster().nodes.keys() and time.monotonic() < deadline_s:
            if self._stop.wait(LOOK_EVERY_S):
                return


def _nodes_heard_of_lately() -> set[str]:
    """The nodes whose collectors may connect and spoke shortly before the server ended."""
    approved = Collector.objects.filter(
        status=Collector.Status.APPROVED, last_seen_at__isnull=False, node__isnull=False
    )
    seen = approved.order_by("last_seen_at").values_list("node__name", "last_seen_at")
    latest = {node: seen_at for node, seen_at in seen if seen_at is not None}
    if not latest:
        return set()
    newest = max(latest.values())
    return {node for node, seen_at in latest.items() if seen_at > newest - HEARD_LATELY}


tender = Tender()


@worker_ready.connect
def _begin_to_tend(**signal: Any) -> None:
    """A worker of its own process tends the traces, too."""
    tender.start()


@worker_shutdown.connect
def _end_to_tend(**signal: Any) -> None:
    tender.stop()

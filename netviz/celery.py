"""Celery: traces and other long work.

With Redis configured, any number of workers (`celery -A netviz worker`) take tasks from it. Without,
one worker runs as a thread inside the server process and takes them from memory.
"""

from __future__ import annotations

import logging
import os
import threading

from celery import Celery
from celery.signals import celeryd_init
from celery.worker import WorkController, state
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
log = logging.getLogger("netviz.celery")

app = Celery("netviz")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def _needs_redis(**_: object) -> None:
    """End a worker process that nothing could ever give a task."""
    if not settings.REDIS_URL:
        raise SystemExit(
            "a worker needs NETVIZ_REDIS_URL, the same as the servers; "
            "without Redis the server runs its worker itself"
        )


class InProcessWorker:
    """A Celery worker in a thread of this process; with Redis configured it does nothing."""

    def __init__(self, concurrency: int = 2) -> None:
        self._concurrency = concurrency
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start taking tasks."""
        if settings.REDIS_URL:
            return
        worker: WorkController = app.WorkController(
            pool="threads",
            concurrency=self._concurrency,
            hostname="in-process@netviz",
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
            loglevel="WARNING",
        )
        state.should_stop = None
        self._thread = threading.Thread(target=worker.start, name="celery-worker", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes tasks."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the running tasks and end; tasks that take longer are abandoned."""
        if self._thread is None:
            return
        state.should_stop = os.EX_OK  # type: ignore[assignment]  # annotated as never anything but None
        # It looks up from its queue when a message comes, or every 2 s; and once more before it ends.
        for _ in range(2):
            app.control.broadcast("ping")
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("the in-process worker did not end in %.0f s", timeout_s)
        self._thread = None
        state.should_stop = None


in_process_worker = InProcessWorker()

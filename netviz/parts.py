"""What netviz needs besides itself: the database, and Redis where it is set; and whether they answer.

A thread for each asks it every second. So the server knows without trying, `/healthz` can say it,
and a part that neither answers nor refuses (a stopped process, a network that swallows packets) counts
as away too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import redis
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError, connection
from kombu.exceptions import OperationalError as QueueError

log = logging.getLogger("netviz.parts")

# Gone, locked, full or read-only: it may work again in a while, and nothing is wrong with the request.
# (PostgreSQL calls a write to a read-only database an internal error.)
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)
REDIS_AWAY = (redis.RedisError, QueueError)
AWAY = (*DATABASE_AWAY, *REDIS_AWAY)
RETRY_AFTER_S = 5
ASK_EVERY_S = 1.0
PATIENCE_S = 3.0
STOP_S = 2.0


class Part:
    """One part. `probe` raises when it doesn't answer."""

    def __init__(self, name: str, probe: Callable[[], None]) -> None:
        self.name = name
        self._probe = probe
        self._failed = False
        self._asked_s: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def watched(self) -> bool:
        """Somebody asks it every second; otherwise it is asked when somebody wants to know."""
        return self._thread is not None

    @property
    def away(self) -> bool:
        """It refused when it was asked last, or has left a question unanswered for PATIENCE_S."""
        if not self.watched:
            self._look()
        asked_s = self._asked_s
        return self._failed or (asked_s is not None and time.monotonic() - asked_s > PATIENCE_S)

    def start(self) -> None:
        """Begin to ask."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=f"asks-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a question that is still open isn't waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            self._thread = None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
                self._stop.wait(ASK_EVERY_S)
        finally:
            connection.close()

    def _look(self) -> None:
        self._asked_s = time.monotonic()
        try:
            self._probe()
        except AWAY as err:
            if not self._failed:
                log.error("%s does not answer: %s", self.name, err)
            self._failed = True
        else:
            if self._failed:
                log.warning("%s answers again", self.name)
            self._failed = False
        finally:
            self._asked_s = None


def _ask_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DATABASE_AWAY:
        connection.close()
        raise


def _ask_redis() -> None:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
        client.ping()


class Parts:
    """All of them: a service of the server."""

    def __init__(self) -> None:
        self.database = Part("the database", _ask_database)
        self.redis = Part("Redis", _ask_redis)

    def needed(self) -> list[Part]:
        """The parts that these settings need."""
        return [self.database, self.redis] if settings.REDIS_URL else [self.database]

    def away(self) -> str | None:
        """Name a part that is away, if one is; None also while nobody watches."""
        return next((part.name for part in self.needed() if part.watched and part.away), None)

    def start(self) -> None:
        """Begin to ask."""
        for part in self.needed():
            part.start()

    def stop(self) -> None:
        """End."""
        for part in self.needed():
            part.stop()


def part_of(err: BaseException | None) -> str | None:
    """Name the part that an error says is away."""
    if isinstance(err, DATABASE_AWAY):
        return parts.database.name
    return parts.redis.name if isinstance(err, REDIS_AWAY) else None


class WithoutTraceback(logging.Filter):
    """One line is enough for a request that met a part that is away, or that nothing is to be done with."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, some of them shorter."""
        if record.exc_info and isinstance(record.exc_info[1], (*AWAY, SuspiciousOperation)):
            record.msg, record.args = f"{record.getMessage()} ({record.exc_info[1]})", ()
            record.exc_info = None
        return True


parts = Parts()

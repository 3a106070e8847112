"""The server's side of the checking process: it is started, told of the live state, missed, and started again."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import uuid

from django.conf import settings
from django.db import connection

from netviz.ingest.live_store import get_store
from netviz.parts import AWAY
from netviz.problems import leadership
from netviz.problems.feeding import Feeder
from netviz.problems.pipe import Pipe

log = logging.getLogger("netviz.problems")

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
# A process that lived so long didn't die of how it was started.
STEADY_S = 60.0
END_S = 5.0


class _Child:
    """One checking process."""

    def __init__(self) -> None:
        self.me = uuid.uuid4().hex
        ours, its = socket.socketpair()
        with its:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "judge", "--fd", str(its.fileno()), "--me", self.me],
                cwd=settings.BASE_DIR,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "netviz.settings"},
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        self._pipe = Pipe(ours)
        # With Redis it reads the live state there.
        self._feeder = None if settings.REDIS_URL else Feeder(get_store(), self._pipe)

    def end(self) -> None:
        """Close the pipe, which ends it, and wait for that; it has END_S."""
        self._pipe.close()
        if self._feeder is not None:
            self._feeder.stop()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Overseer:
    """A service of the server: a thread that always has one checking process."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._child: _Child | None = None
        self.deaths = 0

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        child = self._child
        return child.process.pid if child is not None else None

    def start(self) -> None:
        """Begin. Without Redis there is one server: a lease that stands is of one that is dead."""
        self._stop.clear()
        if not settings.REDIS_URL:
            leadership.release()
        self._thread = threading.Thread(target=self._run, name="checks-overseer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process, and wait for that."""
        self._stop.set()
        if (child := self._child) is not None:
            child.end()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                self._live()
            except Exception:
                log.exception("the checking process cannot be started")
            if self._stop.is_set():
                return
            retry_s = (
                FIRST_RETRY_S if time.monotonic() - began_s > STEADY_S else min(retry_s * 2, LONGEST_RETRY_S)
            )
            self._stop.wait(retry_s)

    def _live(self) -> None:
        """Start a process and wait for its end."""
        child = self._child = _Child()
        if self._stop.is_set():
            child.end()
        status = child.process.wait()
        self._child = None
        child.end()
        if not self._stop.is_set():
            self.deaths += 1
            log.error("the checking process has ended (status %d) and is started again", status)
        try:
            leadership.release(child.me)
        except AWAY as err:
            log.warning("its lease lapses by itself: %s", err)
        finally:
            connection.close()


overseer = Overseer()

"""What is wrong now, as this process last read it: what pages, metrics and whoever asks are shown without waiting.

A thread reads how the checking is, four times a second: one row by its key. When that row's version says that
something changed of the problems, it reads these too. Nothing here is ever waited for, and a process that judges, a
database that is away or a mute that ends is noticed by looking.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone

from netviz.parts import AWAY
from netviz.problems.models import MUTED, OPEN, Checking
from netviz.problems.shown import checking_json, checking_row, current, problem_json, worst_first

log = logging.getLogger("netviz.problems")

READ_EVERY_S = 0.25
# More than these are counted, not shown: nobody reads them, and every page would be sent them.
MOST_SHOWN = 500
AWAY_WORDS = "the database does not answer"


class Board(msgspec.Struct, frozen=True):
    """The problems that aren't over, by id, the worst first, and how the checking is. Both are as JSON shows them."""

    problems: Mapping[str, dict[str, Any]]
    checking: dict[str, Any]

    def now(self) -> list[dict[str, Any]]:
        """The problems that the last judged state has, without those that are muted."""
        return [one for one in self.problems.values() if stands(one)]


def stands(problem: Mapping[str, Any]) -> bool:
    """Tell whether a problem is to be seen on its place: it is found now, and isn't muted."""
    return problem["gone"] is None and problem["state"] != MUTED


def counted(rows: list[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The problems to show, by id, and how many there are of which sort."""
    ordered = worst_first(rows)
    shown = {one["id"]: one for one in ordered[:MOST_SHOWN]}
    open_now = [one for one in ordered if stands(one) and one["state"] == OPEN]
    counts = {
        "open": len(open_now),
        "errors": sum(one["severity"] == "error" for one in open_now),
        "breaking": sum(one["harm"] == "breaks traffic" for one in open_now),
        "aside": sum(one["gone"] is None and one["state"] != OPEN for one in ordered),
        "left_off": len(ordered) - len(shown),
    }
    return shown, counts


def board_of(rows: list[dict[str, Any]], checking: dict[str, Any]) -> Board:
    """Make a board of problems and the checking, as JSON shows them."""
    shown, counts = counted(rows)
    return Board(shown, {"id": "checking", **checking, "counts": counts})


NOBODY = board_of([], checking_json(None, timezone.now()))


class Reader:
    """A service of the server: the thread that keeps this process's board up to date."""

    def __init__(self) -> None:
        self.board = NOBODY
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[], None]] = []
        self._version: int | None = None
        self._counted = counted([])
        self._mute_ends_at: datetime | None = None
        self._failing = False

    def start(self) -> None:
        """Read once, and begin."""
        self._stop.clear()
        self._version = None
        self.look()
        self._thread = threading.Thread(target=self._run, name="problems-reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is known from then on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.board = NOBODY

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change, in the thread; returns how to end that."""
        self._listeners = [*self._listeners, listener]

        def leave() -> None:
            self._listeners = [known for known in self._listeners if known is not listener]

        return leave

    def look(self) -> None:
        """Read what there is now."""
        try:
            board = self._read()
            self._failing = False
        except AWAY as err:
            if not self._failing:
                log.error("cannot read the problems, trying until it works: %s", err)
            self._failing = True
            checking = {**self.board.checking, "state": "stopped", "since": None, "error": AWAY_WORDS}
            board = Board(self.board.problems, checking)
        if board != self.board:
            self.board = board
            for listener in self._listeners:
                listener()

    def _read(self) -> Board:
        now, row = timezone.now(), checking_row()
        ended = self._mute_ends_at is not None and self._mute_ends_at <= now
        if _version(row) != self._version or ended:
            # The row first: what changes between the two is read again.
            rows = [problem_json(one, now) for one in current()]
            self._counted = counted(rows)
            ends = [one["muted"]["until"] for one in rows if one["muted"] is not None]
            self._mute_ends_at = min(map(datetime.fromisoformat, ends), default=None)
            self._version = _version(row)
        checking = checking_json(row, now)
        # When a state was judged is news only in the answer to who asks: here it says that it is current.
        # So is each pair that is audited: pages are told hundreds.
        checking["checks"] = [
            {**check, "at": None, "audited": _roughly(check.get("audited", 0))}
            for check in checking["checks"]
        ]
        shown, counts = self._counted
        return Board(shown, {"id": "checking", **checking, "counts": counts})

    def _run(self) -> None:
        try:
            while not self._stop.wait(READ_EVERY_S):
                try:
                    self.look()
                    connection.close_if_unusable_or_obsolete()
                except Exception:
                    log.exception("reading the problems failed, and goes on")
        finally:
            connection.close()


def _roughly(count: int) -> int:
    return count if count < 100 else count // 100 * 100


def _version(row: Checking | None) -> int:
    return -1 if row is None else row.version


reader = Reader()

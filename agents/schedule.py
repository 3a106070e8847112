"""When to read which section of which namespace again, and when to look at all. Pure: time is passed in.

A mark makes a section due; marks in the meantime change nothing but to make it due earlier. A section
that was just read is not read again before ten times the CPU that its reading took, so that a dear one (a
table of 10,000 routes) never takes more than a tenth of a core however fast it changes; a mere
check (`settle`) leaves it a hundred times as long.

What goes by the clock goes at whole multiples of its period (`until_tick`): a processor that was woken for one thing
does the others too, and sleeps in between.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)

DIRTY_DELAY_S = 0.01
DIRTY_COST_FACTOR = 10
SETTLE_DELAY_S = 1.0
SETTLE_COST_FACTOR = 100


TICK_SLACK_S = 0.002


def until_tick(now: float, period_s: float) -> float:
    """Return how long it is to the next whole multiple of a period, so that everybody's ticks fall together."""
    return period_s - (now + TICK_SLACK_S) % period_s + TICK_SLACK_S


class _Last(msgspec.Struct):
    ended: float
    cost: float


class Schedule(Generic[K]):
    """Sections due, by namespace (`K`).

    `_queue` is a heap of (due, serial, namespace). What it holds may be out of date: an entry counts only
    as far as sections of its namespace are due when it comes up.
    """

    def __init__(self) -> None:
        self._due: dict[K, dict[str, float]] = {}
        self._queue: list[tuple[float, int, K]] = []
        self._serial = count()
        self._last: dict[K, dict[str, _Last]] = {}

    def mark(self, key: K, section: str, now: float, *, settle: bool = False, at_once: bool = False) -> float:
        """Make a section due: at once, soon, or (`settle`) when a check will do. Returns when it is due."""
        if at_once:
            due = now
        else:
            delay, factor = (
                (SETTLE_DELAY_S, SETTLE_COST_FACTOR) if settle else (DIRTY_DELAY_S, DIRTY_COST_FACTOR)
            )
            due = now + delay
            last = self._last.get(key, {}).get(section)
            if last is not None:
                due = max(due, last.ended + factor * last.cost)
        sections = self._due.setdefault(key, {})
        before = sections.get(section)
        if before is not None and before <= due:
            return before
        sections[section] = due
        heappush(self._queue, (due, next(self._serial), key))
        return due

    def next_due(self) -> float | None:
        """Return when to look for a due section again, None for never."""
        while self._queue and self._queue[0][2] not in self._due:
            heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def pop(self, now: float) -> tuple[K, tuple[str, ...]] | None:
        """Take the namespace that has waited longest, with all of its sections that are due."""
        while self._queue and self._queue[0][0] <= now:
            _, _, key = heappop(self._queue)
            sections = self._due.get(key, {})
            due = tuple(name for name, at in sections.items() if at <= now)
            if due:
                for name in due:
                    del sections[name]
                if not sections:
                    del self._due[key]
                return key, due
        return None

    def done(self, key: K, sections: tuple[str, ...], ended: float, cost_s: float) -> None:
        """Note when a reading ended and its CPU time; of several sections together, each bears its share."""
        last = self._last.setdefault(key, {})
        for name in sections:
            last[name] = _Last(ended, cost_s / len(sections))

    def cost(self, key: K) -> float:
        """Return what reading everything of a namespace took when it was last read."""
        return sum(last.cost for last in self._last.get(key, {}).values())

    def settled_every_s(self, section: str) -> float:
        """Return how long a section waits from one mere check (`settle`) to the next where that takes longest."""
        costs = [last[section].cost for last in self._last.values() if section in last]
        return SETTLE_COST_FACTOR * max(costs, default=0.0)

    def forget(self, key: K) -> None:
        """Drop a namespace."""
        self._due.pop(key, None)
        self._last.pop(key, None)

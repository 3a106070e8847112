"""When to read which section of which namespace again. Pure: time is passed in.

A mark makes a section due; marks in the meantime change nothing but to make it due earlier. A section
that was just read is not read again before ten times the CPU that its reading took, so that a dear one (a
table of 10,000 routes) never takes more than a tenth of a core however fast it changes; a mere
check (`settle`) leaves it a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)

DIRTY_DELAY_S = 0.01
DIRTY_COST_FACTOR = 10
SETTLE_DELAY_S = 1.0
SETTLE_COST_FACTOR = 100


class _Last(msgspec.Struct):
    ended: float
    cost: float


class Schedule(Generic[K]):
    """Sections due, by namespace (`K`)."""

    def __init__(self) -> None:
        self._due: dict[K, dict[str, float]] = {}
        self._last: dict[tuple[K, str], _Last] = {}

    def mark(self, key: K, section: str, now: float, *, settle: bool = False, at_once: bool = False) -> float:
        """Make a section due: at once, soon, or (`settle`) when a check will do. Returns when it is due."""
        if at_once:
            due = now
        else:
            delay, factor = (
                (SETTLE_DELAY_S, SETTLE_COST_FACTOR) if settle else (DIRTY_DELAY_S, DIRTY_COST_FACTOR)
            )
            due = now + delay
            last = self._last.get((key, section))
            if last is not None:
                due = max(due, last.ended + factor * last.cost)
        sections = self._due.setdefault(key, {})
        sections[section] = due = min(due, sections.get(section, due))
        return due

    def next_due(self) -> float | None:
        """Return when the next section is due, None for never."""
        return min((min(sections.values()) for sections in self._due.values()), default=None)

    def pop(self, now: float) -> tuple[K, tuple[str, ...]] | None:
        """Take the namespace that has waited longest, with all of its sections that are due."""
        ready = [(min(s.values()), i, key) for i, (key, s) in enumerate(self._due.items())]
        first = min(ready, default=None)
        if first is None or first[0] > now:
            return None
        key = first[2]
        sections = self._due[key]
        due = tuple(name for name, at in sections.items() if at <= now)
        for name in due:
            del sections[name]
        if not sections:
            del self._due[key]
        return key, due

    def done(self, key: K, sections: tuple[str, ...], ended: float, cost_s: float) -> None:
        """Note when a reading ended and its CPU time; of several sections together, each bears its share."""
        for name in sections:
            self._last[key, name] = _Last(ended, cost_s / len(sections))

    def cost(self, key: K) -> float:
        """Return what reading everything of a namespace took when it was last read."""
        return sum(last.cost for (known, _), last in self._last.items() if known == key)

    def forget(self, key: K) -> None:
        """Drop a namespace."""
        self._due.pop(key, None)
        for known in [k for k in self._last if k[0] == key]:
            del self._last[known]

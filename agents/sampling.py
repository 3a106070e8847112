"""What somebody watches, read as often as was asked for.

While nobody watches there is no timer, and so nothing to wake up for. What is asked for never makes a reading rarer
than it is by itself, and the schedule bounds what it may cost (`agents.schedule`), however often that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from netviz.core.model.ids import NetnsKey
from netviz.core.wire.messages import Watched

MIN_EVERY_S = 1.0

# A section of a namespace, or (None) of every one.
Target = tuple[NetnsKey | None, str]


class Sampling:
    """Calls `read(netns, section)` for what is watched, on the event loop: at once, then at its interval."""

    def __init__(self, read: Callable[[NetnsKey | None, str], None]) -> None:
        self._read = read
        self._every_s: dict[Target, float] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def watch(self, watched: Iterable[Watched]) -> None:
        """Watch this from now on, and nothing else."""
        before, self._every_s = self._every_s, {}
        for one in watched:
            for section in one.sections:
                target, every_s = (one.netns, section), max(one.every_s, MIN_EVERY_S)
                self._every_s[target] = min(self._every_s.get(target, every_s), every_s)
        for target, every_s in self._every_s.items():
            if target not in before:
                self._read(*target)
            if every_s not in self._timers:
                self._set_timer(every_s)
        for every_s in self._timers.keys() - set(self._every_s.values()):
            self._timers.pop(every_s).cancel()

    def every_s(self, section: str) -> float | None:
        """How often a section of every namespace is read for those who watch, None when nobody does."""
        return self._every_s.get((None, section))

    def _set_timer(self, every_s: float) -> None:
        self._timers[every_s] = asyncio.get_running_loop().call_later(every_s, self._tick, every_s)

    def _tick(self, every_s: float) -> None:
        self._set_timer(every_s)
        for target, its in self._every_s.items():
            if its == every_s:
                self._read(*target)

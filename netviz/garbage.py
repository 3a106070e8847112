"""The search for garbage in a process that holds the state of a whole cluster.

A full search goes through all that is held: with 5,000 nodes that takes half a second, in which nothing else happens, and
nearly all of it is states, which make no circles and are let go as soon as nobody holds them. So what a long search leaves is
set aside, and the next one goes through what came since. What is set aside and becomes garbage in circles (a connection
that ends) is found when all is taken back, every hour.
"""

from __future__ import annotations

import gc
import time
from typing import Any

LONG_S = 0.05
ALL_EVERY_S = 3600.0
_FULL = 2


class Garbage:
    """A part of a process: from its start to its end what long searches leave is set aside."""

    def __init__(self) -> None:
        self._all_at_s = 0.0
        self._began_s = 0.0

    def start(self) -> None:
        """Begin with what is here, which is kept to the end."""
        self._all_at_s = time.monotonic() + ALL_EVERY_S
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._searching)

    def stop(self) -> None:
        """End."""
        gc.callbacks.remove(self._searching)
        gc.unfreeze()

    def _searching(self, phase: str, info: dict[str, Any]) -> None:
        """Called before and after each search, in whichever thread it is. Times are of that thread's processor."""
        if info["generation"] < _FULL:
            return
        if phase == "start":
            self._began_s = time.thread_time()
            if time.monotonic() >= self._all_at_s:
                self._all_at_s = time.monotonic() + ALL_EVERY_S
                gc.unfreeze()
        elif time.thread_time() - self._began_s >= LONG_S:
            gc.freeze()


garbage = Garbage()

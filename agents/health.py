"""What a collector's process takes of its machine."""

from __future__ import annotations

import resource
import time

_PAGE_BYTES = resource.getpagesize()


class Meter:
    """Measures this process."""

    def __init__(self) -> None:
        self._at = (time.monotonic(), time.process_time())

    def measure(self) -> tuple[int, float]:
        """Return the resident memory in bytes, and the CPU taken since the last call as a share of one core."""
        now, cpu = time.monotonic(), time.process_time()
        (before, cpu_before), self._at = self._at, (now, cpu)
        with open("/proc/self/statm", "rb") as f:
            rss_pages = int(f.read().split()[1])
        return rss_pages * _PAGE_BYTES, (cpu - cpu_before) / max(now - before, 1e-9)

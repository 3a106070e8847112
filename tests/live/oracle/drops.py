"""Why the kernel dropped packets: skb:kfree_skb in a trace instance of our own.

A packet's way through the network happens while it is being sent, in the sender's own thread: the
events of that thread between the beginning of one send and the next are that packet's (and its answer's).
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
_EVENT = re.compile(r"\s(\d+)\.(\d{6}): kfree_skb: .* reason: (\w+)")


class Drops:
    """A trace instance that lives as long as this object is open. Without tracefs it sees nothing."""

    def __init__(self) -> None:
        self._path = TRACEFS / "instances" / f"nv-oracle-{os.getpid()}"
        self.available = False
        with suppress(OSError):
            self._path.mkdir()
            self._write("trace_clock", "mono")
            self._write("set_event_pid", str(threading.get_native_id()))
            self._write("events/skb/kfree_skb/enable", "1")
            self.available = True

    def _write(self, name: str, value: str) -> None:
        (self._path / name).write_text(value)

    def take(self) -> list[tuple[int, str]]:
        """Return the drops so far as (microseconds of the monotonic clock, reason), oldest first."""
        if not self.available:
            return []
        found = _EVENT.findall((self._path / "trace").read_text())
        return [(int(seconds) * 1_000_000 + int(micros), reason) for seconds, micros, reason in found]

    def close(self) -> None:
        """Remove the instance."""
        with suppress(OSError):
            self._write("events/skb/kfree_skb/enable", "0")
        with suppress(OSError):
            self._path.rmdir()

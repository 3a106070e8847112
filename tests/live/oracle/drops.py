"""Why the kernel dropped packets: skb:kfree_skb in a trace instance of our own.

A packet's way through the network happens while it is being sent, in the sender's own thread: the
events of that thread between the beginning of one send and the next are that packet's (and its answer's).
ARP has a protocol number of its own, so that a request that was dropped isn't taken for the packet.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from lab import syscalls

_IP_PROTOCOLS = (0x0800, 0x86DD)
_EVENT = re.compile(r"\s(\d+)\.(\d{6}): kfree_skb: .* protocol=(\d+) .* reason: (\w+)")


class Drops:
    """A trace instance that lives as long as this object is open. Where tracefs can't be had it sees nothing."""

    def __init__(self) -> None:
        self._tracefs = Path(tempfile.mkdtemp(prefix="nv-oracle-tracefs-"))
        self._instance = self._tracefs / "instances" / f"nv-oracle-{os.getpid()}-{threading.get_native_id()}"
        self.available = False
        with suppress(OSError):
            syscalls.mount("nodev", str(self._tracefs), "tracefs", 0)
            self._instance.mkdir()
            self._write("trace_clock", "mono")
            self._write("set_event_pid", str(threading.get_native_id()))
            self._write("events/skb/kfree_skb/enable", "1")
            self.available = True

    def _write(self, name: str, value: str) -> None:
        (self._instance / name).write_text(value)

    def take(self) -> list[tuple[int, str]]:
        """Return the drops of IP packets so far as (microseconds of the monotonic clock, reason), oldest first."""
        if not self.available:
            return []
        found = _EVENT.findall((self._instance / "trace").read_text())
        return [
            (int(seconds) * 1_000_000 + int(micros), reason)
            for seconds, micros, protocol, reason in found
            if int(protocol) in _IP_PROTOCOLS
        ]

    def close(self) -> None:
        """Remove the instance and the mount."""
        with suppress(OSError):
            self._write("events/skb/kfree_skb/enable", "0")
        with suppress(OSError):
            self._instance.rmdir()
        with suppress(OSError):
            syscalls.umount(str(self._tracefs))
        with suppress(OSError):
            self._tracefs.rmdir()

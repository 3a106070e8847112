"""How often a process wakes up, and how many system calls it makes: what being idle really costs."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from lab import syscalls


def wake_ups(pid: int) -> int:
    """Count how often the threads of a process have gone to sleep, each time to be woken up."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            total += int(fields["voluntary_ctxt_switches"])
    return total


class SystemCalls:
    """Counts a process's system calls with the kernel's own tracepoint, in a trace instance of its own.

    The ring buffer overwrites itself and is never read: its counts are all that is wanted.
    """

    def __init__(self, pid: int) -> None:
        """Begin. Where tracefs can't be had, `count` says None."""
        self._tracefs = Path(tempfile.mkdtemp(prefix="nv-bench-tracefs-"))
        self._instance = self._tracefs / "instances" / f"nv-bench-{os.getpid()}"
        self._counts = False
        with suppress(OSError):
            syscalls.mount("nodev", str(self._tracefs), "tracefs", 0)
            self._instance.mkdir()
            threads = " ".join(os.listdir(f"/proc/{pid}/task"))
            (self._instance / "set_event_pid").write_text(threads)
            (self._instance / "events/raw_syscalls/sys_enter/enable").write_text("1")
            self._counts = True

    def count(self) -> int | None:
        """Count the calls so far."""
        if not self._counts:
            return None
        total = 0
        for stats in self._instance.glob("per_cpu/cpu*/stats"):
            fields = dict(line.split(":", 1) for line in stats.read_text().splitlines())
            total += int(fields["entries"]) + int(fields["overrun"])
        return total

    def close(self) -> None:
        """Remove the instance and the mount."""
        with suppress(OSError):
            self._instance.rmdir()
        with suppress(OSError):
            syscalls.umount(str(self._tracefs))
        with suppress(OSError):
            self._tracefs.rmdir()

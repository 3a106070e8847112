"""Tracepoints, in a trace instance of our own: where packets are sent, received and freed, with the drop reason.

It sees every namespace at once, without telling which. The file system is mounted for this process alone, by a
descriptor and nowhere in the tree, so it goes with the process. The instance doesn't: its owner holds a lock on its
directory, and who comes next removes those that nobody holds.

Source: kernel/trace/trace.c, instance_mkdir, trace_clocks; security/lockdown/lockdown.c (Linux 6.18).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from agents.observers.trace_text import parse_events, parse_lost
from netviz.core.observe.sighting import Event

PREFIX = "netviz-observe-"
BUFFER_KB = 4096  # a processor's
PIPE_BYTES = 1 << 16
MOST_TAKEN_BYTES = 4 << 20  # at a time
EVENTS = ("skb/consume_skb", "skb/kfree_skb", "net/netif_receive_skb", "net/net_dev_start_xmit")
MOST_ADDRS = 64  # of a filter, which may have a page
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
# The same on all of Linux's 64-bit architectures.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE, _CLOEXEC = 6, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *args: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _mounted() -> int:
    """Mount tracefs where nobody else sees it. Returns its directory's descriptor. Raises: OSError."""
    context = _syscall(_FSOPEN, b"tracefs", _CLOEXEC)
    try:
        _syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def lockdown() -> str:
    """Return the kernel's lockdown mode: "none", "integrity", "confidentiality", or "" where it isn't told."""
    with suppress(OSError):
        return _LOCKDOWN.read_text().partition("[")[2].partition("]")[0]
    return ""


def refusal(error: OSError) -> str:
    """Say why there are no tracepoints here, and what can't be seen for it."""
    mode = lockdown()
    why = f"kernel lockdown is {mode}" if mode == "confidentiality" else error.strerror or str(error)
    return f"no tracefs ({why}): drops and their reasons can't be seen"


def lookups_to(addrs: Collection[bytes], proto: int) -> Iterator[tuple[str, str]]:
    """Yield the events that tell of lookups of routes to some addresses, each with its filter: a busy node has many of them.

    A filter compares at most 8 bytes, so of IPv6 it is the protocol (of ICMPv6 all that is ICMPv6's).
    Source: kernel/trace/trace_events_filter.c, select_comparison_fn (Linux 6.18).
    """
    short = sorted(addr for addr in addrs if len(addr) == 4)
    if short:
        wanted = (f"dst == {int.from_bytes(addr, sys.byteorder):#x}" for addr in short[:MOST_ADDRS])
        yield "fib/fib_table_lookup", " || ".join(wanted)
    if len(short) < len(addrs):
        yield "fib6/fib6_table_lookup", f"proto == {proto}"


class TraceInstance:
    """An instance that records from `start` to `stop`; `thread`: only what the kernel does in that thread, 0 for all."""

    def __init__(self, events: Sequence[str] = EVENTS, thread: int = 0) -> None:
        """Make it. Raises: OSError, where there is no tracefs or it is barred."""
        self._root = _mounted()
        self._events = events
        self._held = self._pipe = -1
        self._rest = b""
        try:
            self._path = self._make()
            self._write("trace_clock", "mono")
            self._write("buffer_size_kb", str(BUFFER_KB))
            if thread:
                self._write("set_event_pid", str(thread))
        except BaseException:
            self.close()
            raise

    def _make(self) -> Path:
        """Make the instance and lock it, after others' remains are gone; one at a time."""
        instances = Path(f"/proc/self/fd/{self._root}/instances")
        guard = os.open(instances, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            remove_remains(instances)
            path = instances / f"{PREFIX}{os.getpid()}-{threading.get_native_id()}-{self._root}"
            path.mkdir()
            self._held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._held, fcntl.LOCK_EX)
        finally:
            os.close(guard)
        return path

    def start(self) -> None:
        """Begin to record: the frees before what is freed. Raises: OSError."""
        for event in self._events:
            self.add(event)

    def add(self, event: str, condition: str = "") -> None:
        """Record this too, under a condition. Raises: OSError, where this kernel hasn't it."""
        if condition:
            self._write(f"events/{event}/filter", condition)
        self._write(f"events/{event}/enable", "1")

    def stop(self) -> None:
        """Record no more. Raises: OSError."""
        self._write("events/enable", "0")

    def events(self) -> list[Event]:
        """Return what was recorded, oldest first. Raises: OSError."""
        return parse_events((self._path / "trace").read_text(errors="replace"))

    def take(self) -> list[Event]:
        """Return what was recorded since the last time, and forget it. Raises: OSError."""
        if self._pipe < 0:
            self._pipe = os.open(self._path / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(BlockingIOError):
            while data := os.read(self._pipe, PIPE_BYTES):
                self._rest += data
                if len(self._rest) > MOST_TAKEN_BYTES:
                    break
        whole, newline, self._rest = self._rest.rpartition(b"\n")
        return parse_events((whole + newline).decode(errors="replace"))

    def lost(self) -> int:
        """Return how many events had no room. Raises: OSError."""
        return sum(parse_lost(stats.read_text()) for stats in self._path.glob("per_cpu/cpu*/stats"))

    def _write(self, name: str, value: str) -> None:
        (self._path / name).write_text(value)

    def close(self) -> None:
        """Remove the instance and the mount."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._held >= 0:
            with suppress(OSError):
                self.stop()
            with suppress(OSError):
                self._path.rmdir()
            os.close(self._held)
            self._held = -1
        if self._root >= 0:
            os.close(self._root)
            self._root = -1


def remove_remains(instances: Path) -> list[str]:
    """Remove instances of netviz whose processes are gone; return their names. Others' are left alone."""
    removed = []
    for path in sorted(instances.glob(f"{PREFIX}*")):
        with suppress(OSError):  # another is removing it, or it is in use
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (path / "events/enable").write_text("0")
                path.rmdir()
                removed.append(path.name)
            finally:
                os.close(held)
    return removed

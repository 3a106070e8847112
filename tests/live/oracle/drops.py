"""Why the kernel dropped packets: skb:kfree_skb in a trace instance of our own.

A packet's path through the network happens while it is being sent, in the sender's own thread: the
events of that thread between the beginning of one send and the next are that packet's (and its answer's).
So that a neighbour's question that was dropped isn't taken for the packet, what has an ARP message's protocol
number or a neighbour message's length is left out, within a tunnel's packet too: the devices that a packet crosses
tell its length.
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
_DROP = re.compile(r"\s(\d+)\.(\d{6}): kfree_skb: skbaddr=(\w+) .*protocol=(\d+) .*reason: (\w+)")
_CROSSING = re.compile(r": (?:net_dev_queue|netif_receive_skb): .*skbaddr=(\w+) len=(\d+)")
_EVENTS = ("skb/kfree_skb", "net/net_dev_queue", "net/netif_receive_skb")
_ETHERNET, _VXLAN = 14, 50
# A solicitation or advertisement, and what a tunnel makes of it or of an ARP message; with and without the frame's header.
_MESSAGES = (72, 72 + _VXLAN, 28 + _VXLAN)
_NEIGHBOUR_LENGTHS = {length + header for length in _MESSAGES for header in (0, _ETHERNET)}


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
            self._enable("1")
            self.available = True

    def _enable(self, value: str) -> None:
        for event in _EVENTS:
            self._write(f"events/{event}/enable", value)

    def _write(self, name: str, value: str) -> None:
        (self._instance / name).write_text(value)

    def take(self) -> list[tuple[int, str]]:
        """Return the drops of IP packets so far as (microseconds of the monotonic clock, reason), oldest first."""
        if not self.available:
            return []
        found: list[tuple[int, str]] = []
        lengths: dict[str, int] = {}
        for line in (self._instance / "trace").read_text().splitlines():
            if crossing := _CROSSING.search(line):
                lengths[crossing[1]] = int(crossing[2])
            elif drop := _DROP.search(line):
                seconds, micros, skb, protocol, reason = drop.groups()
                if int(protocol) in _IP_PROTOCOLS and lengths.pop(skb, 0) not in _NEIGHBOUR_LENGTHS:
                    found.append((int(seconds) * 1_000_000 + int(micros), reason))
        return found

    def close(self) -> None:
        """Remove the instance and the mount."""
        with suppress(OSError):
            self._enable("0")
        with suppress(OSError):
            self._instance.rmdir()
        with suppress(OSError):
            syscalls.umount(str(self._tracefs))
        with suppress(OSError):
            self._tracefs.rmdir()

"""Why the kernel dropped packets: skb:kfree_skb in a trace instance of our own.

A packet's path through the network happens while it is being sent, in the sender's own thread: the
events of that thread between the beginning of one send and the next are that packet's (and its answer's).
So that a neighbour's question that was dropped isn't taken for the packet, what has an ARP message's protocol
number or a neighbour message's length is left out, within a tunnel's packet too: the devices that a packet crosses
tell its length.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from agents.observers.tracefs import TraceInstance

_IP_PROTOCOLS = (0x0800, 0x86DD)
_EVENTS = ("skb/kfree_skb", "net/net_dev_queue", "net/netif_receive_skb")
_ETHERNET, _VXLAN = 14, 50
# A solicitation or advertisement, and what a tunnel makes of it or of an ARP message; with and without the frame's header.
_MESSAGES = (72, 72 + _VXLAN, 28 + _VXLAN)
_NEIGHBOUR_LENGTHS = {length + header for length in _MESSAGES for header in (0, _ETHERNET)}


class Drops:
    """A trace instance that lives as long as this object is open. Where tracefs can't be had it sees nothing."""

    def __init__(self) -> None:
        self._instance: TraceInstance | None = None
        with suppress(OSError):
            self._instance = TraceInstance(_EVENTS, thread=threading.get_native_id())
            self._instance.start()

    def take(self) -> list[tuple[int, str]]:
        """Return the drops of IP packets so far as (microseconds of the monotonic clock, reason), oldest first."""
        if self._instance is None:
            return []
        found: list[tuple[int, str]] = []
        lengths: dict[int, int] = {}
        for event in self._instance.events():
            if event.point != "skb:kfree_skb":
                lengths[event.skb] = event.length
            elif event.protocol in _IP_PROTOCOLS and lengths.pop(event.skb, 0) not in _NEIGHBOUR_LENGTHS:
                found.append((event.at_ns // 1000, event.reason))
        return found

    def close(self) -> None:
        """Remove the instance and the mount."""
        if self._instance is not None:
            self._instance.close()

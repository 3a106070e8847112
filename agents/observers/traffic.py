"""Packet sockets that see all IP packets of some namespaces, with their headers alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

from agents.observers.packets import (
    PACKET_OUTGOING,
    PlacedSockets,
    read_ancillary,
)
from netviz.core.observe.drops import Seen
from netviz.core.observe.headers import parse_headers
from netviz.core.observe.sighting import ETHERNET_BYTES

# Ethernet, IPv6 and the first bytes of what it carries; IPv4 with options fits too.
SNAP_BYTES = 94
_IP = (0x0800, 0x86DD)
_ETHERNET_LIKE = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_LDH, _JEQ, _RET = 0x28, 0x15, 0x06
_PROTOCOL = 0x1_0000_0000 - 0x1000  # SKF_AD_PROTOCOL
ALL_IP = (
    (_LDH, 0, 0, _PROTOCOL),
    (_JEQ, 1, 0, _IP[0]),
    (_JEQ, 0, 1, _IP[1]),
    (_RET, 0, 0, SNAP_BYTES),
    (_RET, 0, 0, 0),
)
MOST_AT_ONCE = 20_000


class Traffic(PlacedSockets):
    """The sockets, and what they saw."""

    def __init__(self) -> None:
        super().__init__(ALL_IP)

    def read(self) -> list[Seen]:
        """Return the frames that are queued, those of one namespace in its order."""
        return [one for place, sock in self._sockets.items() for one in self._read(place, sock)]

    def _read(self, place: str, sock: socket.socket) -> Iterator[Seen]:
        with suppress(BlockingIOError):
            for _ in range(MOST_AT_ONCE):
                data, ancillary, _, address = sock.recvmsg(SNAP_BYTES, 128)
                dev, _, kind, hardware = address[:4]
                at_ns, length = read_ancillary(ancillary)
                out = kind == PACKET_OUTGOING
                if hardware in _ETHERNET_LIKE:
                    data = data[ETHERNET_BYTES:]
                elif not out:
                    length += ETHERNET_BYTES  # as events have it: on transmission they count what is there
                headers = parse_headers(data)
                if headers is not None:
                    yield Seen(at_ns, place, dev, out, length, headers)

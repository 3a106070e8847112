"""Packet sockets that note which probes come in where, and from which source address.

Only what is addressed to the namespace's own link-layer address counts (PACKET_HOST): frames that a
bridge floods to everybody do not arrive.
"""

from __future__ import annotations

import selectors
import socket
import struct
from contextlib import suppress

import msgspec

from netviz.core.model.addr import format_ip

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
PACKET_HOST = 0
SO_RCVBUFFORCE = 33
_SNAP_BYTES = 128
_TCP_SYN, _TCP_ACK = 0x02, 0x10


class Arrival(msgspec.Struct, frozen=True):
    """A probe's packet that came in at `where` with the source address `src`."""

    where: str
    src: str


class Sniffer:
    """Packet sockets by target name, and what they saw."""

    def __init__(self) -> None:
        self._sockets: list[tuple[str, socket.socket]] = []
        self._by_cookie: dict[bytes, list[Arrival]] = {}
        self._by_syn: dict[tuple[str, int, int], list[Arrival]] = {}

    def listen(self, where: str) -> None:
        """Open the socket of one target, in the calling thread's namespace."""
        # One socket for both families: closing one costs the kernel some milliseconds.
        sock = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL)
        )
        sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)
        self._sockets.append((where, sock))

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have a selector run the reading: each key's data is a callable."""
        for where, sock in self._sockets:
            selector.register(
                sock, selectors.EVENT_READ, lambda where=where, sock=sock: self._read(where, sock)
            )

    def drain(self) -> None:
        """Read what is still queued."""
        for where, sock in self._sockets:
            self._read(where, sock)

    def close(self) -> None:
        """Close all sockets."""
        for _, sock in self._sockets:
            sock.close()

    def arrivals(self, proto: str, cookie: bytes, dst: str, sport: int, dport: int) -> list[Arrival]:
        """Return where a probe arrived: by its cookie, or for TCP by its SYN's ports."""
        if proto == "tcp":
            return self._by_syn.get((dst, sport, dport), [])
        return self._by_cookie.get(cookie, [])

    def _read(self, where: str, sock: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                data, address = sock.recvfrom(_SNAP_BYTES)
                if address[2] == PACKET_HOST and address[1] in (ETH_P_IP, ETH_P_IPV6):
                    self._note(where, data)

    def _note(self, where: str, data: bytes) -> None:
        if data[0] >> 4 == 4:
            proto, src, dst, offset = data[9], data[12:16], data[16:20], (data[0] & 15) * 4
            if struct.unpack_from("!H", data, 6)[0] & 0x1FFF:
                return  # a later fragment
        else:
            proto, src, dst, offset = data[6], data[8:24], data[24:40], 40
            if proto == socket.IPPROTO_FRAGMENT:
                proto, offset = data[40], 48
        arrival = Arrival(where, format_ip(src))
        if proto == socket.IPPROTO_TCP:
            sport, dport = struct.unpack_from("!HH", data, offset)
            if data[offset + 13] & (_TCP_SYN | _TCP_ACK) == _TCP_SYN:
                self._by_syn.setdefault((format_ip(dst), sport, dport), []).append(arrival)
        elif proto == socket.IPPROTO_UDP or (proto, data[offset]) in _ECHO_REQUESTS:
            self._by_cookie.setdefault(data[offset + 8 : offset + 16], []).append(arrival)


_ECHO_REQUESTS = {(socket.IPPROTO_ICMP, 8), (socket.IPPROTO_ICMPV6, 128)}

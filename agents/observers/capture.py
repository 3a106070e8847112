"""Packets of some devices as they are on the wire, bounded in number and bytes; headers only unless all is asked for.

Whoever uses it: `Capturing(...)`, then `read` in turns, and always `close`. On one thread.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from agents.collectors.base import NetnsHandle
from agents.observers.packets import (
    PACKET_OUTGOING,
    PACKET_STATISTICS,
    SOL_PACKET,
    begin_stamping,
    close_in_background,
    open_socket,
    read_ancillary,
)
from netviz.core.observe.evidence import Source, place_name
from netviz.core.observe.headers import headers_end, is_between
from netviz.core.observe.orders import MOST_CAPTURED, Capture, Packets
from netviz.core.observe.pcapng import Captured

NAME = "capture"
SNAP_BYTES = 65535
MOST_REPORT_BYTES = 200_000
MOST_AT_ONCE = 20_000
ETHERNET_BYTES = 14
_ETHERNET_LIKE = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_IP = (0x0800, 0x86DD)
EVERYTHING = ((0x06, 0, 0, SNAP_BYTES),)


class Capturing:
    """A socket for each device, and what they saw that is wanted."""

    def __init__(self, node: str, handles: Sequence[NetnsHandle], order: Capture) -> None:
        """Open everything that can be; what can't is said."""
        begin_stamping()
        self._node = node
        self._order = order
        self._missing: list[str] = []
        self._sockets: dict[int, socket.socket] = {}
        self._poller = select.poll()
        self._packets = self._bytes = self._lost = 0
        self.is_full = False
        by_place = {place_name(ns.key): ns for ns in handles}
        try:
            for point in order.points:
                ns = by_place.get(point.place)
                try:
                    if ns is None:
                        raise OSError(0, "its namespace isn't here any more")
                    sock = ns.run(lambda dev=point.dev: open_socket(EVERYTHING, dev))  # type: ignore[misc]
                except OSError as error:
                    self._missing.append(f"{point.dev} in {point.place}: {error.strerror or error}")
                    continue
                self._sockets[point.number] = sock
                self._poller.register(sock, select.POLLIN)
        except BaseException:
            self.close()
            raise

    def wake_by(self, fd: int) -> None:
        """Let `read` end early when a descriptor can be read."""
        self._poller.register(fd, select.POLLIN)

    def read(self, timeout_s: float, *, over: bool = False) -> Packets:
        """Wait for something, then return what was captured since, no more than fits a report."""
        self._poller.poll(timeout_s * 1000)
        found: list[Captured] = []
        size = 0
        for number, sock in self._sockets.items():
            with suppress(BlockingIOError):
                # Others' traffic may come faster than it is passed over, and must not keep orders from being taken.
                for _ in range(MOST_AT_ONCE):
                    if len(found) >= MOST_CAPTURED or size >= MOST_REPORT_BYTES or self.is_full:
                        break
                    one = self._take(number, sock)
                    if one is not None:
                        found.append(one)
                        size += len(one.data)
        return Packets(tuple(found), self._sources(), self.is_full, over)

    def _take(self, number: int, sock: socket.socket) -> Captured | None:
        data, ancillary, _, address = sock.recvmsg(SNAP_BYTES, 128)
        at_ns, length = read_ancillary(ancillary)
        proto, kind, hardware = address[1], address[2], address[3]
        if hardware not in _ETHERNET_LIKE:
            data = bytes(12) + struct.pack("!H", proto) + data
            length += ETHERNET_BYTES
        is_ip = proto in _IP
        if self._order.addrs and not (is_ip and is_between(data[ETHERNET_BYTES:], self._order.addrs)):
            return None
        if not self._order.full:
            data = data[: ETHERNET_BYTES + headers_end(data[ETHERNET_BYTES:])] if is_ip else data[:64]
        self._packets += 1
        self._bytes += len(data)
        self.is_full = self._packets >= self._order.most_packets or self._bytes >= self._order.most_bytes
        return Captured(number, at_ns, kind == PACKET_OUTGOING, length, data)

    def _sources(self) -> tuple[Source, ...]:
        for sock in self._sockets.values():
            self._lost += int(struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])
        return (Source(self._node, NAME, self._lost, "; ".join(self._missing)[:500]),)

    def close(self) -> None:
        """Close the sockets."""
        close_in_background(list(self._sockets.values()))
        self._sockets.clear()

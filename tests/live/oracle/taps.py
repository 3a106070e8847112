"""Packet sockets in every namespace: where each probe, its answer and errors about it were seen, in order."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from lab import netns
from tests.live.oracle.frames import Frame, parse_frame

ETH_P_ALL = 3
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
PACKET_OTHERHOST, PACKET_OUTGOING = 3, 4
_SNAP_BYTES = 512


class Sighting(msgspec.Struct, frozen=True):
    """A frame that belongs to a probe, seen at a device. `out`: sent, else received; `stray`: for another MAC."""

    at_ns: int
    place: str
    dev: str
    out: bool
    stray: bool
    frame: Frame


class Taps:
    """The packet sockets, and what they saw."""

    _stamping: socket.socket | None = None

    def __init__(self, paths: dict[str, Path]) -> None:
        self._sockets: dict[str, socket.socket] = {}
        if Taps._stamping is None:
            Taps._stamping = _begin_stamping()
        for place, path in paths.items():
            with netns.entered_path(path):
                sock = socket.socket(
                    socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL)
                )
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
                self._sockets[place] = sock
        self.sightings: list[Sighting] = []

    def drain(self) -> int:
        """Read what is queued, and tell how many frames of probes there were."""
        found: list[Sighting] = []
        for place, sock in self._sockets.items():
            with suppress(BlockingIOError):
                while True:
                    data, ancillary, _, address = sock.recvmsg(_SNAP_BYTES, 64)
                    frame = parse_frame(data)
                    if frame is not None:
                        at_ns = _stamp_ns(ancillary)
                        out, stray = address[2] == PACKET_OUTGOING, address[2] == PACKET_OTHERHOST
                        found.append(Sighting(at_ns, place, address[0], out, stray, frame))
        self.sightings += found
        return len(found)

    def in_order(self) -> list[Sighting]:
        """Return everything by time; what one namespace saw at one instant stays in its order."""
        return sorted(self.sightings, key=lambda sighting: sighting.at_ns)

    def close(self) -> None:
        """Close the sockets, in the background: each takes the kernel some milliseconds."""
        sockets = list(self._sockets.values())
        threading.Thread(target=lambda: [sock.close() for sock in sockets], daemon=True).start()


def _stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2][:16])
    return int(seconds * 1_000_000_000 + nanoseconds)


def _begin_stamping() -> socket.socket:
    """Have the kernel stamp packets as they come in, and wait until it does.

    It does as long as one socket wants stamps, and begins in a thread of its own; until then a packet is stamped
    when it is read, which is after it was sent.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind(("127.0.0.1", 0))
    while True:
        sock.sendto(b"stamp", sock.getsockname())
        sent_ns = time.time_ns()
        time.sleep(0.001)
        _, ancillary, _, _ = sock.recvmsg(_SNAP_BYTES, 64)
        if _stamp_ns(ancillary) <= sent_ns:
            return sock

"""Packet sockets: where each frame of a probe, its answer and errors about it was seen, by namespace and device.

They see no drops, and of a bridge or a tunnel what its device passes. A filter in the kernel leaves out what can't be
of a probe, before it costs a copy.

Source: net/packet/af_packet.c, packet_rcv, packet_getsockopt; net/core/dev.c, net_enable_timestamp; net/core/filter.c,
bpf_convert_filter (Linux 6.18).
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

from netviz.core.observe.frame import (
    ETHERNET,
    FORWARD,
    GRE,
    IPIP,
    REPLY,
    SIT,
    VXLAN_FLAGS,
    Answers,
    parse_frame,
)
from netviz.core.observe.sighting import ETHERNET_BYTES, Sighting

ETH_P_ALL = 3
SO_TIMESTAMPNS, SO_RCVBUFFORCE, SO_ATTACH_FILTER = 35, 33, 26
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
PACKET_OTHERHOST, PACKET_OUTGOING = 3, 4
SNAP_BYTES = 512
_MOST_BEFORE = 10_000
_BUFFER_BYTES = 8 << 20
_LDH, _LDB, _LD_X, _LDH_X, _LDB_X, _LDX_IPLEN, _RSH, _JEQ, _JSET, _RET = (
    0x28,
    0x30,
    0x40,
    0x48,
    0x50,
    0xB1,
    0x74,
    0x15,
    0x45,
    0x06,
)


# Where a load begins: at the IP header (SKF_NET_OFF), and the EtherType (SKF_AD_PROTOCOL), as 32-bit two's complements.
_NET, _PROTOCOL = 0x1_0000_0000 - 0x10_0000, 0x1_0000_0000 - 0x1000
_ETHERNET_LIKE = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK


def filter_for(port: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return classic BPF (code, jump if true, jump if false, operand).

    It passes IPv6; ICMP and the tunnels' protocols; of the rest no later fragments; UDP with a VXLAN or Geneve header, a
    cookie, or to the probe's port; TCP with SYN or RST. The last two instructions are what jumps lead to. It reads from
    the IP header on, wherever that begins: not every device has Ethernet frames.
    """
    return (
        (_LDH, 0, 0, _PROTOCOL),
        (_JEQ, 23, 0, 0x86DD),
        (_JEQ, 0, 23, 0x0800),
        (_LDB, 0, 0, _NET + 9),
        (_JEQ, 20, 0, socket.IPPROTO_ICMP),
        (_JEQ, 19, 0, IPIP),
        (_JEQ, 18, 0, SIT),
        (_JEQ, 17, 0, GRE),
        (_LDH, 0, 0, _NET + 6),
        (_JSET, 16, 0, 0x1FFF),
        (_LDX_IPLEN, 0, 0, _NET),
        (_LDB, 0, 0, _NET + 9),
        (_JEQ, 0, 9, socket.IPPROTO_UDP),
        (_LDH_X, 0, 0, _NET + 2),
        (_JEQ, 10, 0, port),
        (_LDH_X, 0, 0, _NET + 10),  # of less than this the filter passes nothing
        (_JEQ, 8, 0, int.from_bytes(ETHERNET, "big")),
        (_LD_X, 0, 0, _NET + 8),
        (_JEQ, 6, 0, int.from_bytes(VXLAN_FLAGS, "big")),
        (_RSH, 0, 0, 8),
        (_JEQ, 4, 0, int.from_bytes(FORWARD, "big")),
        (_JEQ, 3, 4, int.from_bytes(REPLY, "big")),
        (_JEQ, 0, 3, socket.IPPROTO_TCP),
        (_LDB_X, 0, 0, _NET + 13),
        (_JSET, 0, 1, 0x06),
        (_RET, 0, 0, SNAP_BYTES),
        (_RET, 0, 0, 0),
    )


class PlacedSockets:
    """A packet socket with one filter in each of some namespaces."""

    def __init__(self, instructions: Sequence[tuple[int, int, int, int]]) -> None:
        begin_stamping()
        self._sockets: dict[str, socket.socket] = {}
        self._filter = instructions
        self._lost = 0

    def add(self, place: str, run: Callable[[Callable[[], socket.socket]], socket.socket]) -> None:
        """Watch a namespace, in which `run` runs what it is given. Raises: OSError."""
        self._sockets[place] = run(lambda: open_socket(self._filter))

    @property
    def places(self) -> frozenset[str]:
        """The namespaces watched."""
        return frozenset(self._sockets)

    def sockets(self) -> list[socket.socket]:
        """The sockets, to wait for."""
        return list(self._sockets.values())

    def lost(self) -> int:
        """Return how many frames had no room in a socket's queue so far."""
        for sock in self._sockets.values():
            data = sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)  # which counts from anew
            self._lost += int(struct.unpack("=II", data)[1])
        return self._lost

    def close(self) -> None:
        """Close the sockets."""
        close_in_background(list(self._sockets.values()))
        self._sockets.clear()


class PacketSockets(PlacedSockets):
    """The sockets, and what they saw. `answers`: how a datagram's answers are known that repeat no cookie."""

    def __init__(self, answers: Answers | None = None) -> None:
        super().__init__(filter_for(answers.port if answers is not None else 0))
        self._answers = answers

    def read(self) -> list[Sighting]:
        """Return the frames of probes that are queued, those of one namespace in its order."""
        found: list[Sighting] = []
        for place, sock in self._sockets.items():
            with suppress(BlockingIOError):
                while True:
                    data, ancillary, _, address = sock.recvmsg(SNAP_BYTES, 128)
                    has_ethernet = address[3] in _ETHERNET_LIKE
                    if not has_ethernet:
                        data = bytes(12) + address[1].to_bytes(2, "big") + data
                    frame = parse_frame(data, self._answers)
                    if frame is not None:
                        at_ns, length = read_ancillary(ancillary)
                        out, stray = address[2] == PACKET_OUTGOING, address[2] == PACKET_OTHERHOST
                        if not has_ethernet and not out:
                            length += (
                                ETHERNET_BYTES  # as events have it: on transmission they count what is there
                            )
                        found.append(Sighting(at_ns, place, address[0], out, stray, frame, length))
        return found


def close_in_background(sockets: list[socket.socket]) -> None:
    """Close sockets without waiting: each takes the kernel some milliseconds."""
    threading.Thread(target=_close, args=(sockets,), daemon=True).start()


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def open_socket(instructions: Sequence[tuple[int, int, int, int]], dev: str = "") -> socket.socket:
    """Open a socket in the thread's namespace, at a device or at all; what it had before its filter is thrown away."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_PACKET, kind, 0 if dev else socket.htons(ETH_P_ALL))
    try:
        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
        buffer = ctypes.create_string_buffer(program, len(program))
        attach = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, attach)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER_BYTES)
        if dev:
            sock.bind((dev, ETH_P_ALL))
            return sock
        with suppress(BlockingIOError):
            for _ in range(_MOST_BEFORE):  # more may come than can be thrown away
                sock.recv(1)
    except BaseException:
        sock.close()
        raise
    return sock


def read_ancillary(messages: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Return the time in ns and the frame's length before it was cut."""
    at_ns = length = 0
    for level, kind, data in messages:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            at_ns = _stamp_ns(data)
        elif (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            length = struct.unpack_from("=II", data)[1]
    return at_ns, length


def _stamp_ns(data: bytes) -> int:
    seconds, nanoseconds = struct.unpack("=qq", data[:16])
    return int(seconds * 1_000_000_000 + nanoseconds)


@cache
def begin_stamping() -> socket.socket:
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
        _, ancillary, _, _ = sock.recvmsg(SNAP_BYTES, 64)
        if _stamp_ns(ancillary[0][2]) <= sent_ns:
            return sock

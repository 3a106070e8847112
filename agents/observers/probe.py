"""The probe: an ordinary socket in the sender's namespace, so that connection tracking and listeners see a real packet.

A SYN, closed again as soon as it is answered; a datagram or an echo request whose payload begins with a cookie.
Source: include/uapi/linux/in.h, in6.h; net/ipv4/raw.c (Linux 6.18).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress

from agents import own_sockets
from agents.collectors.base import NetnsHandle
from netviz.core.model.addr import format_ip
from netviz.core.observe.evidence import Sending
from netviz.core.observe.frame import COOKIE_BYTES, FORWARD, REPLY, cookie
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from netviz.core.sim.trace import Flow

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
IP_RECVERR, IPV6_RECVERR = 11, 25
_ICMP_HEADER = struct.Struct("!BBHHH")
_READ_BYTES = 65536


class Probe:
    """One probe of a flow. `number` stands in its cookie; without a source port in the flow, a free one is taken."""

    def __init__(self, ns: NetnsHandle, flow: Flow, number: int) -> None:
        """Open the socket. Raises: OSError."""
        self._number = number
        self._v6 = len(flow.dst) == 16
        self._flow = flow
        self._sock = ns.run(self._open)
        self._inode = os.fstat(self._sock.fileno()).st_ino
        own_sockets.hide(self._inode)
        try:
            self._prepare()
            self.sport = self._bind()
        except BaseException:
            self.close()
            raise

    def _open(self) -> socket.socket:
        family = socket.AF_INET6 if self._v6 else socket.AF_INET
        kinds = {IPPROTO_TCP: socket.SOCK_STREAM, IPPROTO_UDP: socket.SOCK_DGRAM}
        kind = kinds.get(self._flow.proto, socket.SOCK_RAW)
        proto = self._flow.proto if kind == socket.SOCK_RAW else 0
        return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, proto)

    def _prepare(self) -> None:
        level = socket.IPPROTO_IPV6 if self._v6 else socket.IPPROTO_IP
        if self._flow.df:
            option = IPV6_MTU_DISCOVER if self._v6 else IP_MTU_DISCOVER
            self._sock.setsockopt(level, option, PMTUDISC_DO)
        self._sock.setsockopt(level, IPV6_RECVERR if self._v6 else IP_RECVERR, 1)

    def _bind(self) -> int:
        """Bind to a free port, and to the source where the flow names one; the kernel chooses the address else."""
        anywhere = "::" if self._v6 else "0.0.0.0"
        wanted = self._flow.sport or 0
        if self._flow.proto in (IPPROTO_TCP, IPPROTO_UDP):
            self._sock.bind((format_ip(self._flow.src) if self._flow.bound else anywhere, wanted))
            return int(self._sock.getsockname()[1])
        if self._flow.bound:
            self._sock.bind((format_ip(self._flow.src), 0))
        return wanted or 1 + os.getpid() % 0xFFFF

    def send(self) -> tuple[Sending, str]:
        """Send it. Returns when and by which thread, and the errno's name where the kernel refuses to send."""
        began_ns, refused = time.monotonic_ns(), ""
        try:
            self._sock.connect((format_ip(self._flow.dst), self._flow.dport or 0))
            if self._flow.proto != IPPROTO_TCP:
                self._sock.send(self._payload())
        except BlockingIOError:
            pass  # a connection under way
        except OSError as error:
            refused = _name(error)
        return Sending(threading.get_native_id(), began_ns, time.monotonic_ns()), refused

    def _payload(self) -> bytes:
        size = self._flow.length - (40 if self._v6 else 20) - _ICMP_HEADER.size
        data = cookie(FORWARD, self._number).ljust(size, b".")
        if self._flow.proto == IPPROTO_UDP:
            return data
        kind = ICMPV6_ECHO_REQUEST if self._v6 else ICMP_ECHO
        echo = _ICMP_HEADER.pack(kind, 0, 0, self.sport, 1) + data
        return echo if self._v6 else _ICMP_HEADER.pack(kind, 0, checksum(echo), self.sport, 1) + data

    def register(self, poller: select.poll) -> None:
        """Have a poller say when the sender may have been told something."""
        events = select.POLLOUT if self._flow.proto == IPPROTO_TCP else select.POLLIN
        poller.register(self._sock, events | select.POLLERR)

    def unregister(self, poller: select.poll) -> None:
        """Be told of no more."""
        poller.unregister(self._sock)

    def hear(self) -> str:
        """Return what the sender was told: "answer", an errno's name, or "" for nothing yet."""
        try:
            if error := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return _name(OSError(error, ""))
            if self._flow.proto == IPPROTO_TCP:
                self._sock.getpeername()
                return "answer"
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return ""
        except OSError as error:
            return "" if error.errno == errno.ENOTCONN else _name(error)  # it is still connecting
        return "answer" if self._is_answer(data) else ""

    def _is_answer(self, data: bytes) -> bool:
        """Tell whether what a raw socket hears, which is all of its namespace, is our echo reply."""
        if self._flow.proto == IPPROTO_UDP:
            return True
        echo = data if self._v6 else data[(data[0] & 15) * 4 :]
        if len(echo) < _ICMP_HEADER.size + COOKIE_BYTES:
            return False
        kind, _, _, ident, _ = _ICMP_HEADER.unpack_from(echo)
        payload = echo[_ICMP_HEADER.size :][:COOKIE_BYTES]
        return (kind, ident) == (129 if self._v6 else 0, self.sport) and payload in (
            cookie(FORWARD, self._number),
            cookie(REPLY, self._number),
        )

    def close(self) -> None:
        """Close the socket, and the connection with it."""
        with suppress(OSError):
            self._sock.close()
        own_sockets.show(self._inode)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def checksum(data: bytes) -> int:
    """Return the Internet checksum of data. Source: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""Sockets of every namespace: listeners, bound UDP and raw sockets, and a bounded number of connections.

The kernel announces the ends of sockets (sock_diag's destroy groups), so a listener that is closed is noticed at
once; a filter in the kernel leaves out the ends of connections. It announces no new sockets. But it keeps how many of each protocol a namespace uses
(/proc/net/sockstat, sockstat6), and reading that from an open file takes 2 us where dumping all
protocols takes 300 us. So every `LOOK_S` the counts are read, and of a namespace whose counts moved those
protocols are dumped that are in use; the runner's audit finds what a swap of one socket for another
hides from the counts.

TCP connections that are going or coming (TIME_WAIT, SYN_RECV, ...) are left out, raw sockets
where the kernel is built without raw_diag, and the sockets of our own probes.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Mapping

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.collectors.watched import WatchedFiles
from agents.kernel import Kernel
from agents.netlink.nfnetlink import stream_dump
from agents.netlink.sockdiag import (
    NETLINK_SOCK_DIAG,
    SKNLGRP_INET6_TCP_DESTROY,
    SKNLGRP_INET_TCP_DESTROY,
    SOCK_DIAG_BY_FAMILY,
    TCPDIAG_GETSOCK,
    keep_only_unconnected,
    parse_socket,
    request,
    tcp_request,
)
from agents.netlink.wire import DumpInterrupted, drain
from agents.own_sockets import is_own
from netviz.core.model.socket import TCP_ESTABLISHED, TCP_LISTEN, Socket

LOOK_S = 5.0
MAX_CONNECTED = 2_000
_ALL_STATES = 0xFFF
_DATAGRAM = (
    ("UDP", socket.AF_INET, socket.IPPROTO_UDP),
    ("UDP6", socket.AF_INET6, socket.IPPROTO_UDP),
    ("RAW", socket.AF_INET, socket.IPPROTO_RAW),
    ("RAW6", socket.AF_INET6, socket.IPPROTO_RAW),
)
_IN_USE = re.compile(rb"(\w+): inuse (\d+)")
_SOCKSTAT = ("/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6")


def read_text(files: list[int]) -> bytes:
    """Read what the count files say."""
    return b"".join([os.pread(file, 4096, 0) for file in files])


def parse_counts(text: bytes) -> dict[str, int]:
    """Read how many sockets of each protocol are in use ("TCP", "TCP6", "UDP", ...)."""
    return {name.decode("ascii"): int(count) for name, count in _IN_USE.findall(text)}


class Sockets(WatchedFiles):
    """Collect sockets."""

    name = "sockets"
    sections = ("sockets",)
    poll_s: Mapping[str, float] = {}

    def __init__(self, *, look_s: float = LOOK_S, max_connected: int = MAX_CONNECTED) -> None:
        super().__init__("sockets", look_s)
        self._max_connected = max_connected

    def can_run(self, host: Host) -> str | None:
        """Ask the node's own namespace for its TCP listeners."""
        try:
            with host.root.open_netlink(NETLINK_SOCK_DIAG) as sock:
                for _ in stream_dump(sock, TCPDIAG_GETSOCK, tcp_request(1 << TCP_LISTEN)):
                    pass
        except OSError as err:
            return f"sockets cannot be read: {err.strerror}"
        return None

    def attach(self, ns: NetnsHandle) -> None:
        """Listen for ends of listeners, and open the namespace's counts. Raises: OSError."""
        super().attach(ns)
        try:
            sock = ns.open_netlink(NETLINK_SOCK_DIAG, (SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY))
            keep_only_unconnected(sock)
        except OSError:
            self.detach(ns)
            raise
        self._host.add_reader(ns, sock, lambda: self._on_end(ns, sock))

    def _on_end(self, ns: NetnsHandle, sock: socket.socket) -> None:
        if drain(sock):
            self._host.dirty(ns, "sockets")

    def open_files(self, ns: NetnsHandle) -> list[int]:
        """Open the namespace's counts."""
        return ns.run(lambda: _open_sockstat(ns.kernel))

    def said(self, files: list[int]) -> object:
        """How many sockets of each protocol are in use."""
        return _IN_USE.findall(read_text(files))

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Dump those protocols that the counts say are in use."""
        files = self.files_of(ns)
        counts = (
            parse_counts(read_text(files))
            if files is not None
            else ns.run(lambda: _read_counts_once(ns.kernel))
        )
        if not any(counts.values()):
            return Reading({"sockets": ()})
        with ns.open_netlink(NETLINK_SOCK_DIAG) as sock:
            return self._dump(sock, counts)

    def _dump(self, sock: socket.socket, counts: Mapping[str, int]) -> Reading:
        tcp, connected = counts.get("TCP", 0) + counts.get("TCP6", 0), []
        found = _read(sock, TCPDIAG_GETSOCK, tcp_request(1 << TCP_LISTEN), socket.IPPROTO_TCP) if tcp else []
        if tcp > len(found):  # walking all connections of the kernel is half of a dump's cost
            request_body = tcp_request(1 << TCP_ESTABLISHED)
            connected = _read(sock, TCPDIAG_GETSOCK, request_body, socket.IPPROTO_TCP)
            connected.sort(key=lambda one: one.cookie)
        for name, family, proto in _DATAGRAM:
            if counts.get(name):
                request_body = request(family, proto, _ALL_STATES)
                found += _read(sock, SOCK_DIAG_BY_FAMILY, request_body, proto)
        gaps = {}
        if len(connected) > self._max_connected:
            gaps["sockets"] = f"{self._max_connected} of {len(connected)} TCP connections are held"
        return Reading({"sockets": [*found, *connected[: self._max_connected]]}, gaps)


def _open_sockstat(kernel: Kernel) -> list[int]:
    files: list[int] = []
    for path in _SOCKSTAT:
        try:
            files.append(kernel.open_file(path))
        except FileNotFoundError:  # a kernel without IPv6
            continue
    return files


def _read_counts_once(kernel: Kernel) -> dict[str, int]:
    files = _open_sockstat(kernel)
    try:
        return parse_counts(read_text(files))
    finally:
        for file in files:
            os.close(file)


def _read(sock: socket.socket, msg_type: int, body: bytes, proto: int) -> list[Socket]:
    """Dump sockets; a protocol that the kernel cannot show has none. Sockets come and go: that is no gap."""
    found: list[Socket] = []
    try:
        for message in stream_dump(sock, msg_type, body):
            one = parse_socket(message, proto)
            if not is_own(one.inode):
                found.append(one)
    except (DumpInterrupted, FileNotFoundError):
        pass
    return found

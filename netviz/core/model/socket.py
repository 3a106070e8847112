"""Sockets, as sock_diag shows them.

Source: include/uapi/linux/inet_diag.h, include/net/tcp_states.h (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.base import Record

IPPROTO_TCP = 6

TCP_ESTABLISHED = 1
TCP_CLOSE = 7
TCP_LISTEN = 10


class Socket(Record, frozen=True, gc=False):
    """A TCP, UDP or raw socket. `proto` is IPPROTO_*; `ifindex` its bound device or 0.

    A raw socket's `proto` is IPPROTO_RAW (255), and `sport` the protocol it listens to.

    `state` is TCP_* (an unconnected UDP socket is TCP_CLOSE). `v6only` matters for a socket bound
    to `::`. `cookie` tells sockets apart that share all the rest (SO_REUSEPORT). `mark` is SO_MARK's,
    `transparent` IP_TRANSPARENT's.
    """

    proto: int
    src: bytes
    sport: int
    dst: bytes = b""
    dport: int = 0
    state: int = TCP_LISTEN
    ifindex: int = 0
    v6only: bool = False
    uid: int = 0
    inode: int = 0
    cookie: int = 0
    mark: int = 0
    transparent: bool = False

    @property
    def key(self) -> int:
        """The kernel's socket cookie."""
        return self.cookie

    @property
    def takes_new(self) -> bool:
        """Takes the first packet of a flow: a TCP listener, or any socket of another protocol without a peer."""
        return self.state == TCP_LISTEN if self.proto == IPPROTO_TCP else not self.dport

"""Sockets, as sock_diag shows them.

Source: include/uapi/linux/inet_diag.h, include/net/tcp_states.h (Linux 6.18).
"""

from __future__ import annotations

from typing import ClassVar

from netviz.core.model.base import Record
from netviz.core.model.bounds import U8, U32, U64, Check, IfindexRef, Ip, IpOrNone, Port, one_family

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

    proto: U8
    src: Ip
    sport: Port
    dst: IpOrNone = b""
    dport: Port = 0
    state: U8 = TCP_LISTEN
    ifindex: IfindexRef = 0
    v6only: bool = False
    uid: U32 = 0
    inode: U64 = 0
    cookie: U64 = 0
    mark: U32 = 0
    transparent: bool = False

    checks: ClassVar[tuple[Check, ...]] = (one_family("src", "dst"),)

    @property
    def key(self) -> int:
        """The kernel's socket cookie."""
        return self.cookie

    @property
    def takes_new(self) -> bool:
        """Takes the first packet of a flow: a TCP listener, or any socket of another protocol without a peer."""
        return self.state == TCP_LISTEN if self.proto == IPPROTO_TCP else not self.dport

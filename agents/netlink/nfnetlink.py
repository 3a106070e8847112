"""nfnetlink: the message header and subsystem numbers that nf_tables and conntrack share, and large dumps.

A message's type is `subsystem << 8 | message`; its body begins with a 4-byte header (family, version,
res_id), and attributes follow that. Numbers in attributes are in network order.

Source: include/uapi/linux/netfilter/nfnetlink.h (Linux 6.18).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct

from agents.netlink.wire import attr, stream

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_NFTABLES = 10
NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY = 1, 2, 3
NFNLGRP_NFTABLES = 7

NFGENMSG_LEN = 4
_nfgenmsg = Struct(">BBH")


def nfgenmsg(family: int = 0) -> bytes:
    """Make the header of a request; family 0 asks for all."""
    return _nfgenmsg.pack(family, 0, 0)


def text_attr(kind: int, value: str) -> bytes:
    """Make a NUL-terminated text attribute."""
    return attr(kind, value.encode() + b"\0")


def number(data: bytes | None, default: int = 0) -> int:
    """Read an unsigned number of any width in network order, or the default where it is absent."""
    return default if data is None else int.from_bytes(data, "big")


def stream_dump(sock: socket.socket, msg_type: int, body: bytes) -> Iterator[bytes]:
    """Dump objects, giving the body of each: see `wire.stream`. Raises: OSError, DumpInterrupted, BadMessage."""
    return (message for _kind, _flags, message in stream(sock, msg_type, body))

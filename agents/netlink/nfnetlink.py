"""nfnetlink: the message header and subsystem numbers that nf_tables and conntrack share, and large dumps.

A message's type is `subsystem << 8 | message`; its body begins with a 4-byte header (family, version,
res_id), and attributes follow that. Numbers in attributes are in network order.

Source: include/uapi/linux/netfilter/nfnetlink.h (Linux 6.18).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from struct import Struct

from agents.netlink.wire import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    DumpInterrupted,
    attr,
    parse_messages,
    raise_error,
    receive_answer,
)

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
    """Dump objects, giving the body of each message as it comes, so that a large dump is never held whole.

    It is the caller's to start again when the objects changed meanwhile: DumpInterrupted is raised
    then, at the end. The iterator must be run to its end before the socket is used again.
    Raises: OSError (the kernel's error, a timeout), BadMessage.
    """
    sock.send(HEADER.pack(HEADER.size + len(body), msg_type, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + body)
    interrupted = False
    while True:
        for kind, flags, _seq, message in parse_messages(receive_answer(sock)):
            interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                raise_error(message)
                if interrupted:
                    raise DumpInterrupted(errno.EAGAIN, "the objects changed during the dump")
                return
            yield message

"""sock_diag requests and answers: bytes to Socket.

TCP sockets of both families come from one dump in the older request form, whose answer is filtered
by state but not by family; UDP and raw need a dump for each family.

Source: include/uapi/linux/inet_diag.h, net/ipv4/inet_diag.c (inet_diag_rcv_msg_compat,
inet_diag_msg_attrs_fill), Linux 6.18.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from struct import Struct

from agents.netlink.wire import BadMessage, attrs, u8
from netviz.core.model.socket import Socket

NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK = 18
SOCK_DIAG_BY_FAMILY = 20
INET_DIAG_SKV6ONLY, INET_DIAG_MARK, INET_DIAG_SOCKOPT = 11, 15, 22
SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY = 1, 3
SO_ATTACH_FILTER = 26
_TRANSPARENT = 0x20  # of struct inet_diag_sockopt

_msg = Struct(">4B H H 16s 16s")
_host = Struct("=I Q 5I")  # after the addresses: if, cookie, expires, rqueue, wqueue, uid, inode
_MSG_LEN = _msg.size + _host.size
_req_v2 = Struct("=4B I 48x")
_req_compat = Struct("=4B 48x I I")


# Classic BPF over an announcement: in its inet_diag_msg, behind the netlink header, idiag_sport is at 20 and
# idiag_dport at 22. Code, jump if true, jump if false, operand.
_ONLY_UNCONNECTED = b"".join(
    Struct("=HBBI").pack(*instruction)
    for instruction in (
        (0x28, 0, 0, 22),  # load the half word at 22
        (0x15, 0, 3, 0),  # if it is 0 go on, else drop
        (0x28, 0, 0, 20),
        (0x15, 1, 0, 0),  # if it is 0 drop, else keep
        (0x06, 0, 0, 0xFFFFFFFF),  # keep
        (0x06, 0, 0, 0),  # drop
    )
)


def keep_only_unconnected(sock: socket.socket) -> None:
    """Let the kernel wake this socket for ends of bound sockets without a peer alone, not of each connection.

    Source: net/core/sock_diag.c (sock_diag_broadcast_destroy_work), Documentation/networking/filter.rst. Raises: OSError.
    """
    program = ctypes.create_string_buffer(_ONLY_UNCONNECTED, len(_ONLY_UNCONNECTED))
    sock.setsockopt(
        socket.SOL_SOCKET,
        SO_ATTACH_FILTER,
        Struct("@HP").pack(len(_ONLY_UNCONNECTED) // 8, ctypes.addressof(program)),
    )


def tcp_request(states: int) -> bytes:
    """Ask for the TCP sockets of both families whose state's bit is set in `states`."""
    return _req_compat.pack(socket.AF_INET, 0, 0, 0, states, 0)


def request(family: int, proto: int, states: int) -> bytes:
    """Ask for the sockets of one family and protocol whose state's bit is set in `states`."""
    return _req_v2.pack(family, proto, 0, 0, states)


def parse_socket(body: bytes, proto: int) -> Socket:
    """Read one answer. Raises: BadMessage."""
    if len(body) < _MSG_LEN:
        raise BadMessage(f"an inet_diag message of {len(body)} bytes")
    family, state, _, _, sport, dport, src, dst = _msg.unpack_from(body)
    ifindex, cookie, _, _, _, uid, inode = _host.unpack_from(body, _msg.size)
    more = attrs(body, _MSG_LEN)
    if family == socket.AF_INET:
        src, dst = src[:4], dst[:4]
    return Socket(
        proto=proto,
        src=src,
        sport=sport,
        dst=dst if any(dst) else b"",
        dport=dport,
        state=state,
        ifindex=ifindex,
        v6only=family != socket.AF_INET and bool(u8(more.get(INET_DIAG_SKV6ONLY))),
        uid=uid,
        inode=inode,
        cookie=cookie,
        mark=int.from_bytes(more.get(INET_DIAG_MARK, b""), sys.byteorder),
        transparent=bool(u8(more.get(INET_DIAG_SOCKOPT)) & _TRANSPARENT),
    )

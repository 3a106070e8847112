"""sock_diag requests and answers: bytes to Socket.

TCP sockets of both families come from one dump in the older request form, whose answer is filtered
by state but not by family; UDP and raw need a dump for each family.

Source: include/uapi/linux/inet_diag.h, net/ipv4/inet_diag.c (inet_diag_rcv_msg_compat,
inet_diag_msg_attrs_fill), Linux 6.18.
"""

from __future__ import annotations

import socket
from struct import Struct

from agents.netlink.wire import BadMessage, attrs, u8
from netviz.core.model.socket import Socket

NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK = 18
SOCK_DIAG_BY_FAMILY = 20
INET_DIAG_SKV6ONLY, INET_DIAG_SOCKOPT = 11, 22
SOCKOPT_TRANSPARENT = 1 << 5

_msg = Struct(">4B H H 16s 16s")
_host = Struct("=I Q 5I")  # after the addresses: if, cookie, expires, rqueue, wqueue, uid, inode
_MSG_LEN = _msg.size + _host.size
_req_v2 = Struct("=4B I 48x")
_req_compat = Struct("=4B 48x I I")


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
    found = attrs(body, _MSG_LEN)
    if family == socket.AF_INET:
        src, dst = src[:4], dst[:4]
    options = found.get(INET_DIAG_SOCKOPT, b"")
    return Socket(
        proto=proto,
        src=src,
        sport=sport,
        dst=dst if any(dst) else b"",
        dport=dport,
        state=state,
        ifindex=ifindex,
        v6only=bool(u8(found.get(INET_DIAG_SKV6ONLY))),
        uid=uid,
        inode=inode,
        cookie=cookie,
        transparent=bool(options) and bool(options[0] & SOCKOPT_TRANSPARENT),
    )

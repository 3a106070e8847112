"""ctnetlink messages: bytes to CtEntry.

There may be 100,000 entries and 10,000 events a second, so the two tuples of an IPv4 TCP or UDP entry,
which always look the same, are taken apart in one go, and what entries have in common (addresses,
ports, states) is shared between them through `Interner`.

Source: net/netfilter/nf_conntrack_netlink.c, ctnetlink_fill_info and ctnetlink_conntrack_event
(Linux 6.18).
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from agents.netlink.nfnetlink import NFGENMSG_LEN, NFNL_SUBSYS_CTNETLINK, number
from agents.netlink.wire import NLA_TYPE_MASK, BadMessage, attrs, text
from netviz.core.model.conntrack import CtEntry

_SUBSYS = NFNL_SUBSYS_CTNETLINK << 8
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = _SUBSYS | 0, _SUBSYS | 1, _SUBSYS | 2
IPCTNL_MSG_CT_GET_STATS = _SUBSYS | 5

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO, CTA_HELP = 1, 2, 3, 4, 5
CTA_MARK, CTA_ZONE = 8, 18
CTA_STATS_GLOBAL_ENTRIES = 1
IPPROTO_ICMP, IPPROTO_ICMPV6 = 1, 58

CtKey = tuple[int, bytes, bytes, int, int, int]

_header = Struct("=HH").unpack_from
_u32 = Struct(">I").unpack_from
_nested = Struct("=HH").pack
_NESTED = 0x8000
# One tuple of an IPv4 entry with ports, without zone: constant headers with the values between them.
_ip4 = _nested(20, 1 | _NESTED) + _nested(8, 1)
_dst4 = _nested(8, 2)
_proto = _nested(28, 2 | _NESTED) + _nested(5, 1)
_sport = _nested(6, 2)
_dport = _nested(6, 3)
_tuple4 = "8s 4s 4s 4s 8s B 3x 4s H 2x 4s H 2x"
_tuples4 = Struct(f">4s {_tuple4} 4s {_tuple4}")
_orig4 = _nested(52, CTA_TUPLE_ORIG | _NESTED)
_reply4 = _nested(52, CTA_TUPLE_REPLY | _NESTED)
_unpack_tuples4 = _tuples4.unpack_from
_TUPLES4_LEN = _tuples4.size

# CTA_PROTOINFO nests by protocol; each has its state as attribute 1: TCP 1, DCCP 2, SCTP 3.
_STATE = 1


class Interner:
    """Share equal values: `intern(value)` returns the first equal one seen. Bounded: it forgets all when full."""

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = limit
        self._known: dict[Any, Any] = {}

    def __call__(self, value: Any) -> Any:
        if len(self._known) >= self._limit:
            self._known.clear()
        return self._known.setdefault(value, value)


def _parse_tuple(data: bytes) -> tuple[bytes, bytes, int, int, int, int]:
    """Read one tuple of any family and protocol: (src, dst, proto, sport, dport, zone)."""
    found = attrs(data)
    ip = attrs(found[1])
    src, dst = (ip[1], ip[2]) if 1 in ip else (ip[3], ip[4])
    ports = attrs(found[2])
    proto = ports[1][0]
    zone = number(found.get(3))
    if 2 in ports:
        return src, dst, proto, number(ports[2]), number(ports[3]), zone
    first = 4 if proto == IPPROTO_ICMP else 7  # CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID; then type, code
    if first in ports:
        type_code = ports[first + 1][0] << 8 | ports[first + 2][0]
        return src, dst, proto, number(ports[first]), type_code, zone
    return src, dst, proto, 0, 0, zone


def _tcp_state(data: bytes) -> int:
    protoinfo = attrs(data)
    if 1 not in protoinfo:
        return 0
    return attrs(protoinfo[1]).get(_STATE, b"\0")[0]


def parse_entry(buf: bytes, intern: Interner) -> CtEntry:
    """Read a conntrack message (of a dump or an event).

    Raises: ValueError, KeyError, struct.error when it isn't one.
    """
    pos, end = NFGENMSG_LEN, len(buf)
    zone = status = tcp_state = mark = 0
    helper = ""
    fast = None
    if end - pos >= _TUPLES4_LEN:
        fast = _unpack_tuples4(buf, pos)
    if (
        fast is not None
        and fast[0] == _orig4 and fast[1] == _ip4 and fast[3] == _dst4 and fast[5] == _proto
        and fast[7] == _sport and fast[9] == _dport and fast[11] == _reply4 and fast[12] == _ip4
        and fast[14] == _dst4 and fast[16] == _proto and fast[18] == _sport and fast[20] == _dport
    ):  # fmt: skip
        osrc, odst, proto, osport, odport = fast[2], fast[4], fast[6], fast[8], fast[10]
        rsrc, rdst, rsport, rdport = fast[13], fast[15], fast[19], fast[21]
        pos += _TUPLES4_LEN
    else:
        osrc = odst = rsrc = rdst = b""
        proto = -1
        osport = odport = rsport = rdport = 0
    while pos + 4 <= end:
        length, kind = _header(buf, pos)
        if length < 4 or pos + length > end:
            raise BadMessage(f"attribute of {length} bytes with {end - pos} left")
        kind &= NLA_TYPE_MASK
        if kind == CTA_STATUS:
            (status,) = _u32(buf, pos + 4)
        elif kind == CTA_MARK:
            (mark,) = _u32(buf, pos + 4)
        elif kind == CTA_PROTOINFO:
            tcp_state = _tcp_state(buf[pos + 4 : pos + length])
        elif kind == CTA_TUPLE_ORIG:
            osrc, odst, proto, osport, odport, own = _parse_tuple(buf[pos + 4 : pos + length])
            zone = zone or own
        elif kind == CTA_TUPLE_REPLY:
            rsrc, rdst, _, rsport, rdport, _ = _parse_tuple(buf[pos + 4 : pos + length])
        elif kind == CTA_ZONE:
            zone = number(buf[pos + 4 : pos + length])
        elif kind == CTA_HELP:
            helper = text(attrs(buf[pos + 4 : pos + length]).get(1, b""))
        pos += (length + 3) & ~3
    if proto < 0:
        raise BadMessage("a conntrack message without its original tuple")
    return CtEntry(
        proto, intern(osrc), intern(odst), intern(osport), intern(odport),
        intern(rsrc), intern(rdst), intern(rsport), intern(rdport),
        zone, intern(mark), intern(status), tcp_state, helper,
    )  # fmt: skip


def parse_count(body: bytes) -> int:
    """Read the answer to CT_GET_STATS: how many entries the namespace has."""
    return number(attrs(body, NFGENMSG_LEN).get(CTA_STATS_GLOBAL_ENTRIES))

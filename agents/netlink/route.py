"""Routes of all tables: RTM_*ROUTE messages.

Left out: cached routes and exceptions (RTM_F_CLONED), which are a flow's memory and not
configuration, and families other than IPv4 and IPv6.

Routes of a large table mostly differ in nothing but their destination, so a dump decodes a message
only when no earlier one was the same but for that.

Source: include/uapi/linux/rtnetlink.h; net/ipv4/fib_semantics.c fib_dump_info, net/ipv6/route.c
rt6_fill_node (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from agents.netlink.wire import BadMessage, Message, attrs, u8, u16, u32
from netviz.core.model.addr import AF_INET, AF_INET6
from netviz.core.model.l3 import (
    RTM_F_CLONED,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    RTNH_F_ONLINK,
    RTNH_F_PERVASIVE,
    Encap,
    Nexthop,
    Route,
)

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTNEXTHOP = struct.Struct("=HBBi")  # len, flags, hops, ifindex

RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 2, 4, 5, 6, 7
RTA_METRICS, RTA_MULTIPATH, RTA_TABLE, RTA_VIA, RTA_PREF = 8, 9, 15, 18, 20
RTA_ENCAP_TYPE, RTA_NH_ID = 21, 30
RTAX_LOCK, RTAX_MTU = 1, 2

NEXTHOP_FLAGS = RTNH_F_DEAD | RTNH_F_ONLINK | RTNH_F_LINKDOWN | RTNH_F_PERVASIVE
# Of rtm_flags: what is left when the nexthop's flags and RTM_F_NOTIFY are taken out.
_ROUTE_FLAGS = 0xFFFFFE00

ENCAP_TYPES = ("none", "mpls", "ip", "ila", "ip6", "seg6", "bpf", "seg6local", "rpl", "ioam6", "xfrm")

_ZERO = {AF_INET: bytes(4), AF_INET6: bytes(16)}


def route_dump_request(family: int = 0) -> bytes:
    """Make the body of a dump of all tables' routes, of both families for 0."""
    return RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def parse_encap(payload: bytes | None) -> Encap | None:
    """Decode RTA_ENCAP_TYPE; a type without a name here is called by its number."""
    number = u16(payload)
    if not number:
        return None
    return Encap(ENCAP_TYPES[number] if number < len(ENCAP_TYPES) else str(number))


def _gateway(a: dict[int, bytes]) -> bytes:
    via = a.get(RTA_VIA)
    return via[2:] if via is not None else a.get(RTA_GATEWAY, b"")


def parse_multipath(data: bytes) -> tuple[Nexthop, ...]:
    """Decode RTA_MULTIPATH: struct rtnexthop, each with attributes. Raises: BadMessage."""
    out = []
    offset, end = 0, len(data)
    while end - offset >= 8:
        length, flags, hops, oif = RTNEXTHOP.unpack_from(data, offset)
        if length < 8 or offset + length > end:
            raise BadMessage(f"nexthop of {length} bytes with {end - offset} left")
        a = attrs(data[offset + 8 : offset + length])
        encap = parse_encap(a.get(RTA_ENCAP_TYPE))
        out.append(Nexthop(oif, _gateway(a), hops + 1, flags & NEXTHOP_FLAGS, encap))
        offset += (length + 3) & ~3
    return tuple(out)


def _nexthops(a: dict[int, bytes], flags: int) -> tuple[Nexthop, ...]:
    if RTA_MULTIPATH in a:
        return parse_multipath(a[RTA_MULTIPATH])
    oif, gateway = u32(a.get(RTA_OIF)), _gateway(a)
    if not oif and not gateway:
        return ()
    return (Nexthop(oif, gateway, 1, flags & NEXTHOP_FLAGS, parse_encap(a.get(RTA_ENCAP_TYPE))),)


def parse_route(body: bytes) -> Route | None:
    """Decode one RTM_NEWROUTE or RTM_DELROUTE, with `pos` 0; None for what isn't state. Raises: BadMessage."""
    family, dst_len, src_len, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(body)
    zero = _ZERO.get(family)
    if zero is None or flags & RTM_F_CLONED:
        return None
    a = attrs(body, 12)
    mtu, mtu_lock = 0, False
    if RTA_METRICS in a:
        metrics = attrs(a[RTA_METRICS])
        mtu = u32(metrics.get(RTAX_MTU))
        mtu_lock = bool(u32(metrics.get(RTAX_LOCK)) & 1 << RTAX_MTU)
    return Route(
        table_id=u32(a.get(RTA_TABLE), table),
        dst=a.get(RTA_DST, zero),
        dst_len=dst_len,
        type=kind,
        tos=tos,
        metric=u32(a.get(RTA_PRIORITY)),
        scope=scope,
        protocol=protocol,
        src=a.get(RTA_SRC, b""),
        src_len=src_len,
        prefsrc=a.get(RTA_PREFSRC, b""),
        nexthops=_nexthops(a, flags),
        nhid=u32(a.get(RTA_NH_ID)),
        flags=flags & _ROUTE_FLAGS,
        mtu=mtu,
        mtu_lock=mtu_lock,
        pref=u8(a.get(RTA_PREF)),
    )


# Where the kernel puts RTA_DST: right behind the header and RTA_TABLE.
_AT_DST = RTMSG.size + 8
_DST_HEADER = {AF_INET: struct.pack("=HH", 8, RTA_DST), AF_INET6: struct.pack("=HH", 20, RTA_DST)}


class _Alike:
    """Decode routes, each distinct one but for its destination once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Route | None] = {}

    def parse(self, body: bytes) -> Route | None:
        """Do as `parse_route` does. Raises: BadMessage."""
        start = _AT_DST + 4
        end = start + len(_ZERO.get(body[0], b""))
        if body[_AT_DST:start] != _DST_HEADER.get(body[0]) or len(body) < end:
            return parse_route(body)
        rest = body[:start] + body[end:]
        try:
            alike = self._known[rest]
        except KeyError:
            alike = self._known[rest] = parse_route(body)
            return alike
        return alike if alike is None else msgspec.structs.replace(alike, dst=body[start:end])


def parse_routes(messages: Iterable[Message]) -> Iterator[Route]:
    """Decode a dump of routes, numbering those that share all of the key but `pos`."""
    parse = _Alike().parse
    seen: dict[tuple[int, bytes, int, bytes, int, int, int, int], int] = {}
    for message in messages:
        if message.type != RTM_NEWROUTE or (route := parse(message.body)) is None:
            continue
        key = route.key
        pos = seen.get(key, 0)
        seen[key] = pos + 1
        yield route if pos == 0 else msgspec.structs.replace(route, pos=pos)

"""Nexthop objects and groups: RTM_*NEXTHOP messages.

Source: include/uapi/linux/nexthop.h; net/ipv4/nexthop.c nh_fill_node (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from agents.netlink.route import NEXTHOP_FLAGS, parse_encap
from agents.netlink.wire import Message, attrs, u16, u32
from netviz.core.model.l3 import NexthopObject

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106
NHMSG = struct.Struct("=BBBBI")  # family, scope, protocol, reserved, flags
_GROUP_ENTRY = struct.Struct("=IBBH")  # id, weight - 1 (low byte), its high byte, reserved
(_ID, _GROUP, _GROUP_TYPE, _BLACKHOLE, _OIF, _GATEWAY, _ENCAP_TYPE, _FDB) = (1, 2, 3, 4, 5, 6, 7, 11)
_GROUP_TYPE_RESILIENT = 1


def nexthop_dump_request() -> bytes:
    """Make the body of a dump of nexthop objects."""
    return NHMSG.pack(0, 0, 0, 0, 0)


def parse_nexthop(body: bytes) -> NexthopObject:
    """Decode one nexthop object. Raises: BadMessage."""
    family, scope, protocol, _, flags = NHMSG.unpack_from(body)
    a = attrs(body, 8)
    group = tuple(
        (nhid, (high << 8 | low) + 1) for nhid, low, high, _ in _GROUP_ENTRY.iter_unpack(a.get(_GROUP, b""))
    )
    return NexthopObject(
        id=u32(a.get(_ID)),
        family=family,
        group=group,
        resilient=u16(a.get(_GROUP_TYPE)) == _GROUP_TYPE_RESILIENT,
        blackhole=_BLACKHOLE in a,
        oif=u32(a.get(_OIF)),
        gateway=a.get(_GATEWAY, b""),
        scope=scope,
        protocol=protocol,
        flags=flags & NEXTHOP_FLAGS,
        fdb=_FDB in a,
        encap=parse_encap(a.get(_ENCAP_TYPE)),
    )


def parse_nexthops(messages: Iterable[Message]) -> Iterator[NexthopObject]:
    """Decode a dump of nexthop objects."""
    return (parse_nexthop(m.body) for m in messages if m.type == RTM_NEWNEXTHOP)

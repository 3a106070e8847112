"""ipset messages: one message's bytes from the kernel to a set and its elements.

A dump gives each set in one or more messages: the first has its header (type, family, index and
what it was created with), and all have elements.

Source: include/uapi/linux/netfilter/ipset/ip_set.h; net/netfilter/ipset/ip_set_core.c,
ip_set_dump_do; ip_set_hash_*.c, ip_set_bitmap_*.c, ip_set_list_set.c (Linux 6.18).
"""

from __future__ import annotations

import socket

from agents.netlink.nfnetlink import NFGENMSG_LEN, nfgenmsg, number, stream_dump
from agents.netlink.wire import attr, attr_list, attrs, text
from netviz.core.model.netfilter import IpSet, IpSetElem

NFNL_SUBSYS_IPSET = 6
_SUBSYS = NFNL_SUBSYS_IPSET << 8
IPSET_CMD_LIST = _SUBSYS | 7
IPSET_PROTOCOL = 7
(ATTR_PROTOCOL, ATTR_SETNAME, ATTR_TYPENAME, ATTR_REVISION, ATTR_FAMILY, ATTR_FLAGS, ATTR_DATA, ATTR_ADT) = (
    range(1, 9)
)
ATTR_INDEX = 11
IPSET_FLAG_PHYSDEV, IPSET_FLAG_NOMATCH, IPSET_FLAG_IFACE_WILDCARD = 1 << 1, 1 << 2, 1 << 7
IPSET_FLAG_WITH_COUNTERS = 1 << 3


def read_sets(sock: socket.socket) -> list[tuple[IpSet, list[bytes]]]:
    """Dump all sets of the socket's namespace, each with its raw elements. Raises: OSError, BadMessage."""
    found: dict[str, tuple[IpSet, list[bytes]]] = {}
    request = nfgenmsg() + attr(ATTR_PROTOCOL, bytes([IPSET_PROTOCOL]))
    for body in stream_dump(sock, IPSET_CMD_LIST, request):
        one, elems = parse_set(body)
        known = found.setdefault(one.name, (one, []))
        known[1].extend(elems)
    return list(found.values())


def parse_set(body: bytes) -> tuple[IpSet, list[bytes]]:
    """Read one message: the set as far as this message tells, and its raw elements. Raises: BadMessage."""
    found = attrs(body, NFGENMSG_LEN)
    made = attrs(found.get(ATTR_DATA, b""))
    timeout = number(made[6]) if 6 in made else None
    one = IpSet(
        name=text(found[ATTR_SETNAME]),
        type=text(found.get(ATTR_TYPENAME, b"")),
        family=number(found.get(ATTR_FAMILY)),
        index=number(found.get(ATTR_INDEX)),
        netmask=number(made.get(20)),
        bitmask=_ip(made.get(12)),
        markmask=number(made.get(11), 0xFFFFFFFF),
        timeout_s=timeout,
        counters=bool(number(made.get(8)) & IPSET_FLAG_WITH_COUNTERS),
    )
    return one, [raw for _, raw in attr_list(found.get(ATTR_ADT, b""))]


def _ip(data: bytes | None) -> bytes:
    """Read a nested address (IPSET_ATTR_IPADDR_IPV4 or _IPV6)."""
    return next(iter(attrs(data).values()), b"") if data else b""


def stable_elem(raw: bytes) -> bytes:
    """Leave out of a raw element what changes by itself: the time that is left, and counters."""
    return b"".join(attr(kind, data) for kind, data in attr_list(raw) if kind not in (6, 24, 25))


def parse_elem(raw: bytes) -> IpSetElem:
    """Read one element. Raises: BadMessage."""
    found = attrs(raw)
    flags, skbmark = number(found.get(8)), number(found.get(27))
    return IpSetElem(
        ip=_ip(found.get(1)),
        cidr=number(found[3]) if 3 in found else None,
        proto=number(found.get(7)),
        port=number(found.get(4)),
        ip2=_ip(found.get(20)),
        cidr2=number(found[21]) if 21 in found else None,
        mac=found.get(17, b""),
        mark=number(found.get(10)),
        name=text(found.get(23)) or text(found.get(18)),
        physdev=bool(flags & IPSET_FLAG_PHYSDEV),
        nomatch=bool(flags & IPSET_FLAG_NOMATCH),
        wildcard=bool(flags & IPSET_FLAG_IFACE_WILDCARD),
        skbmark=(skbmark >> 32, skbmark & 0xFFFFFFFF),
    )

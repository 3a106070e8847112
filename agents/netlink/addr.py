"""Addresses: RTM_*ADDR messages.

Source: include/uapi/linux/if_addr.h; net/ipv4/devinet.c inet_fill_ifaddr, net/ipv6/addrconf.c
inet6_fill_ifaddr (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from agents.netlink.wire import Message, attr, attrs, text, u32
from netviz.core.model.addr import AF_INET, AF_INET6
from netviz.core.model.l3 import Addr

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
IFADDRMSG = struct.Struct("=BBBBI")  # family, prefixlen, flags, scope, index
_ADDRESS, _LOCAL, _LABEL, _BROADCAST, _FLAGS, IFA_TARGET_NETNSID = 1, 2, 3, 4, 8, 10


def addr_dump_request(family: int = 0, target_nsid: int | None = None) -> bytes:
    """Make the body of a dump of addresses, of both families for 0, perhaps of another namespace."""
    body = IFADDRMSG.pack(family, 0, 0, 0, 0)
    return body if target_nsid is None else body + attr(IFA_TARGET_NETNSID, struct.pack("=i", target_nsid))


def parse_addr(body: bytes) -> Addr | None:
    """Decode one RTM_NEWADDR or RTM_DELADDR; None for families other than IPv4 and IPv6. Raises: BadMessage."""
    family, prefixlen, flags, scope, ifindex = IFADDRMSG.unpack_from(body)
    if family not in (AF_INET, AF_INET6):
        return None
    a = attrs(body, 8)
    address = a.get(_ADDRESS, b"")
    local = a.get(_LOCAL, address)
    return Addr(
        ifindex=ifindex,
        addr=local,
        prefixlen=prefixlen,
        peer=address if address != local else b"",
        scope=scope,
        flags=u32(a.get(_FLAGS), flags),
        label=text(a.get(_LABEL)),
        broadcast=a.get(_BROADCAST, b""),
    )


def parse_addrs(messages: Iterable[Message]) -> Iterator[Addr]:
    """Decode a dump of addresses."""
    for message in messages:
        if message.type == RTM_NEWADDR and (addr := parse_addr(message.body)) is not None:
            yield addr

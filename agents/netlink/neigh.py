"""Neighbours, neighbour proxies and forwarding entries: RTM_*NEIGH messages.

What isn't state is left out: neighbours without an answer (see `netviz.core.model.l2.Neigh`);
neighbours that the kernel makes by itself for multicast, broadcast and its own addresses (NOARP,
told by their route type: made and dropped without a word, and they decide nothing that the address
doesn't); and the receive filters of ordinary devices, which an AF_BRIDGE dump lists as NTF_SELF
entries without a destination.

Source: include/uapi/linux/neighbour.h; net/core/neighbour.c neigh_fill_info, net/bridge/br_fdb.c
fdb_fill_info, drivers/net/vxlan vxlan_fdb_info, net/core/rtnetlink.c nlmsg_populate_fdb_fill (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from agents.netlink.wire import Message, attrs, be16, u16, u32
from netviz.core.model.addr import AF_BRIDGE, AF_INET, AF_INET6
from netviz.core.model.l2 import NTF_PROXY, NTF_SELF, NUD_NOARP, NUD_PERMANENT, Fdb, Neigh, normal_nud
from netviz.core.model.l3 import RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
(_DST, _LLADDR, _VLAN, _PORT, _VNI, _IFINDEX, _MASTER, _SRC_VNI, _NH_ID) = (1, 2, 5, 6, 7, 8, 9, 11, 13)

_IMPLIED_TYPES = (RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST)


def neigh_dump_request(*, proxy: bool = False) -> bytes:
    """Make the body of a dump of both families' neighbours, or of their proxies."""
    return NDMSG.pack(0, 0, 0, NTF_PROXY if proxy else 0, 0)


def fdb_dump_request() -> bytes:
    """Make the body of a dump of all forwarding entries."""
    return NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0)


def parse_neigh(body: bytes) -> Neigh | None:
    """Decode one neighbour or proxy. Raises: BadMessage.

    One that isn't state now (no answer yet) has state 0, so that an event can say that it ceased to
    be; None is for families and kinds that never are.
    """
    family, ifindex, state, flags, kind = NDMSG.unpack_from(body)
    if family not in (AF_INET, AF_INET6):
        return None
    a = attrs(body, 12)
    if _DST not in a:
        return None
    if flags & NTF_PROXY:
        return Neigh(ifindex, a[_DST], flags=flags)
    if state == NUD_NOARP and kind in _IMPLIED_TYPES:
        return None
    nud = normal_nud(state)
    return Neigh(ifindex, a[_DST], a.get(_LLADDR, b"") if nud else b"", nud, flags)


def is_state(neigh: Neigh) -> bool:
    """Tell whether a decoded neighbour is state."""
    return bool(neigh.state or neigh.flags & NTF_PROXY)


def parse_neighs(messages: Iterable[Message]) -> Iterator[Neigh]:
    """Decode a dump of neighbours or proxies."""
    for message in messages:
        if message.type == RTM_NEWNEIGH:
            neigh = parse_neigh(message.body)
            if neigh is not None and is_state(neigh):
                yield neigh


def parse_fdb_entry(body: bytes) -> Fdb | None:
    """Decode one forwarding entry; None for a device's receive filter. Raises: BadMessage."""
    family, ifindex, state, flags, _kind = NDMSG.unpack_from(body)
    if family != AF_BRIDGE:
        return None
    a = attrs(body, 12)
    master = u32(a.get(_MASTER))
    if not master and flags & NTF_SELF and not (a.keys() & {_DST, _PORT, _VNI, _SRC_VNI, _IFINDEX, _NH_ID}):
        return None
    return Fdb(
        ifindex=ifindex,
        mac=a.get(_LLADDR, b""),
        vlan=u16(a.get(_VLAN)),
        state=normal_nud(state) if state else NUD_PERMANENT if not master else 0,
        flags=flags,
        master=master,
        dst=a.get(_DST, b""),
        vni=u32(a.get(_VNI)) or u32(a.get(_SRC_VNI)),
        port=be16(a.get(_PORT)),
        oif=u32(a.get(_IFINDEX)),
        nhid=u32(a.get(_NH_ID)),
    )


def parse_fdb(messages: Iterable[Message]) -> Iterator[Fdb]:
    """Decode a dump of forwarding entries."""
    for message in messages:
        if message.type == RTM_NEWNEIGH and (entry := parse_fdb_entry(message.body)) is not None:
            yield entry

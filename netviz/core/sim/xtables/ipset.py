"""Lookups in ipsets.

A set's type names its dimensions ("hash:ip,port,net"); the rule says for each whether the packet's
source or destination side is compared. An index maps the exact key of an element (networks masked to
their length) to the element; a lookup tries each combination of prefix lengths that occurs, longest
first, and the first that is found decides, so that a longer `nomatch` network makes an exception.

Source: net/netfilter/ipset/ip_set_core.c, ip_set_test; ip_set_hash_gen.h, mtype_test_cidrs;
ip_set_bitmap_gen.h; ip_set_list_set.c, list_set_ktest; ip_set_getport.c, get_port (Linux 6.18).

Unmodelled: bitmap:ip,mac and time-outs that have passed since the state was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, IpSet, IpSetBody, IpSetElem
from netviz.core.sim.index import ByIdentity
from netviz.core.sim.nft_context import Context, Tri
from netviz.core.sim.packet import Packet
from netviz.core.sim.xtables.decode import SetRef

IPSET_INV_MATCH = 1
IPSET_RETURN_NOMATCH = 1 << 7
MAX_DEPTH = 4
PORT_PROTOS = (1, 6, 17, 33, 58, 132, 136)
# The dimensions of each type that is modelled.
DIMENSIONS = {
    "hash:ip": ("ip",),
    "hash:net": ("net",),
    "hash:mac": ("mac",),
    "hash:ip,mac": ("ip", "mac"),
    "hash:ip,mark": ("ip", "mark"),
    "hash:ip,port": ("ip", "port"),
    "hash:net,port": ("net", "port"),
    "hash:net,net": ("net", "net"),
    "hash:net,iface": ("net", "iface"),
    "hash:ip,port,ip": ("ip", "port", "ip"),
    "hash:ip,port,net": ("ip", "port", "net"),
    "hash:net,port,net": ("net", "port", "net"),
    "bitmap:ip": ("ip",),
    "bitmap:port": ("port",),
}

Key = tuple[Any, ...]


class SetIndex(msgspec.Struct, frozen=True):
    """Elements by key, for each combination of prefix lengths, in the order in which they are tried."""

    levels: tuple[tuple[tuple[int, int], dict[Key, IpSetElem]], ...]


def _masked(addr: bytes, length: int) -> int:
    return int.from_bytes(addr, "big") >> (len(addr) * 8 - length)


def _element_key(kind: str, dims: tuple[str, ...], elem: IpSetElem, cidrs: tuple[int, int]) -> Key:
    key: list[Any] = []
    second = False
    for dim in dims:
        if dim in ("ip", "net"):
            addr, length = (elem.ip2, cidrs[1]) if second else (elem.ip, cidrs[0])
            key.append((len(addr), _masked(addr, length)))
            second = True
        elif dim == "port":
            key.append(elem.port if kind == "bitmap:port" else (elem.proto, elem.port))
        else:
            key.append({"mac": elem.mac, "mark": elem.mark, "iface": (elem.physdev, elem.name)}[dim])
    return tuple(key)


def build_index(kind: str, body: IpSetBody) -> SetIndex:
    """Index a body as sets of type `kind` look it up."""
    dims = DIMENSIONS[kind]
    levels: dict[tuple[int, int], dict[Key, IpSetElem]] = {}
    for elem in body.elems:
        cidrs = (
            len(elem.ip) * 8 if elem.cidr is None else elem.cidr,
            len(elem.ip2) * 8 if elem.cidr2 is None else elem.cidr2,
        )
        levels.setdefault(cidrs, {})[_element_key(kind, dims, elem, cidrs)] = elem
    return SetIndex(tuple(sorted(levels.items(), key=lambda item: item[0], reverse=True)))


_indexes: ByIdentity[IpSetBody, dict[str, SetIndex]] = ByIdentity(lambda _body: {})
_by_index: ByIdentity[Mapping[Any, IpSet], dict[int, IpSet]] = ByIdentity(
    lambda sets: {one.index: one for one in sets.values()}
)


def index_of(kind: str, body: IpSetBody) -> SetIndex:
    """Return the index of a body, remembering it."""
    known = _indexes(body)
    if kind not in known:
        known[kind] = build_index(kind, body)
    return known[kind]


def set_named(sets: Mapping[Any, IpSet], index: int) -> IpSet | None:
    """Find the set that rules know by `index`."""
    return _by_index(sets).get(index)


def _port(packet: Packet, source: bool) -> tuple[int, int] | None:
    """Return (protocol, port); ICMP's type and code stand for a port."""
    if packet.proto not in PORT_PROTOS:
        return None
    if packet.is_icmp:
        return packet.proto, packet.icmp_type << 8 | packet.icmp_code
    return packet.proto, packet.sport if source else packet.dport


def _values(ctx: Context, record: IpSet, ref: SetRef) -> list[Any] | Tri:
    """Take what is compared, a value for each dimension, from the packet; addresses as bytes."""
    packet = ctx.packet
    values: list[Any] = []
    for number, dim in enumerate(DIMENSIONS[record.type]):
        source = bool(ref.flags & (2 << number))
        if dim in ("ip", "net"):
            addr = packet.src if source else packet.dst
            if dim == "ip" and number == 0 and record.bitmask:
                addr = bytes(a & b for a, b in zip(addr, record.bitmask, strict=False))
            elif dim == "ip" and number == 0 and record.netmask:
                width = len(addr) * 8
                kept = _masked(addr, record.netmask) << (width - record.netmask)
                addr = kept.to_bytes(len(addr), "big")
            values.append(addr)
        elif dim == "port":
            if packet.sport_unsure if source else packet.dport_unsure:
                return Tri.UNKNOWN
            port = _port(packet, source)
            if port is None:
                return Tri.FALSE
            values.append(port[1] if record.type == "bitmap:port" else port)
        elif dim == "mark":
            values.append(packet.mark & record.markmask)
        elif dim == "mac":
            mac = packet.smac if source else packet.dmac
            if not mac:
                return Tri.UNKNOWN if ctx.iif is not None else Tri.FALSE
            values.append(mac)
        else:
            link = ctx.iif if source else ctx.oif
            values.append((False, link.ifname if link is not None else ""))
    return values


def _find(record: IpSet, body: IpSetBody, values: list[Any]) -> IpSetElem | None:
    for cidrs, elements in index_of(record.type, body).levels:
        key: list[Any] = []
        second = False
        for value in values:
            if isinstance(value, bytes) and len(value) != 6:
                length = cidrs[1] if second else cidrs[0]
                key.append((len(value), _masked(value, min(length, len(value) * 8))))
                second = True
            else:
                key.append(value)
        if (found := elements.get(tuple(key))) is not None:
            return found
    return None


def contains(ctx: Context, record: IpSet, ref: SetRef, depth: int = 0) -> Tri:
    """Tell whether the packet's values are in a set."""
    if (ctx.ns.key, record.index) in ctx.run.changed_sets:
        return Tri.UNKNOWN
    own = NFPROTO_IPV6 if ctx.packet.ipv6 else NFPROTO_IPV4
    if record.family not in (0, own):
        return Tri.FALSE
    body = ctx.run.cluster.bodies.get(record.body) if record.body else IpSetBody()
    if not isinstance(body, IpSetBody):
        return Tri.UNKNOWN
    if record.type == "list:set":
        return _in_members(ctx, body, ref, depth)
    if record.type not in DIMENSIONS:
        return Tri.UNKNOWN
    if ref.dim < len(DIMENSIONS[record.type]):
        return Tri.FALSE
    if record.type == "hash:net,iface" and any(elem.physdev for elem in body.elems):
        return Tri.UNKNOWN
    values = _values(ctx, record, ref)
    if isinstance(values, Tri):
        return values
    found = _find(record, body, values)
    if found is None:
        return Tri.FALSE
    if found.nomatch:
        return Tri.TRUE if ref.options & IPSET_RETURN_NOMATCH else Tri.FALSE
    return Tri.FALSE if ref.options & IPSET_RETURN_NOMATCH else Tri.TRUE


def _in_members(ctx: Context, body: IpSetBody, ref: SetRef, depth: int) -> Tri:
    """Test the member sets in order; the first that has the packet decides."""
    if depth >= MAX_DEPTH:
        return Tri.UNKNOWN
    unknown = False
    for elem in body.elems:
        member = ctx.ns.ipsets.get(elem.name)
        result = contains(ctx, member, ref, depth + 1) if member is not None else Tri.UNKNOWN
        if result is Tri.TRUE:
            return Tri.TRUE
        unknown = unknown or result is Tri.UNKNOWN
    return Tri.UNKNOWN if unknown else Tri.FALSE


def match_set(ctx: Context, ref: SetRef) -> Tri:
    """Evaluate the `set` match. Source: net/netfilter/xt_set.c, set_match_v4, match_set (Linux 6.18)."""
    record = set_named(ctx.ns.ipsets, ref.index)
    if record is None or ref.counted:
        return Tri.UNKNOWN
    result = contains(ctx, record, ref)
    if result is Tri.UNKNOWN or not ref.flags & IPSET_INV_MATCH:
        return result
    return Tri.FALSE if result is Tri.TRUE else Tri.TRUE

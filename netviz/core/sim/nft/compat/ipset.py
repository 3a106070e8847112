"""Lookups in ipsets.

A set's type names its dimensions ("hash:ip,port,net"); the rule says for each whether the packet's
source or destination side is compared. An index maps the exact key of an element (networks masked to
their length) to the element; a lookup tries each combination of prefix lengths that occurs, longest
first, and the first that is found decides, so that a longer `nomatch` network makes an exception.

Source: net/netfilter/ipset/ip_set_core.c, ip_set_test; ip_set_hash_gen.h, mtype_test_cidrs;
ip_set_bitmap_gen.h; ip_set_list_set.c, list_set_ktest; ip_set_getport.c, get_port (Linux 6.18).

What a packet itself adds to or deletes from a set is remembered for the rest of the run.

Unmodelled: time-outs that have passed since the state was read; element counters, which move on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, IpSet, IpSetBody, IpSetElem
from netviz.core.sim.index import Index
from netviz.core.sim.nft.compat.answers import invert_known, tri
from netviz.core.sim.nft.context import Context, Result, Stop, Tri
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, Packet
from netviz.core.sim.xtables.payloads import SetRef

IPSET_INV_MATCH = 1
IPSET_FLAG_PHYSDEV, IPSET_RETURN_NOMATCH = 1 << 1, 1 << 7
IPSET_MAP_SKBMARK = 1 << 8
INVALID_ID = 0xFFFF
MAX_DEPTH = 4
DELETED, ADDED, MAYBE = 0, 1, 2
NEVER_FULL = 16_384  # elements that any set has room for
PORT_PROTOS = (6, 17, 132, 136)
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
    "bitmap:ip,mac": ("ip", "mac"),
    "bitmap:port": ("port",),
}
# Types of which a packet changes exactly the element that it would find.
EXACT = ("hash:ip", "hash:mac", "hash:ip,mac", "hash:ip,mark", "hash:ip,port", "hash:ip,port,ip")

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
        elif kind == "bitmap:ip,mac":
            continue  # an element without a MAC takes any: compared once it is found
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


_indexes: Index[IpSetBody, dict[str, SetIndex]] = Index(lambda _body: {})
_by_index: Index[Mapping[Any, IpSet], dict[int, IpSet]] = Index(
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


def _port(packet: Packet, source: bool) -> tuple[int, int]:
    """Return (protocol, port); ICMP's type and code stand for a port, other protocols have port 0.

    Source: net/netfilter/ipset/ip_set_getport.c, get_port.
    """
    if packet.is_icmp:
        return packet.proto, packet.icmp_type << 8 | packet.icmp_code
    if packet.proto not in PORT_PROTOS:
        return packet.proto, 0
    return packet.proto, packet.sport if source else packet.dport


def _addr(record: IpSet, packet: Packet, source: bool, first: bool) -> bytes:
    """Take an address as the set wants it: masked, where the set was made so."""
    addr = packet.src if source else packet.dst
    if first and record.bitmask:
        return bytes(a & b for a, b in zip(addr, record.bitmask, strict=False))
    if first and record.netmask:
        kept = _masked(addr, record.netmask) << (len(addr) * 8 - record.netmask)
        return kept.to_bytes(len(addr), "big")
    return addr


def _port_value(record: IpSet, packet: Packet, source: bool) -> Any:
    if packet.sport_unsure if source else packet.dport_unsure:
        return Tri.UNKNOWN
    proto, port = _port(packet, source)
    if record.type != "bitmap:port":
        return proto, port
    return port if proto in (IPPROTO_TCP, IPPROTO_UDP) else Tri.FALSE


def _iface(ctx: Context, ref: SetRef, source: bool) -> Any:
    """Name the device, or with the rule's flag the bridge port. Source: ip_set_hash_netiface.c, hash_netiface4_kadt."""
    physdev = bool(ref.options & IPSET_FLAG_PHYSDEV)
    if physdev:
        link = ctx.ns.links.get(ctx.packet.physin if source else ctx.packet.physout)
    else:
        link = ctx.iif if source else ctx.oif
    return (physdev, link.ifname) if link is not None else Tri.FALSE


def _values(ctx: Context, record: IpSet, ref: SetRef) -> list[Any] | Tri:
    """Take what is compared, a value for each dimension, from the packet; addresses as bytes."""
    packet = ctx.packet
    values: list[Any] = []
    for number, dim in enumerate(DIMENSIONS[record.type]):
        source = bool(ref.flags & (2 << number))
        value: Any
        if dim in ("ip", "net"):
            value = _addr(record, packet, source, dim == "ip" and number == 0)
        elif dim == "port":
            value = _port_value(record, packet, source)
        elif dim == "mark":
            value = packet.mark & record.markmask
        elif dim == "mac":
            value = packet.smac if source else packet.dmac
            if not value:
                value = Tri.UNKNOWN if ctx.iif is not None else Tri.FALSE
        else:
            value = _iface(ctx, ref, source)
        if isinstance(value, Tri):
            return value
        values.append(value)
    return values


def _find(record: IpSet, body: IpSetBody, values: list[Any]) -> IpSetElem | None:
    if record.type == "bitmap:ip,mac":
        found = _find_by_key(record, body, values[:1])
        return found if found is not None and found.mac in (b"", values[1]) else None
    if record.type == "hash:net,iface" and any(elem.wildcard for elem in body.elems):
        physdev, name = values[1]
        values = [values[0], (physdev, next((n for n in _prefixes(body) if name.startswith(n)), name))]
    return _find_by_key(record, body, values)


def _prefixes(body: IpSetBody) -> list[str]:
    return [elem.name for elem in body.elems if elem.wildcard]


def _find_by_key(record: IpSet, body: IpSetBody, values: list[Any]) -> IpSetElem | None:
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


def _body(ctx: Context, record: IpSet) -> IpSetBody | None:
    body = ctx.run.cluster.bodies.get(record.body) if record.body else IpSetBody()
    return body if isinstance(body, IpSetBody) else None


def _lookup(ctx: Context, record: IpSet, ref: SetRef, depth: int = 0) -> tuple[Tri, IpSetElem | None]:
    """Tell whether the packet's values are in a set, and as which element.

    Source: net/netfilter/ipset/ip_set_core.c, ip_set_test.
    """
    own = NFPROTO_IPV6 if ctx.packet.ipv6 else NFPROTO_IPV4
    if record.family not in (0, own):
        return Tri.FALSE, None
    body = _body(ctx, record)
    if body is None:
        return Tri.UNKNOWN, None
    if record.type == "list:set":
        return _in_members(ctx, body, ref, depth)
    if record.type not in DIMENSIONS:
        return Tri.UNKNOWN, None
    if ref.dim < len(DIMENSIONS[record.type]):
        return Tri.FALSE, None
    values = _values(ctx, record, ref)
    if isinstance(values, Tri):
        return values, None
    changed = _changed(ctx, record, body, values)
    if changed is not None:
        return changed, None
    found = _find(record, body, values)
    if found is None:
        return Tri.FALSE, None
    if ref.counted and record.counters:
        return Tri.UNKNOWN, found
    wants_nomatch = bool(ref.options & IPSET_RETURN_NOMATCH) and ":net" in record.type.replace(",", ":")
    return tri(found.nomatch == wants_nomatch), found


def _changed(ctx: Context, record: IpSet, body: IpSetBody, values: list[Any]) -> Tri | None:
    """Say what the run's own changes made of the element with these values; None: they left it alone."""
    last = ctx.run.memory.rule_scratch.get(("set", ctx.ns.key, record.index, tuple(values)))
    if last is not None:
        known = last != MAYBE and record.type in EXACT and len(body.elems) < NEVER_FULL
        return tri(bool(last)) if known else Tri.UNKNOWN
    other = (ctx.ns.key, record.index) in ctx.run.memory.changed_sets and record.type not in EXACT
    return Tri.UNKNOWN if other else None


def _in_members(ctx: Context, body: IpSetBody, ref: SetRef, depth: int) -> tuple[Tri, IpSetElem | None]:
    """Test the member sets in order; the first that has the packet decides."""
    if depth >= MAX_DEPTH:
        return Tri.UNKNOWN, None
    plain = msgspec.structs.replace(ref, packets=(0, 0), bytes=(0, 0))  # members' counters don't decide
    unknown = False
    for elem in body.elems:
        member = ctx.ns.ipsets.get(elem.name)
        result = _lookup(ctx, member, plain, depth + 1)[0] if member is not None else Tri.UNKNOWN
        if result is Tri.TRUE:
            return Tri.TRUE, None if unknown else elem  # whichever has it
        unknown = unknown or result is Tri.UNKNOWN
    return Tri.UNKNOWN if unknown else Tri.FALSE, None


def match_set(ctx: Context, ref: SetRef) -> Tri:
    """Evaluate the `set` match; conditions on counters are asked after `!` is.

    Source: net/netfilter/xt_set.c, set_match_v4, match_set (Linux 6.18).
    """
    record = set_named(ctx.ns.ipsets, ref.index)
    if record is None or (ref.counted and (record.type == "list:set" or ref.flags & IPSET_INV_MATCH)):
        return Tri.UNKNOWN
    return invert_known(_lookup(ctx, record, ref)[0], bool(ref.flags & IPSET_INV_MATCH))


def change_set(ctx: Context, ref: SetRef, added: bool) -> None:
    """Note that the packet puts its values into a set, or takes them out; of a list, one of the members may do so.

    Source: net/netfilter/ipset/ip_set_core.c, ip_set_add, ip_set_del; ip_set_list_set.c, list_set_kadd (Linux 6.18).
    """
    record = set_named(ctx.ns.ipsets, ref.index) if ref.index != INVALID_ID else None
    if record is None:
        return
    if record.type != "list:set":
        _note_change(ctx, record, ref, ADDED if added else DELETED)
        return
    body = _body(ctx, record)
    for elem in body.elems if body is not None else ():
        member = ctx.ns.ipsets.get(elem.name)
        if member is not None:
            _note_change(ctx, member, ref, MAYBE)


def _note_change(ctx: Context, record: IpSet, ref: SetRef, what: int) -> None:
    memory = ctx.run.memory
    ctx.run.memory = memory.but(changed_sets=memory.changed_sets | {(ctx.ns.key, record.index)})
    own = NFPROTO_IPV6 if ctx.packet.ipv6 else NFPROTO_IPV4
    if record.type not in DIMENSIONS or record.family not in (0, own):
        return
    if ref.dim < len(DIMENSIONS[record.type]):
        return
    values = _values(ctx, record, ref)
    if not isinstance(values, Tri):
        key = ("set", ctx.ns.key, record.index, tuple(values))
        ctx.run.memory = ctx.run.memory.with_scratch(key, what)


def map_set(ctx: Context, ref: SetRef, flags: int) -> Result:
    """Take the packet's mark from the element that it finds. Source: net/netfilter/xt_set.c, set_target_v3."""
    if ref.index == INVALID_ID or not flags & IPSET_MAP_SKBMARK:
        return Tri.TRUE
    record = set_named(ctx.ns.ipsets, ref.index)
    if record is None:
        return Stop("target SET --map-set of an unknown set")
    result, found = _lookup(ctx, record, ref)
    if result is Tri.FALSE:
        return Tri.TRUE
    if result is Tri.UNKNOWN or found is None or ref.flags & IPSET_INV_MATCH:
        return Stop("target SET --map-set")
    mark, mask = found.skbmark
    ctx.packet = ctx.packet.but(mark=(ctx.packet.mark & ~mask & 0xFFFFFFFF) ^ mark)
    return Tri.TRUE

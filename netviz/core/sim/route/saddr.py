"""Source address selection, and whose address an address is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netviz.core.model.addr import in_prefix
from netviz.core.model.l3 import RT_SCOPE_HOST, RT_SCOPE_LINK, RTN_LOCAL, Addr
from netviz.core.sim.index import Index
from netviz.core.sim.one_read import one_read
from netviz.core.sim.route.rules import RouteResult, assumed_on_link, lookup_local, vrf_of
from netviz.core.state.node import NetnsState

IFA_F_SECONDARY, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x01, 0x20, 0x40
LINK_LOCAL6 = (bytes.fromhex("fe80") + bytes(14), 10)
LOOPBACK4 = b"\x7f\0\0\x01"
LOOPBACK6 = bytes(15) + b"\x01"
LINK_SCOPE6, GLOBAL_SCOPE6 = 2, 14
LABELS6 = tuple(
    (bytes.fromhex(prefix).ljust(16, b"\0"), length, label)
    for prefix, length, label in (
        ("00000000000000000000000000000001", 128, 0),
        ("00000000000000000000ffff", 96, 4),
        ("", 96, 3),
        ("20010000", 32, 6),
        ("20010010", 28, 7),
        ("3ffe", 16, 12),
        ("2002", 16, 2),
        ("fec0", 10, 11),
        ("fc", 7, 5),
        ("", 0, 1),
    )
)


def build_by_link(addrs: Mapping[Any, Addr]) -> dict[int, list[Addr]]:
    """Index a namespace's addresses by link."""
    index: dict[int, list[Addr]] = {}
    for addr in addrs.values():
        index.setdefault(addr.ifindex, []).append(addr)
    return index


def build_by_addr(addrs: Mapping[Any, Addr]) -> dict[bytes, list[Addr]]:
    """Index a namespace's address records by address."""
    index: dict[bytes, list[Addr]] = {}
    for addr in addrs.values():
        index.setdefault(addr.addr, []).append(addr)
    return index


addrs_by_link: Index[Mapping[Any, Addr], dict[int, list[Addr]]] = Index(build_by_link)
addrs_by_addr: Index[Mapping[Any, Addr], dict[bytes, list[Addr]]] = Index(build_by_addr)


def link_addrs(ns: NetnsState, ifindex: int) -> list[Addr]:
    """List a link's addresses."""
    return addrs_by_link(ns.addrs).get(ifindex, [])


def owned_addrs(ns: NetnsState, addr: bytes) -> list[Addr]:
    """List the address records of `addr` in a namespace."""
    return addrs_by_addr(ns.addrs).get(addr, [])


def may_send_from(ns: NetnsState, addr: bytes) -> bool:
    """Tell whether a packet with this source finds a route at all: IPv4's must be an address here, or in table local.

    A transparent socket may send from any. IPv6 asks nothing of the kind.

    Source: net/ipv4/route.c, ip_route_output_key_hash_rcu; net/ipv4/devinet.c, __ip_dev_find (Linux 6.18).
    """
    if len(addr) == 16 or owned_addrs(ns, addr):
        return True
    found = lookup_local(ns, addr)
    return found is not None and not found.error and found.route.type == RTN_LOCAL


def is_link_local6(addr: bytes) -> bool:
    """Tell whether an IPv6 address is link-local (fe80::/10)."""
    return len(addr) == 16 and in_prefix(addr, *LINK_LOCAL6)


def is_multicast(addr: bytes) -> bool:
    """Tell whether an address is multicast."""
    return addr[0] >> 4 == 0xE if len(addr) == 4 else addr[0] == 0xFF


@one_read(sections=("addrs", "links"))
def select_on_link(ns: NetnsState, ifindex: int, dst: bytes, scope: int) -> bytes:
    """Choose an IPv4 source on a device: one whose subnet holds `dst`, else the first, not above `scope`.

    Falls back to any other device's address in the same VRF, as the kernel does.

    Source: net/ipv4/devinet.c, inet_select_addr (Linux 6.18).
    """
    first = b""
    for addr in link_addrs(ns, ifindex):
        if len(addr.addr) != 4 or addr.flags & IFA_F_SECONDARY or min(addr.scope, RT_SCOPE_HOST) > scope:
            continue
        if not dst or in_prefix(dst, addr.peer or addr.addr, addr.prefixlen):
            return addr.addr
        first = first or addr.addr
    if first:
        return first
    vrf = vrf_of(ns.links, ifindex)
    for addr in ns.addrs.values():
        if len(addr.addr) != 4 or addr.flags & IFA_F_SECONDARY or addr.scope > scope:
            continue
        if vrf_of(ns.links, addr.ifindex) != vrf:
            continue
        if addr.scope != RT_SCOPE_LINK:
            return addr.addr
    return b""


def select_source(ns: NetnsState, result: RouteResult, oif: int, gateway: bytes, dst: bytes) -> bytes:
    """Choose the source address of the host's own packet.

    Source: net/ipv4/fib_semantics.c, fib_result_prefsrc, fib_info_update_nhc_saddr;
    net/ipv6/addrconf.c, ipv6_dev_get_saddr (Linux 6.18).
    """
    route = result.route
    if route is not None and route.prefsrc:
        return route.prefsrc
    if len(dst) == 16:
        return source6(ns, oif, dst)
    if result.local:
        return dst
    scope = route.scope if route is not None else 0
    return select_on_link(ns, oif, gateway if len(gateway) == 4 else b"", scope)


def open_source(ns: NetnsState, result: RouteResult, oif: int, dst: bytes) -> bytes:
    """Choose the source for a socket that is bound to no address, by its route without one; b"" where there is none.

    Where that finds an error, IPv6 takes any device's address and asks again; IPv4 fails, unless the socket is bound
    to a device, `oif`.

    Source: net/ipv6/ip6_output.c, ip6_dst_lookup_tail; net/ipv4/route.c, ip_route_output_key_hash_rcu (Linux 6.18).
    """
    if not result.error and result.nexthops:
        return select_source(ns, result, result.nexthops[0].oif, result.nexthops[0].gateway, dst)
    if not result.error:
        return b""
    if len(dst) == 16:
        return source6(ns, 0, dst)
    return select_on_link(ns, oif, b"", RT_SCOPE_LINK) if assumed_on_link(ns.links, oif, dst) else b""


@one_read(sections=("addrs",))
def source6(ns: NetnsState, oif: int, dst: bytes) -> bytes:
    """Choose an IPv6 source by RFC 6724's rules 1, 2, 3, 5, 6 and 8.

    Unmodelled: home and temporary addresses (rules 4, 7), and labels that an administrator has set.

    Source: net/ipv6/addrconf.c, ipv6_dev_get_saddr, ipv6_get_saddr_eval (Linux 6.18).
    """
    scope, label = _scope6(dst), _label6(dst)
    best: tuple[bool, int, bool, bool, bool, int] | None = None
    chosen = b""
    number = int.from_bytes(dst, "big")
    for addr in ns.addrs.values():
        if len(addr.addr) != 16 or addr.flags & IFA_F_TENTATIVE:
            continue
        own = _scope6(addr.addr)
        if addr.ifindex != oif and LINK_SCOPE6 in (own, scope):
            continue
        common = 128 - (int.from_bytes(addr.addr, "big") ^ number).bit_length()
        rank = (
            addr.addr == dst,
            -own if own >= scope else own - 128,
            not addr.flags & IFA_F_DEPRECATED,
            addr.ifindex == oif,
            _label6(addr.addr) == label,
            min(common, addr.prefixlen),
        )
        if best is None or rank > best:
            best, chosen = rank, addr.addr
    return chosen


def _scope6(addr: bytes) -> int:
    """Return an address's scope as source selection sees it. Source: net/ipv6/addrconf_core.c, __ipv6_addr_type."""
    return LINK_SCOPE6 if addr == LOOPBACK6 or is_link_local6(addr) else GLOBAL_SCOPE6


def _label6(addr: bytes) -> int:
    """Return an address's label in the kernel's own table. Source: net/ipv6/addrlabel.c, ip6addrlbl_init_table."""
    return next(label for prefix, length, label in LABELS6 if in_prefix(addr, prefix, length))

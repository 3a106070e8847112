"""Route lookup in one table, as the FIB does it, over an index of the namespace's routes.

The index maps a table to its prefix lengths, longest first, each with a mapping from the
prefix to its routes in the kernel's order: a lookup probes at most 33 or 129 dicts whatever the number
of routes. In a large cluster every node has a route to every other, and a trace visits a node seldom, so
making the index must be cheap: routes are sorted into prefix lengths, and a length's mapping is made when a
lookup comes to it. Policy rules, which choose the tables, are in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from netviz.core.model.addr import in_prefix
from netviz.core.model.l3 import (
    RTN_ANYCAST,
    RTN_BLACKHOLE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    Nexthop,
    NexthopObject,
    Route,
)
from netviz.core.model.link import Link
from netviz.core.sim.index import Index

# What a lookup ends with, by the kernel's error for the route's type (fib_props, rt_error).
ERRORS = {
    RTN_BLACKHOLE: "EINVAL",
    RTN_UNREACHABLE: "EHOSTUNREACH",
    RTN_PROHIBIT: "EACCES",
    RTN_THROW: "EAGAIN",
}
USABLE = (RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST)


class Match(msgspec.Struct, frozen=True, gc=False):
    """A route that a lookup found, with its usable nexthops. `error` is set for reject types."""

    route: Route
    nexthops: tuple[Nexthop, ...]
    error: str = ""


def _order(route: Route) -> tuple[int, int, int, int]:
    """Sort routes of one prefix: longest source first (IPv6), then higher tos, lower metric, position.

    Source: net/ipv4/fib_trie.c, fib_insert_alias, fib_find_alias (aliases by descending tos, then
    ascending priority); net/ipv6/ip6_fib.c, fib6_add_rt2node (ascending metric) (Linux 6.18).
    """
    return (-route.src_len, -route.tos, route.metric, route.pos)


class PrefixLevel:
    """The routes of one prefix length in a table, of both families."""

    def __init__(self, length: int, routes: list[Route]) -> None:
        self._length = length
        self._routes = routes
        self._by_prefix: tuple[dict[bytes, Route], dict[bytes, list[Route]]] | None = None

    def find(self, number: int, width: int) -> Sequence[Route]:
        """Return the routes whose prefix an address of `width` bytes is in, in the kernel's order."""
        host_bits = width * 8 - self._length
        if host_bits < 0:
            return ()
        if self._by_prefix is None:
            self._by_prefix = self._build()
        single, several = self._by_prefix
        prefix = (number >> host_bits << host_bits).to_bytes(width, "big")
        route = single.get(prefix)
        return () if route is None else several.get(prefix) or (route,)

    def _build(self) -> tuple[dict[bytes, Route], dict[bytes, list[Route]]]:
        """Map each prefix to one of its routes, and those that have several to all."""
        single = {route.dst: route for route in self._routes}
        several: dict[bytes, list[Route]] = {}
        if len(single) < len(self._routes):
            for route in self._routes:
                several.setdefault(route.dst, []).append(route)
            several = {
                prefix: sorted(found, key=_order) for prefix, found in several.items() if len(found) > 1
            }
        return single, several


RouteIndex = dict[int, list[PrefixLevel]]  # table -> levels, longest first


def build_index(routes: Mapping[Any, Route]) -> RouteIndex:
    """Index a namespace's routes."""
    tables: dict[int, dict[int, list[Route]]] = {}
    for route in routes.values():
        try:
            tables[route.table_id][route.dst_len].append(route)
        except KeyError:
            tables.setdefault(route.table_id, {})[route.dst_len] = [route]
    return {
        table_id: [PrefixLevel(length, levels[length]) for length in sorted(levels, reverse=True)]
        for table_id, levels in tables.items()
    }


route_index: Index[Mapping[Any, Route], RouteIndex] = Index(build_index)


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """What a table lookup needs beside the table: the flow's part, and the devices it may look at.

    `strict`: IPv6 takes nothing but `oif`, which it else only prefers. `prefer` is the device that it likes best
    among routes of one prefix and metric: the one that the packet came in by, or should leave by.
    """

    dst: bytes
    src: bytes = b""
    tos: int = 0
    oif: int = 0
    scope: int = 0
    ignore_linkdown: frozenset[int] = frozenset()
    strict: bool = True
    prefer: int = 0


def _nexthop_usable(nexthop: Nexthop, lookup: Lookup) -> bool:
    if nexthop.flags & RTNH_F_DEAD:
        return False
    if nexthop.flags & RTNH_F_LINKDOWN and nexthop.oif in lookup.ignore_linkdown:
        return False
    return not lookup.oif or not lookup.strict or nexthop.oif == lookup.oif


def expand_nexthops(route: Route, objects: Mapping[Any, NexthopObject]) -> tuple[Nexthop, ...]:
    """Return a route's nexthops; where it names a nexthop object and has none itself, the object's.

    Unmodelled: resilient groups hash by buckets; their weights stand for the odds.
    """
    if route.nexthops or not route.nhid:
        return route.nexthops
    found = objects.get(route.nhid)
    if found is None:
        return ()
    members = found.group or ((found.id, 1),)
    out = []
    for ident, weight in members:
        member = objects.get(ident)
        if member is not None and not member.blackhole:
            out.append(Nexthop(member.oif, member.gateway, weight, member.flags, member.encap))
    return tuple(out)


def lookup_table(
    index: RouteIndex,
    table_id: int,
    lookup: Lookup,
    objects: Mapping[Any, NexthopObject],
) -> Match | None:
    """Find the route of one table for a flow; None when the table has none (the next rule's turn).

    Longest prefix first; within a prefix, tos and metric order; a route whose nexthops are all dead,
    down or not of the wanted device gives way to the next, and then to shorter prefixes.

    Source: net/ipv4/fib_trie.c, fib_table_lookup; net/ipv6/ip6_fib.c, fib6_node_lookup;
    net/ipv6/route.c, rt6_select, find_match (Linux 6.18).
    """
    width = len(lookup.dst)
    number = int.from_bytes(lookup.dst, "big")
    left: set[bytes] = set()
    for level in index.get(table_id, ()):
        routes = level.find(number, width)
        for at, route in enumerate(routes):
            if route.dst in left:
                break
            found = _try_route(route, lookup, objects)
            if found is not None:
                return _preferred(found, routes[at + 1 :], lookup, objects)
            if _leaves_leaf(route, lookup, objects):
                left.add(route.dst)
    return None


def _leaves_leaf(route: Route, lookup: Lookup, objects: Mapping[Any, NexthopObject]) -> bool:
    """Whether IPv4, with this route not usable, looks at no other whose prefix begins at the same address.

    Such routes share a leaf of the trie; one with a nexthop object that gives no nexthop ends the leaf's turn.

    Source: net/ipv4/fib_trie.c, fib_table_lookup, label miss (Linux 6.18).
    """
    if len(lookup.dst) != 4 or not route.nhid or not _selects(route, lookup):
        return False
    return not all(nexthop.flags & RTNH_F_DEAD for nexthop in expand_nexthops(route, objects))


def _preferred(
    found: Match, others: Sequence[Route], lookup: Lookup, objects: Mapping[Any, NexthopObject]
) -> Match:
    """Take a route of the same prefix and metric instead, if it uses the device that IPv6 prefers.

    Source: net/ipv6/route.c, rt6_check_dev, find_match; ip6_pol_route_input (Linux 6.18).
    """
    if len(lookup.dst) != 16 or not lookup.prefer or _uses(found, lookup.prefer):
        return found
    for route in others:
        if (route.metric, route.src_len) != (found.route.metric, found.route.src_len):
            break
        other = _try_route(route, lookup, objects)
        if other is not None and _uses(other, lookup.prefer):
            return other
    return found


def _uses(match: Match, ifindex: int) -> bool:
    return any(nexthop.oif == ifindex for nexthop in match.nexthops)


def selected_tos(tos: int, ipv6: bool) -> int:
    """Return what a tos selector is compared with: in IPv4 the upper three bits don't count.

    Source: include/net/ip_fib.h, fib_dscp_masked_match; net/ipv6/fib6_rules.c, fib6_rule_match (Linux 6.18).
    """
    return tos & (0xFC if ipv6 else 0x1C)


def _selects(route: Route, lookup: Lookup) -> bool:
    if route.tos and route.tos != selected_tos(lookup.tos, len(lookup.dst) == 16):
        return False
    if route.src_len and not (lookup.src and in_prefix(lookup.src, route.src, route.src_len)):
        return False
    return len(lookup.dst) == 16 or route.scope >= lookup.scope


def _try_route(route: Route, lookup: Lookup, objects: Mapping[Any, NexthopObject]) -> Match | None:
    if not _selects(route, lookup):
        return None
    if route.type in ERRORS:
        # In IPv6 such a route has a device, the loopback, and so it isn't one that a bound sender takes; a
        # nexthop object that is a blackhole is taken before any device is looked at.
        if len(lookup.dst) == 16 and lookup.oif and lookup.strict and not route.nhid:
            return None
        return Match(route, (), ERRORS[route.type])
    if route.type not in USABLE:
        return None
    nexthops = expand_nexthops(route, objects)
    usable = tuple(nh for nh in nexthops if _nexthop_usable(nh, lookup))
    if not usable:
        return None
    return Match(route, usable)


def build_linkdown(links: Mapping[Any, Link]) -> frozenset[int]:
    """Collect the devices whose linkdown routes are to be ignored (ignore_routes_with_linkdown)."""
    return frozenset(
        link.ifindex
        for link in links.values()
        if (link.ipv4 is not None and link.ipv4.ignore_routes_with_linkdown)
        or (link.ipv6 is not None and link.ipv6.ignore_routes_with_linkdown)
    )


linkdown_ignored: Index[Mapping[Any, Link], frozenset[int]] = Index(build_linkdown)

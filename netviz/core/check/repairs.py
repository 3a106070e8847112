"""States as they would be with records as they should be: what a problem's `repair` is made of, and what it makes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from netviz.core.check.problem import Edit
from netviz.core.model.addr import mask_ip
from netviz.core.model.l3 import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTN_LOCAL,
    Addr,
    Nexthop,
    Route,
)
from netviz.core.model.link import BR_STATE_FORWARDING, IFF_LOWER_UP, IFF_UP, Link
from netviz.core.model.netfilter import Body
from netviz.core.state.node import ClusterState, NetnsState, NodeState

BODIES = "bodies"  # of rules, which belong to no namespace: digest -> body


def put(ns: NetnsState, section: str, record: Link | Addr | Route) -> Edit:
    """A record that should be there, by its own key."""
    key = record.ifindex if isinstance(record, Link) else record.key
    return Edit(ns.key, section, key, record)


def connected(ifindex: int, addr: bytes, prefixlen: int) -> Route | None:
    """The route that the kernel makes of an address of a link that is up; None where the address has no subnet."""
    if prefixlen >= len(addr) * 8:
        return None
    own = b"" if len(addr) == 16 else addr
    scope = 0 if len(addr) == 16 else RT_SCOPE_LINK
    net = mask_ip(addr, prefixlen)
    return Route(RT_TABLE_MAIN, net, prefixlen, scope=scope, prefsrc=own, nexthops=(Nexthop(ifindex),))


def with_addr(ns: NetnsState, link: Link, addr: bytes, prefixlen: int) -> tuple[Edit, ...]:
    """Give a link an address, with the routes that the kernel makes of it."""
    own = b"" if len(addr) == 16 else addr
    scope = 0 if len(addr) == 16 else RT_SCOPE_HOST
    local = Route(
        RT_TABLE_LOCAL,
        addr,
        len(addr) * 8,
        RTN_LOCAL,
        scope=scope,
        prefsrc=own,
        nexthops=(Nexthop(link.ifindex),),
    )
    subnet = connected(link.ifindex, addr, prefixlen)
    routes = [put(ns, "routes", one) for one in (local, subnet) if one is not None]
    return (put(ns, "addrs", Addr(link.ifindex, addr, prefixlen)), *routes)


def with_link_up(ns: NetnsState, link: Link) -> tuple[Edit, ...]:
    """Set a link up: a port forwards then, and the kernel makes the routes of its subnets, and no other."""
    port = link.port and msgspec.structs.replace(link.port, state=BR_STATE_FORWARDING)
    up = msgspec.structs.replace(link, flags=link.flags | IFF_UP | IFF_LOWER_UP, port=port)
    routes = [
        route
        for addr in ns.addrs.values()
        if addr.ifindex == link.ifindex
        for route in (connected(link.ifindex, addr.addr, addr.prefixlen),)
        if route is not None and route.key not in ns.routes
    ]
    return (put(ns, "links", up), *(put(ns, "routes", route) for route in routes))


def repaired(cluster: ClusterState, edits: Collection[Edit]) -> ClusterState | None:
    """Return the state with records as they should be; None where one of their namespaces isn't there."""
    nodes: dict[str, NodeState] = dict(cluster.nodes)
    bodies: dict[Any, Body] = dict(cluster.bodies) if any(one.section == BODIES for one in edits) else {}
    for edit in edits:
        if edit.section == BODIES:
            bodies[edit.key] = edit.record
            continue
        node = nodes.get(edit.netns.node)
        ns = node.netns.get(edit.netns) if node is not None else None
        if node is None or ns is None:
            return None
        section = dict(getattr(ns, edit.section))
        if edit.record is None:
            section.pop(edit.key, None)
        else:
            section[edit.key] = edit.record
        changed = msgspec.structs.replace(ns, **{edit.section: section})
        nodes[node.node] = msgspec.structs.replace(node, netns={**node.netns, ns.key: changed})
    return ClusterState(nodes, bodies or cluster.bodies)

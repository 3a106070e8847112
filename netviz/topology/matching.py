"""What of one namespace's tables an address meets: the policy rule, route and neighbours of a packet to it, or a MAC's entries.

The lookup is the simulator's own. The rows are those of the namespace's detail (detail.py), so that a page can find them there.
"""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import format_ip, pack_ip, pack_mac
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import RTN_UNICAST
from netviz.core.sim.route.rules import RouteResult, lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.words.route import CAUGHT_BY
from netviz.core.state.node import ClusterState, NetnsState
from netviz.topology import describe

SECTIONS = ("rules", "routes", "neighs", "fdb")


def netns_match(cluster: ClusterState, key: NetnsKey, text: str) -> dict[str, Any] | None:
    """Say what an address or a MAC meets in a namespace; None when the namespace doesn't exist.

    A route is that of a packet which the namespace itself sends, unmarked and from no certain address.

    Raises: ValueError if `text` is neither an address nor a MAC.
    """
    node = cluster.nodes.get(key.node)
    ns = node.netns.get(key) if node is not None else None
    if ns is None:
        return None
    gaps = [{"section": gap.section, "reason": gap.reason} for gap in ns.gaps if gap.section in SECTIONS]
    found: dict[str, list[Any]] = {name: [] for name in SECTIONS}
    mac = _mac(text)
    if mac is not None:
        found["neighs"] = [describe.neigh_row(ns, one) for one in ns.neighs.values() if one.mac == mac]
        found["fdb"] = [describe.fdb_row(ns, one) for one in ns.fdb.values() if one.mac == mac]
        return {"of": "mac", "says": _of_mac(found), **found, "gaps": gaps}
    dst = pack_ip(text.strip())
    result = lookup_route(ns, RouteFlow(dst))
    rules = [*(rule for rule, _ in result.passed), *([result.rule] if result.rule else [])]
    found["rules"] = [describe.rule_row(rule) for rule in rules]
    found["routes"] = [describe.route_row(ns, result.route)] if result.route is not None else []
    hops = {(hop.oif, hop.gateway or dst) for hop in result.nexthops}
    found["neighs"] = [
        describe.neigh_row(ns, one)
        for one in ns.neighs.values()
        if (one.ifindex, one.dst) in hops or one.dst == dst
    ]
    return {"of": "address", "says": _of_route(ns, dst, result), **found, "gaps": gaps}


def _mac(text: str) -> bytes | None:
    plain = text.strip().lower().replace("-", ":")
    if len(plain.split(":")) != 6 or "::" in plain:
        return None
    try:
        mac = pack_mac(plain)
    except ValueError:
        return None
    return mac if len(mac) == 6 else None


def _of_mac(found: dict[str, list[Any]]) -> str:
    parts = [
        f"{len(found[name])} {one if len(found[name]) == 1 else many}"
        for name, one, many in (("neighs", "neighbour", "neighbours"), ("fdb", "FDB entry", "FDB entries"))
        if found[name]
    ]
    return f"In {' and '.join(parts)}." if parts else "In no neighbour and no FDB entry of this namespace."


def _of_route(ns: NetnsState, dst: bytes, result: RouteResult) -> str:
    addr = format_ip(dst)
    for gap in ns.gaps:
        if gap.section in ("rules", "routes"):
            return f"Where {addr} is routed isn't known: {gap.section} can't be read ({gap.reason})."
    if result.unknown:
        return f"Where {addr} is routed isn't known: {result.unknown}."
    if result.error or result.route is None:
        error = result.error or "ENETUNREACH"
        return f"Nothing is sent to {addr}: {CAUGHT_BY[error]} ({error})."
    if result.local:
        return f"{addr} is this namespace's own address."
    if result.route.type != RTN_UNICAST:
        return f"{addr} meets the {describe.route_row(ns, result.route)['type']} route."
    ways = [
        f"{f'via {format_ip(hop.gateway)} ' if hop.gateway else ''}on {describe.dev_name(ns, hop.oif)}"
        for hop in result.nexthops
    ]
    table = describe.route_row(ns, result.route)["table"]
    return f"{addr} goes {', or '.join(ways)}, by table {table}."

"""Records as text for the inspector, in iproute2's and conntrack's words.

Every function takes records of one namespace and returns rows that can be shown as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.addr import format_endpoint, format_ip, format_mac, format_prefix
from netviz.core.model.conntrack import (
    IPS_ASSURED,
    IPS_DST_NAT,
    IPS_DYING,
    IPS_SEEN_REPLY,
    IPS_SRC_NAT,
    CtEntry,
    CtTuple,
)
from netviz.core.model.l2 import NTF_PROXY, NTF_ROUTER, Fdb, Neigh
from netviz.core.model.l3 import ROUTE_TYPES, Nexthop, Route, Rule
from netviz.core.model.link import Link, LinkCounters
from netviz.core.model.socket import Socket
from netviz.core.sim.words.iproute import rule_body, table_name
from netviz.core.state.node import NetnsState

Row = dict[str, Any]

SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
ROUTE_PROTOS = {
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    18: "keepalived",
    42: "babel",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
NUD = {0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x20: "failed", 0x40: "noarp", 0x80: "permanent"}
PROTOS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
ICMP_PROTOS = (1, 58)
TCP_STATES = (
    *("none", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "close"),
    *("close-wait", "last-ack", "listen", "closing", "new-syn-recv"),
)
CT_STATUS = (
    *((IPS_SEEN_REPLY, "seen-reply"), (IPS_ASSURED, "assured")),
    *((IPS_SRC_NAT, "snat"), (IPS_DST_NAT, "dnat"), (IPS_DYING, "dying")),
)
DEFAULT_ROUTES = {4: "default", 16: "default (IPv6)"}


def proto_name(proto: int) -> str:
    """A transport protocol's name, or its number as text."""
    return PROTOS.get(proto, str(proto))


def dev_name(ns: NetnsState, ifindex: int) -> str:
    """A link's name by its ifindex; `if7` when it is gone, nothing for 0."""
    link = ns.links.get(ifindex)
    return link.ifname if link is not None else f"if{ifindex}" if ifindex else ""


def route_row(ns: NetnsState, route: Route) -> Row:
    """One route."""
    hops = route.nexthops
    return {
        "table": table_name(route.table_id),
        "dst": format_prefix(route.dst, route.dst_len) if route.dst_len else DEFAULT_ROUTES[len(route.dst)],
        "type": ROUTE_TYPES[route.type] if route.type < len(ROUTE_TYPES) else str(route.type),
        "via": ", ".join(_via(hop, len(hops) > 1) for hop in hops if hop.gateway or len(hops) > 1),
        "dev": ", ".join(dict.fromkeys(dev_name(ns, hop.oif) for hop in hops if hop.oif)),
        "metric": route.metric,
        "src": format_ip(route.prefsrc),
        "proto": ROUTE_PROTOS.get(route.protocol, str(route.protocol)),
        "scope": SCOPES.get(route.scope, str(route.scope)),
    }


def _via(hop: Nexthop, weighted: bool) -> str:
    encap = f" encap {hop.encap.type}" if hop.encap is not None else ""
    weight = f" weight {hop.weight}" if weighted else ""
    return f"{format_ip(hop.gateway) or 'on-link'}{encap}{weight}"


def route_order(route: Route) -> tuple[Any, ...]:
    """Main table first and local last; IPv4 first; the longest prefix first."""
    place = {254: 0, 253: 2, 255: 3}.get(route.table_id, 1)
    return (place, route.table_id, len(route.dst), -route.dst_len, route.dst, route.metric, route.pos)


def rule_row(rule: Rule) -> Row:
    """One policy rule."""
    return {"priority": rule.priority, "text": rule_body(rule)}


def neigh_row(ns: NetnsState, neigh: Neigh) -> Row:
    """One neighbour or proxy entry."""
    words = [NUD.get(neigh.state, f"{neigh.state:#x}")] if neigh.state else []
    words += [name for bit, name in ((NTF_PROXY, "proxy"), (NTF_ROUTER, "router")) if neigh.flags & bit]
    return {
        "dst": format_ip(neigh.dst),
        "mac": format_mac(neigh.mac),
        "dev": dev_name(ns, neigh.ifindex),
        "state": " ".join(words),
    }


def fdb_row(ns: NetnsState, entry: Fdb) -> Row:
    """One forwarding entry; `state` as `bridge fdb` says it: permanent is the bridge's own address."""
    state = {0x80: "permanent", 0x40: "static"}.get(entry.state, "learned")
    return {
        "mac": format_mac(entry.mac),
        "dev": dev_name(ns, entry.ifindex),
        "vlan": entry.vlan or "",
        "dst": format_ip(entry.dst),
        "state": state if entry.master else f"{state} self",
    }


def socket_row(socket: Socket) -> Row:
    """One socket, with its peer where it is connected."""
    connected = socket.dport != 0
    state = TCP_STATES[socket.state] if socket.state < len(TCP_STATES) else str(socket.state)
    if socket.proto == 17 and not connected:
        state = "bound"
    peer = f" to {format_endpoint(socket.dst, socket.dport)}" if connected else ""
    return {
        "proto": proto_name(socket.proto),
        "addr": format_ip(socket.src),
        "port": socket.sport,
        "state": state + peer,
    }


def ct_row(entry: CtEntry) -> Row:
    """One conntrack entry."""
    words = [name for bit, name in CT_STATUS if entry.status & bit]
    return {
        "proto": proto_name(entry.proto),
        "orig": _tuple_text(entry.orig),
        "reply": _tuple_text(entry.reply),
        "status": " ".join(words) or "unreplied",
    }


def _tuple_text(way: CtTuple) -> str:
    if way.proto in ICMP_PROTOS:
        return f"{format_ip(way.src)} > {format_ip(way.dst)} id {way.sport} type {way.dport >> 8}"
    return f"{format_endpoint(way.src, way.sport)} > {format_endpoint(way.dst, way.dport)}"


def counters_row(counters: LinkCounters | None) -> Row | None:
    """A link's counters."""
    if counters is None:
        return None
    row: Row = msgspec.structs.asdict(counters)
    del row["ifindex"]
    return row


def link_details(ns: NetnsState, link: Link) -> Row:
    """What a link has beside what its graph object shows: name -> text or number."""
    details: Row = {}
    if link.info is not None:
        details.update(_changed_fields(link.info, ns))
    if link.port is not None:
        details.update((f"port {name}", value) for name, value in _changed_fields(link.port, ns).items())
    if link.alias:
        details["alias"] = link.alias
    if link.altnames:
        details["altnames"] = ", ".join(link.altnames)
    if link.tc:
        details["tc"] = ", ".join(link.tc)
    if link.programs:
        details["programs"] = ", ".join(one.text for one in link.programs)
    if link.xdp:
        details["xdp"] = f"attached (mode {link.xdp})"
    for family, conf in (("ipv4", link.ipv4), ("ipv6", link.ipv6)):
        if conf is not None:
            fields = {"forwarding": conf.forwarding, **_changed_fields(conf, ns)}
            details.update((f"{family} {name}", value) for name, value in fields.items())
    return details


def _changed_fields(part: Any, ns: NetnsState) -> Mapping[str, Any]:
    """The fields of a part that differ from their defaults, as text or numbers."""
    found = {}
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if value != field.default:
            found[field.name] = _value_text(field.name, value, ns)
    return found


def _value_text(name: str, value: Any, ns: NetnsState) -> Any:
    if isinstance(value, bytes):
        return format_ip(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return f"{len(value)} {name}"
    if name in ("link", "active_slave"):
        return dev_name(ns, value)
    return value

"""Where ICMP errors come from."""

from __future__ import annotations

from netviz.core.model.link import Link
from netviz.core.sim.packet import Packet
from netviz.core.sim.rules import RouteFlow, lookup_route
from netviz.core.sim.saddr import owned_addrs, select_on_link, select_source
from netviz.core.state.node import NetnsState


def error_source(ns: NetnsState, link: Link | None, packet: Packet) -> bytes:
    """Choose the source of an ICMP error about a packet: its own destination, or an address towards the sender.

    Source: net/ipv4/icmp.c, __icmp_send; net/ipv6/icmp.c, icmp6_send (Linux 6.18).
    """
    if owned_addrs(ns, packet.dst):
        return packet.dst
    back = lookup_route(ns, RouteFlow(packet.src))
    if back.error or back.unknown or not back.nexthops:
        return select_on_link(ns, link.ifindex, b"", 0) if link is not None and not packet.ipv6 else b""
    nexthop = back.nexthops[0]
    return select_source(ns, back, nexthop.oif, nexthop.gateway, packet.src)

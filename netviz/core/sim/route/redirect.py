"""Redirects: where a router tells a sender of a better way, and so uses up what it may tell that sender by ICMP.

A redirect resets the tokens that the sender's other ICMP errors are paid with. What a rule of FORWARD rejects right
afterwards is therefore rejected silently.
"""

from __future__ import annotations

from netviz.core.model.l3 import RTN_UNICAST
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.sim.packet import ICMP_DEST_UNREACH, Packet
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.sysctl import value
from netviz.core.state.node import NetnsState

DEFAULT_RATEMASK = 0x1818  # destination unreachable, source quench, time exceeded, parameter problem


def owes_redirect(ns: NetnsState, link: Link, packet: Packet) -> bool:
    """Tell whether a packet that leaves by the link that it came in by makes the host send its sender a redirect.

    Unmodelled: shared_media switched off.

    Source: net/ipv4/route.c, __mkroute_input, ip_rt_send_redirect; fib_frontend.c, __fib_validate_source (Linux 6.18).
    """
    if packet.ipv6 or link.flags & IFF_LOOPBACK:
        return False
    own = link.ipv4 is None or link.ipv4.send_redirects
    if not own and not value(ns, "net.ipv4.conf.all.send_redirects", 1):
        return False
    back = lookup_route(ns, RouteFlow(packet.src, packet.dst, oif=link.ifindex))
    if back.error or back.unknown or back.route is None or back.route.type != RTN_UNICAST:
        return False
    return any(way.oif == link.ifindex and not way.gateway for way in back.nexthops)


def silences(ns: NetnsState, icmp_type: int, icmp_code: int) -> bool:
    """Tell whether the redirect that a host has just sent leaves nothing to send this ICMP error with.

    Source: net/ipv4/icmp.c, icmpv4_mask_allow, icmpv4_xrlim_allow; inetpeer.c, inet_peer_xrlim_allow;
    route.c, ip_rt_send_redirect (rate_tokens) (Linux 6.18).
    """
    if icmp_type == ICMP_DEST_UNREACH and icmp_code == 4:
        return False
    limited = value(ns, "net.ipv4.icmp_ratemask", DEFAULT_RATEMASK) >> icmp_type & 1
    return bool(limited and value(ns, "net.ipv4.icmp_ratelimit", 1000))

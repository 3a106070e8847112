"""The network layer on the way in: arrival, routing, forwarding. IPv4 and IPv6.

Source: net/ipv4/ip_input.c, ip_rcv; route.c, ip_route_input_slow, ip_error; ip_forward.c, ip_forward;
net/ipv6/ip6_input.c; ip6_output.c, ip6_forward (Linux 6.18).
"""

from __future__ import annotations

from functools import partial

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST, RTN_UNICAST, Nexthop
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import (
    NF_FORWARD,
    NF_LOCAL_IN,
    NF_PRE_ROUTING,
)
from netviz.core.sim.actions import Action
from netviz.core.sim.hook.br_netfilter import came_through_bridge
from netviz.core.sim.hook.netfilter import inet_hook, prerouting_hook
from netviz.core.sim.inet.ip_output import check_ipv6, output, refuse_too_big, route_mtu
from netviz.core.sim.inet.local import deliver, local_in
from netviz.core.sim.link.ipvlan import l3s_owner
from netviz.core.sim.link.vrf import master_of
from netviz.core.sim.nft.tracking import defragments
from netviz.core.sim.packet import IPV6_MIN_MTU, Packet
from netviz.core.sim.route.admission import (
    check_forwarding,
    check_martian,
    check_source,
    input_error,
)
from netviz.core.sim.route.decision import (
    looked_up,
    missing_device,
    pick_nexthop,
    record_route,
    route_flow,
    via,
)
from netviz.core.sim.route.icmp import drop_with_error
from netviz.core.sim.route.redirect import owes_redirect
from netviz.core.sim.route.rules import RouteResult, lookup_route
from netviz.core.sim.route.saddr import LOOPBACK6, is_link_local6, is_multicast
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Forward, PolicyRule, Receive, RouteLookup, Ttl
from netviz.core.state.node import NetnsState


def rcv(run: Run, ns: NetnsState, link: Link, packet: Packet, routed: bool = True) -> Action:
    """Take a packet in from a link: prerouting hooks, routing decision, then local delivery or forwarding.

    What the host sent itself comes from the loopback `routed`.
    """
    check_ipv6(run, ns, link, packet, Receive("drop", "IPv6 disabled"))
    _check_loopback6(run, ns, link, packet)
    packet = packet.but(own=False) if packet.own else packet
    if came_through_bridge(ns, link, packet):
        packet = packet.but(sk=0)  # ip_rcv_core takes away the socket that a bridge's PREROUTING gave it
    else:
        packet, forgets_route = prerouting_hook(run, ns, packet, link)
        if forgets_route:
            routed = False
            _routed_before(run, ns, link)
    if link.flags & IFF_LOOPBACK and routed:
        return local_in(run, ns, link, packet)
    found = l3s_owner(run, ns, link, packet.dst)
    if found is not None:
        return _into_l3s(run, ns, link, packet, found)
    master = master_of(ns.links, link)
    if master is not None:
        link, packet = _into_vrf(run, ns, link, master, packet)
    flow = _routed_before(run, ns, link) or route_flow(packet, iif=link.ifindex)
    checks = not packet.ipv6 and flow.iif == link.ifindex  # the route that a packet has is taken as it is
    if checks:
        check_martian(run, ns, link, packet)
    run.check_gap(ns, "routes", RouteLookup, link, packet)
    run.check_gap(ns, "rules", RouteLookup, link, packet)
    if packet.fragment and not defragments(
        run, ns, packet.ipv6
    ):  # __skb_flow_dissect reads no fragment's ports
        flow = msgspec.structs.replace(flow, sport=0, dport=0, sport_unsure=False, dport_unsure=False)
    if not flow.iif and not packet.ipv6:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", RouteLookup("drop", "route of another packet"))
    result = lookup_route(ns, flow)
    if result.unknown:
        run.end_unknown(
            ns, link, packet, RouteLookup("unknown", "lookup", asked="in", unknown=result.unknown)
        )
    if result.error or result.route is None:
        input_error(run, ns, link, packet, result)
    looked = partial(looked_up(ns, result), asked="in")
    if result.route.type == RTN_LOCAL:
        record_route(run, ns, link, packet, looked("local"))
        check_source(run, ns, link, packet, flow, 0)
        return local_in(run, ns, link, packet)
    if result.route.type in (RTN_BROADCAST, RTN_MULTICAST) or is_multicast(packet.dst):
        run.end_unknown(ns, link, packet, RouteLookup("unknown", "broadcast or multicast"))
    check_forwarding(run, ns, link, packet)
    if result.route.type != RTN_UNICAST:
        run.end_dropped(ns, link, packet, "IP_INVALID_DEST", RouteLookup("drop", "martian route"))
    nexthop = pick_nexthop(run, ns, packet, result)
    out = ns.links.get(nexthop.oif)
    if out is None:
        missing_device(run, ns, packet, nexthop, looked)
    record_route(run, ns, link, packet, via(ns, looked, packet, result, nexthop))
    if checks:
        check_source(run, ns, link, packet, flow, out.ifindex)
    if out.flags & IFF_LOOPBACK:
        # It comes back with its route, by which it is forwarded again.
        run.journey = run.journey.but(routed={**run.journey.routed, LinkKey(ns.key, out.ifindex): flow})
    return _forward(run, ns, link, out, packet, result, nexthop)


def _routed_before(run: Run, ns: NetnsState, link: Link) -> RouteFlow | None:
    """Take the flow for which what comes in by a link has been routed already, if it has."""
    key = LinkKey(ns.key, link.ifindex)
    flow = run.journey.routed.get(key)
    if flow is not None:
        run.journey = run.journey.but(routed={k: v for k, v in run.journey.routed.items() if k != key})
    return flow


def _check_loopback6(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """Drop what comes in from outside with IPv6's loopback address, whatever the rules say.

    Source: net/ipv6/ip6_input.c, ip6_rcv_core (Linux 6.18).
    """
    if LOOPBACK6 in (packet.src, packet.dst) and not link.flags & IFF_LOOPBACK and link.kind != "vrf":
        run.end_dropped(ns, link, packet, "IP_INHDR", Receive("drop", "loopback address"))


def _into_vrf(run: Run, ns: NetnsState, link: Link, vrf: Link, packet: Packet) -> tuple[Link, Packet]:
    """Make a packet the VRF's that its device belongs to, by way of PRE_ROUTING at the VRF's own device.

    Source: net/ipv4/ip_input.c, ip_rcv_finish; drivers/net/vrf.c, vrf_ip_rcv, vrf_ip6_rcv (Linux 6.18).
    """
    packet = packet.but(sdif=link.ifindex)
    if link.ifindex == vrf.ifindex:
        return vrf, packet
    run.record(ns, link, packet, PolicyRule("to vrf", vrf=vrf.ifname))
    return vrf, inet_hook(run, ns, packet, NF_PRE_ROUTING, vrf, None)


def _into_l3s(run: Run, ns: NetnsState, link: Link, packet: Packet, found: LinkKey) -> Action:
    """Deliver a packet to an ipvlan in mode l3s: past this namespace's INPUT, to the ipvlan's sockets.

    Source: drivers/net/ipvlan/ipvlan_l3s.c, ipvlan_l3_rcv, ipvlan_nf_input (Linux 6.18).
    """
    packet = inet_hook(run, ns, packet, NF_LOCAL_IN, link, None)
    own = run.netns(found.netns)
    upper = own.links[found.ifindex]
    check_source(run, own, upper, packet, route_flow(packet), 0)
    run.record(own, upper, packet, Receive("receive", "ipvlan l3s", lower=link.ifname))
    return deliver(run, own, upper, packet)


def _forward(
    run: Run, ns: NetnsState, link: Link, out: Link, packet: Packet, result: RouteResult, nexthop: Nexthop
) -> Action:
    """Forward a packet: TTL, MTU, the forward hooks, then output.

    Source: net/ipv4/ip_forward.c, ip_forward; net/ipv6/ip6_output.c, ip6_forward (Linux 6.18).
    """
    run.journey = run.journey.but(in_ifindex=link.ifindex)
    if packet.ipv6:
        check_forwarding(run, ns, link, packet)
    if packet.sk or packet.pkttype:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Forward("drop", "given to a socket"))
    if packet.ttl <= 1:
        drop_with_error(run, ns, link, packet, "IP_INHDR", Ttl("drop", "forwarding"), error="ttl", iif=link)
    if packet.ipv6:
        _check_link_local(run, ns, link, out, packet)
    mtu = max(route_mtu(out, result, packet.ipv6, True), IPV6_MIN_MTU if packet.ipv6 else 0)
    run.note_limit(ns, out, packet, mtu)
    if packet.wire_length > mtu and (packet.df or packet.ipv6):
        refuse_too_big(run, ns, out, packet, mtu, link, "device")
    redirects = out.ifindex == link.ifindex and owes_redirect(ns, link, packet)
    packet = packet.but(ttl=packet.ttl - 1, redirects=redirects)
    run.record(ns, link, packet, Forward("forward", oif=out.ifname))
    packet = inet_hook(run, ns, packet, NF_FORWARD, link, out, nexthop.gateway or packet.dst)
    mtu = max(route_mtu(out, result, True), IPV6_MIN_MTU) if packet.ipv6 else mtu
    return output(run, ns, out, packet, nexthop, mtu, link)


def _check_link_local(run: Run, ns: NetnsState, link: Link, out: Link, packet: Packet) -> None:
    """End the walk of a packet with link-local addresses; what happens to a link-local destination isn't modelled.

    Source: net/ipv6/ip6_output.c, ip6_forward (Linux 6.18).
    """
    if is_link_local6(packet.dst):
        run.end_unknown(ns, link, packet, Forward("unknown", "link-local destination"))
    if is_link_local6(packet.src) and link.ifindex != out.ifindex:
        what = Forward("drop", "link-local source")
        drop_with_error(run, ns, link, packet, "IP_INADDRERRORS", what, error="neighbour", iif=link)

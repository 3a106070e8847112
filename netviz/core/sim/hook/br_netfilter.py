"""br_netfilter: bridged IP packets through the IP hooks, where bridge-nf-call-iptables says so.

    port --> PRE_ROUTING --> bridge's decision --> FORWARD --> POST_ROUTING --> port
             in: bridge      |                     in, out: bridge
                             up: no PRE_ROUTING again

The IP hooks see the bridge as the device; the ports are what `physdev` looks at. Where PRE_ROUTING
translates the destination, the frame's destination changes with it: to the next hop's MAC if that is
behind the same bridge (the packet stays bridged: no TTL, no rp_filter), else to the bridge's own, so that the
packet goes up and is routed.

Source: net/bridge/br_netfilter_hooks.c, br_nf_pre_routing, br_nf_pre_routing_finish,
br_nf_pre_routing_finish_bridge, br_nf_forward, br_nf_post_routing, ip_sabotage_in;
br_netfilter_ipv6.c (Linux 6.18).

Unmodelled: defragmentation, VLAN and PPPoE encapsulated packets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RTN_UNICAST, Nexthop
from netviz.core.model.link import BridgeInfo, Link
from netviz.core.model.netfilter import NF_FORWARD, NF_POST_ROUTING, NF_PRE_ROUTING
from netviz.core.sim.actions import Action, Resolve
from netviz.core.sim.hook.frame_hooks import NF_ARP_FORWARD, Forwarded, arp_hook, has_egress, netdev_hook
from netviz.core.sim.hook.hooks import nothing_hooked
from netviz.core.sim.hook.netfilter import calls_ip_hooks, inet_hook
from netviz.core.sim.hook.sent_on import send_on
from netviz.core.sim.neigh_entries import is_known
from netviz.core.sim.nft.meta import PACKET_HOST, PACKET_OTHERHOST
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.admission import check_martian, check_source
from netviz.core.sim.route.decision import looked_up, pick_nexthop, route_devs, route_flow
from netviz.core.sim.route.icmp import drop_with_error
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Mtu, RouteLookup
from netviz.core.sim.sysctl import value
from netviz.core.state.node import NetnsState

Then = Callable[[Packet], Action]


def came_through_bridge(ns: NetnsState, link: Link, packet: Packet) -> bool:
    """Tell whether a packet that comes up from a bridge has been through PRE_ROUTING already."""
    port = ns.links.get(packet.physin)
    return port is not None and port.master == link.ifindex


def pre_routing(run: Run, ns: NetnsState, packet: Packet, bridge: Link, port: Link, then: Then) -> Action:
    """Pass a frame that came in by a port through PRE_ROUTING; `then` goes on with what comes out of it."""
    if packet.tags and _skips_tagged(run, ns, packet, bridge):
        return then(packet)
    if packet.arp or nothing_hooked(ns) or not calls_ip_hooks(ns, bridge, packet.ipv6):
        return then(packet.but(physin=0, physout=0) if packet.physin else packet)
    before = packet
    others = packet.pkttype == PACKET_OTHERHOST
    packet = inet_hook(
        run, ns, _as_ours(packet, physin=port.ifindex, physout=0), NF_PRE_ROUTING, bridge, None
    )
    packet = packet.but(pkttype=PACKET_OTHERHOST) if others else packet
    return then(packet) if packet.dst == before.dst else _redirected(run, ns, packet, bridge, then)


def _as_ours(packet: Packet, **changes: int) -> Packet:
    """Show the IP hooks a frame for another host as one for this. Source: setup_pre_routing, br_nf_forward_ip."""
    kind = PACKET_HOST if packet.pkttype == PACKET_OTHERHOST else packet.pkttype
    return packet.but(pkttype=kind, **changes)


def _skips_tagged(run: Run, ns: NetnsState, packet: Packet, bridge: Link) -> bool:
    """Tell whether tagged frames pass by the IP hooks, as they do by default."""
    name = "net.bridge.bridge-nf-filter-vlan-tagged"
    if value(ns, name) and not nothing_hooked(ns):
        run.end_unknown(ns, bridge, packet, Bridge("unknown", "tagged frames in the IP hooks"))
    return True


def _redirected(run: Run, ns: NetnsState, packet: Packet, bridge: Link, then: Then) -> Action:
    """Give a frame whose packet has a new destination a new destination too.

    IPv4 finds a route that refuses the packet where there is none, or where forwarding is off: the packet goes
    up and is refused there. IPv6 drops what has no route, and asks nobody whether it may forward.

    Source: net/bridge/br_netfilter_hooks.c, br_nf_pre_routing_finish; br_netfilter_ipv6.c,
    br_nf_pre_routing_finish_ipv6; net/ipv4/route.c, ip_route_input_slow (no_route) (Linux 6.18).
    """
    run.check_gap(ns, "routes", RouteLookup, bridge, packet)
    if not packet.ipv6:
        check_martian(run, ns, bridge, packet)
    flow = route_flow(packet, iif=bridge.ifindex)
    result = lookup_route(ns, flow)
    found = partial(looked_up(ns, result), asked="in")
    if result.unknown:
        run.end_unknown(ns, bridge, packet, found("unknown", "lookup", unknown=result.unknown))
    usable = not result.error and result.route is not None and result.route.type == RTN_UNICAST
    if packet.ipv6 and (result.error or result.route is None):
        run.end_dropped(ns, bridge, packet, "NOT_SPECIFIED", found("drop", "bridged without route"))
    if usable and (packet.ipv6 or _forwards(bridge)):
        nexthop = pick_nexthop(run, ns, packet, result)
        check_source(run, ns, bridge, packet, flow, nexthop.oif)
        if nexthop.oif == bridge.ifindex:
            return _bridged(run, ns, packet, bridge, nexthop, then)
    routed = {**run.journey.routed, LinkKey(ns.key, bridge.ifindex): flow}
    run.journey = run.journey.but(routed=routed)
    packet = packet.but(dmac=bridge.mac, pkttype=PACKET_HOST)
    route = result.route
    run.record(
        ns,
        bridge,
        packet,
        Bridge(
            "to itself",
            route=result.error if route is None else route,
            route_devs=() if route is None else route_devs(ns.links, route),
        ),
    )
    return then(packet)


def _forwards(bridge: Link) -> bool:
    return bridge.ipv4 is not None and bool(bridge.ipv4.forwarding)


def _bridged(run: Run, ns: NetnsState, packet: Packet, bridge: Link, nexthop: Nexthop, then: Then) -> Resolve:
    """Ask for the next hop's MAC: the frame goes on to it by the bridge, with the source that it had."""
    gateway = nexthop.gateway or packet.dst
    asks = not is_known(run, ns, bridge, gateway)

    def resolved(sent: Packet) -> Action:
        # An entry that has sent before may skip the device; which has isn't known.
        key = ("bridged dnat", ns.key, bridge.ifindex, gateway)
        if has_egress(ns, bridge) and (asks or run.choose(key, 2, None) == 0):
            passed = netdev_hook(run, ns, bridge, sent, egress=True)
            if isinstance(passed, Forwarded):
                return send_on(run, ns, bridge, passed)
            sent = passed
        sent = sent.but(smac=packet.smac)
        run.record(ns, bridge, sent, Bridge("stay bridged", gateway=gateway))
        return then(sent)

    return Resolve(LinkKey(ns.key, bridge.ifindex), packet, gateway, then=resolved)


def forward(run: Run, ns: NetnsState, packet: Packet, bridge: Link, port: Link, out: Link) -> Packet:
    """Pass a bridged packet through FORWARD, if it has been through PRE_ROUTING; ARP through its own chains."""
    if packet.arp:
        return arp_hook(run, ns, packet, NF_ARP_FORWARD, port, out) if _calls_arp(ns, bridge) else packet
    if not packet.physin or (packet.tags and _skips_tagged(run, ns, packet, bridge)):
        return packet
    others = packet.pkttype == PACKET_OTHERHOST
    packet = inet_hook(run, ns, _as_ours(packet, physout=out.ifindex), NF_FORWARD, bridge, bridge)
    return packet.but(pkttype=PACKET_OTHERHOST) if others else packet


def _calls_arp(ns: NetnsState, bridge: Link) -> bool:
    own = isinstance(bridge.info, BridgeInfo) and bridge.info.nf_call_arptables
    return bool(own or value(ns, "net.bridge.bridge-nf-call-arptables"))


def post_routing(run: Run, ns: NetnsState, packet: Packet, bridge: Link) -> Packet:
    """Pass a bridged packet through POST_ROUTING; what was routed has been there already."""
    if not packet.physin or not packet.physout or (packet.tags and _skips_tagged(run, ns, packet, bridge)):
        return packet
    packet = inet_hook(run, ns, _as_ours(packet), NF_POST_ROUTING, None, bridge)
    return packet.but(physin=0, physout=0)


def fragmented(run: Run, ns: NetnsState, packet: Packet, bridge: Link, out: Link) -> Packet:
    """Cut a bridged packet that has been through the IP hooks to the bridge's MTU, if it doesn't fit the port.

    Source: net/bridge/br_netfilter_hooks.c, br_nf_dev_queue_xmit, br_nf_ip_fragment; net/ipv6/ip6_output.c,
    ip6_fragment (Linux 6.18).
    """
    run.note_limit(ns, out, packet, out.mtu, silent=not packet.ipv6)
    if packet.wire_length <= out.mtu:
        return packet
    whole = packet.wire_length
    found = partial(
        Mtu,
        mtu=bridge.mtu,
        length=whole,
        taker=out.ifname,
        taker_mtu=out.mtu,
        bridge=bridge.ifname,
        kernel_reason="NOT_SPECIFIED" if packet.ipv6 or packet.df else "",
    )
    if packet.ipv6:
        # Packet Too Big is sent even about a frame that was for another host; by which device, br_validate_ipv6 forgot.
        refused = packet.but(pkttype=None)
        what = found("drop", "bridged IPv6")
        drop_with_error(run, ns, out, refused, "PKT_TOO_BIG", what, error="too-big", iif=None)
    if packet.df:
        run.end_dropped(ns, out, packet, "PKT_TOO_BIG", found("drop", "bridged DF"))
    packet = packet.but(fragment=bridge.mtu)
    run.record(ns, out, packet, found("fragment", "bridged"))
    return packet

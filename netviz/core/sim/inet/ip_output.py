"""The network layer on the way out: the host's own packets and what it forwards. IPv4 and IPv6.

Source: net/ipv4/ip_output.c, __ip_local_out, ip_output, ip_finish_output; net/ipv6/ip6_output.c (Linux 6.18).
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NoReturn

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RTN_BROADCAST, RTN_MULTICAST, Nexthop
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import (
    NF_POST_ROUTING,
)
from netviz.core.sim import sysctl
from netviz.core.sim.actions import Action, Resolve, Send, Tx
from netviz.core.sim.hook.netfilter import inet_hook, output_hook
from netviz.core.sim.link.vrf import check_hooks, master_of
from netviz.core.sim.one_read import one_read
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Packet,
)
from netviz.core.sim.route.decision import (
    Lookup,
    looked_up,
    missing_device,
    pick_nexthop,
    record_route,
    route_flow,
    sender_tos,
    via,
)
from netviz.core.sim.route.icmp import drop_with_error
from netviz.core.sim.route.rules import (
    RouteResult,
    assumed_on_link,
    lookup_route,
    vrf_of,
)
from netviz.core.sim.run import Run
from netviz.core.sim.steps import DropReason, Encap, Mtu, RouteLookup, What
from netviz.core.state.node import NetnsState


def local_out(run: Run, ns: NetnsState, send: Send) -> Action:
    """Send the host's own packet: route, output hooks (and the route again if they changed it), output.

    Source: net/ipv4/route.c, ip_route_output_key_hash_rcu; ip_output.c, __ip_local_out;
    net/ipv4/netfilter.c, ip_route_me_harder (Linux 6.18).
    """
    run.journey = run.journey.but(in_ifindex=0)
    packet = send.packet.but(own=send.own) if send.packet.payload is None else send.packet
    result, nexthop, out = _route_output(run, ns, packet, send)
    vrf = master_of(ns.links, out)
    if vrf is not None and vrf is not out:
        check_hooks(run, ns, vrf, packet)
    if send.via:
        nexthop = msgspec.structs.replace(nexthop, gateway=nexthop.gateway or send.via)
    mtu = route_mtu(out, result, packet.ipv6)
    run.note_limit(ns, out, packet, mtu)
    _check_send(run, ns, out, packet, mtu)
    packet, ignore_df = _sized(run, ns, out, packet, mtu, result)
    packet, rerouted = output_hook(run, ns, packet, out, nexthop.gateway or packet.dst)
    if rerouted is not None:
        if rerouted.payload is not None or rerouted.icmp_type == ICMPV6_ECHO_REPLY:
            send = msgspec.structs.replace(
                send, oif=0
            )  # what sends it is bound to no device (ip6_route_me_harder)
        fitted = packet.wire_length <= mtu
        result, nexthop, out = _route_output(run, ns, rerouted, send, again=True)
        mtu = route_mtu(out, result, packet.ipv6)
        if fitted and packet.df and not ignore_df:
            _check_fits(run, ns, out, packet, mtu)
    return output(run, ns, out, packet, nexthop, mtu, ignore_df=ignore_df)


def _sized(
    run: Run, ns: NetnsState, out: Link, packet: Packet, mtu: int, result: RouteResult
) -> tuple[Packet, bool]:
    """Give a socket's packet the size and the DF flag that its program gets without asking.

    TCP cuts what it sends into segments that fit its route. By default (net.ipv4.ip_no_pmtu_disc is 0) IPv4's sockets
    set DF, IP_PMTUDISC_WANT, but for a datagram that its own route is too small for. The flag tells that the host may
    fragment it nevertheless (skb->ignore_df), as its hooks may send it another way.

    Source: net/ipv4/af_inet.c, inet_create; net/ipv4/ip_output.c, __ip_make_skb, __ip_queue_xmit,
    ip_build_and_send_pkt; include/net/ip.h, ip_dont_fragment, ip_sk_ignore_df; net/ipv4/tcp_output.c,
    tcp_current_mss (Linux 6.18).
    """
    tcp = packet.proto == IPPROTO_TCP
    asks = packet.is_icmp and packet.icmp_type in (ICMP_ECHO, ICMPV6_ECHO_REQUEST)
    if not packet.own or packet.payload is not None or not (tcp or packet.proto == IPPROTO_UDP or asks):
        return packet, False
    if tcp and packet.wire_length > mtu:
        what = Mtu("segment", mtu=mtu, length=packet.wire_length, taker=out.ifname)
        packet = packet.but(length=mtu)
        run.record(ns, out, packet, what)
    if packet.df or packet.ipv6 or sysctl.value(ns, "net.ipv4.ip_no_pmtu_disc"):
        return packet, False
    locked = result.route is not None and result.route.mtu_lock
    wants = packet.wire_length <= mtu and not locked
    return packet.but(df=True) if wants else packet, not tcp


def _check_send(run: Run, ns: NetnsState, out: Link, packet: Packet, mtu: int) -> None:
    """Refuse a socket's datagram that its route is too small for and that may not be fragmented, before any hook.

    Source: net/ipv4/ip_output.c, __ip_append_data; net/ipv6/ip6_output.c, __ip6_append_data (Linux 6.18).
    """
    datagram = packet.proto == IPPROTO_UDP or packet.is_icmp
    if packet.own and packet.df and datagram and packet.wire_length > mtu:
        run.end_dropped(
            ns,
            out,
            packet,
            "PKT_TOO_BIG",
            Mtu(
                "drop",
                "sending fails",
                mtu=mtu,
                length=packet.wire_length,
                taker=out.ifname,
                errno="EMSGSIZE",
            ),
        )


@one_read(sections=("links",))
def _loopback(ns: NetnsState) -> Link | None:
    return next((link for link in ns.links.values() if link.flags & IFF_LOOPBACK), None)


def _local_oif(result: RouteResult) -> int:
    """Return the device of a local route: one in a VRF makes the VRF's device the loopback."""
    return result.nexthops[0].oif if result.nexthops else 0


def _route_output(
    run: Run, ns: NetnsState, packet: Packet, send: Send, again: bool = False
) -> tuple[RouteResult, Nexthop, Link]:
    """Route the host's own packet: first for its sender, `again` for a hook that changed it."""
    run.check_gap(ns, "routes", RouteLookup, None, packet)
    run.check_gap(ns, "rules", RouteLookup, None, packet)
    oif, sourceless = send.oif, send.sourceless and not again
    asked = packet.but(tos=packet.tos if again else sender_tos(packet), dst=send.via or packet.dst)
    result = lookup_route(ns, route_flow(asked, oif=oif, sourceless=sourceless, dissected=again))
    if sourceless and result.error and packet.ipv6:
        # ip6_dst_lookup_tail: what was found without a source is forgotten if it is an error
        sourceless = False
        result = lookup_route(ns, route_flow(asked, oif=oif))
    bound_to = ns.links.get(oif)
    found = partial(
        looked_up(ns, result),
        asked="out",
        sourceless=sourceless,
        bound=bound_to.ifname if bound_to is not None else "",
        again=again,
    )
    refused: DropReason = "NETFILTER_DROP" if again else "IP_OUTNOROUTES"
    if bound_to is not None and not bound_to.up and not packet.ipv6:
        run.end_dropped(
            ns, bound_to, packet, refused, found("drop", "bound device down", errno="ENETUNREACH")
        )
    if result.unknown:
        run.end_unknown(ns, None, packet, found("unknown", "lookup", unknown=result.unknown))
    if result.error or result.route is None:
        found = partial(found, errno=result.error or "ENETUNREACH")
        if bound_to is not None and assumed_on_link(ns.links, oif, packet.dst):
            return _assume_on_link(run, ns, packet, bound_to, found)
        run.end_dropped(ns, None, packet, refused, found("drop", "sending fails"))
    if result.local:
        loopback = ns.links.get(vrf_of(ns.links, oif or _local_oif(result))) or _loopback(ns)
        if loopback is None:
            run.end_unknown(ns, None, packet, found("unknown", "no loopback"))
        record_route(run, ns, loopback, packet, found("local"))
        return result, Nexthop(loopback.ifindex), loopback
    if result.route.type in (RTN_BROADCAST, RTN_MULTICAST):
        run.end_unknown(ns, None, packet, found("unknown", "broadcast or multicast"))
    nexthop = pick_nexthop(run, ns, packet, result, "sent again" if again else "sent")
    out = ns.links.get(nexthop.oif)
    if out is None:
        missing_device(run, ns, packet, nexthop, found)
    record_route(run, ns, out, packet, via(ns, found, packet, result, nexthop))
    if not sourceless:
        _check_loopback_source(run, ns, out, packet, refused)
    return result, nexthop, out


def _check_loopback_source(run: Run, ns: NetnsState, out: Link, packet: Packet, reason: DropReason) -> None:
    """Refuse a loopback source on its way out of the host, unless route_localnet lets it go.

    Source: net/ipv4/route.c, __mkroute_output (Linux 6.18).
    """
    elsewhere = not out.flags & IFF_LOOPBACK and out.kind != "vrf"
    if packet.ipv6 or packet.src[0] != 127 or not elsewhere or sysctl.ipv4_or(ns, out, "route_localnet"):
        return
    run.end_dropped(ns, out, packet, reason, RouteLookup("drop", "loopback source", errno="EINVAL"))


def _assume_on_link(
    run: Run, ns: NetnsState, packet: Packet, out: Link, found: Lookup
) -> tuple[RouteResult, Nexthop, Link]:
    """Send where no route leads, out of the device that the sender is bound to (see `assumed_on_link`)."""
    run.record(ns, out, packet, found("on link"))
    return RouteResult(), Nexthop(out.ifindex), out


def route_mtu(out: Link, result: RouteResult, ipv6: bool, forwarding: bool = False) -> int:
    """Return the MTU of a route; of what it forwards, IPv6 asks the route for a locked one alone.

    Source: include/net/ip.h, ip_dst_mtu_maybe_forward; include/net/ip6_route.h, ip6_dst_mtu_maybe_forward (Linux 6.18).
    """
    route = result.route
    asks = route is not None and (not (ipv6 and forwarding) or route.mtu_lock)
    mtu = route.mtu if route is not None and asks else 0
    if not mtu and ipv6 and out.ipv6 is not None:
        mtu = out.ipv6.mtu6
    return mtu or out.mtu


def check_ipv6(run: Run, ns: NetnsState, link: Link, packet: Packet, what: What) -> None:
    """Drop what comes in or goes out by a device on which IPv6 is off.

    Source: net/ipv6/ip6_input.c, ip6_rcv_core; ip6_output.c, ip6_output (Linux 6.18).
    """
    if packet.ipv6 and link.ipv6 is not None and link.ipv6.disable_ipv6:
        run.end_dropped(ns, link, packet, "IPV6DISABLED", what)


def output(
    run: Run,
    ns: NetnsState,
    out: Link,
    packet: Packet,
    nexthop: Nexthop,
    mtu: int,
    iif: Link | None = None,
    ignore_df: bool = False,
) -> Action:
    """Postrouting hooks, fragmentation, neighbour, transmission.

    Source: net/ipv4/ip_output.c, ip_output, ip_finish_output, ip_finish_output2 (Linux 6.18).
    """
    if nexthop.encap is not None:
        run.end_unknown(ns, out, packet, Encap("unknown", "route encapsulation", what=nexthop.encap.type))
    gateway = nexthop.gateway or packet.dst
    check_ipv6(run, ns, out, packet, RouteLookup("drop", "IPv6 disabled"))
    packet = inet_hook(run, ns, packet, NF_POST_ROUTING, iif, out, gateway)
    if packet.payload is None or packet.df:
        run.note_limit(ns, out, packet, mtu)
    if packet.wire_length > mtu:
        if packet.ipv6 and iif is not None:
            _check_fits(run, ns, out, packet, mtu, iif)
        if packet.df and not ignore_df:
            run.end_dropped(
                ns,
                out,
                packet,
                "PKT_TOO_BIG",
                Mtu(
                    "drop",
                    "DF",
                    mtu=mtu,
                    length=packet.wire_length,
                    taker=out.ifname,
                    kernel_reason="NOT_SPECIFIED",  # ip_fragment, ip6_fragment
                ),
            )
        whole = packet.wire_length
        packet = packet.but(fragment=mtu, df=False)
        run.record(ns, out, packet, Mtu("fragment", mtu=mtu, length=whole, taker=out.ifname))
    link = LinkKey(ns.key, out.ifindex)
    if not out.flags & IFF_LOOPBACK and out.kind != "vrf":
        came_by = iif.ifindex if iif is not None else 0
        return Resolve(link, packet, nexthop.gateway or packet.dst, came_by)
    if out.flags & IFF_LOOPBACK:
        packet = packet.but(smac=b"", dmac=b"")  # arp_constructor: zeros, as the device's own
    return Tx(link, packet, gateway)


def _check_fits(
    run: Run, ns: NetnsState, out: Link, packet: Packet, mtu: int, iif: Link | None = None
) -> None:
    """Refuse to fragment what may not be, where that shows only at output; the sender is told.

    That is a forwarded IPv6 packet too big for its route, though not for the device, or one of the host's own that
    a hook has sent another way.

    Source: net/ipv4/ip_output.c, ip_fragment; net/ipv6/ip6_output.c, ip6_fragment (fail_toobig) (Linux 6.18).
    """
    if packet.wire_length <= mtu:
        return
    refuse_too_big(run, ns, out, packet, mtu, iif, "route", kernel_reason="NOT_SPECIFIED")


def refuse_too_big(
    run: Run,
    ns: NetnsState,
    out: Link,
    packet: Packet,
    mtu: int,
    iif: Link | None,
    cause: Literal["device", "route"],
    kernel_reason: DropReason | Literal[""] = "",
) -> NoReturn:
    """Drop a packet that a device, or its route by that, is too small for, and tell the sender by ICMP."""
    what = Mtu(
        "drop",
        cause,
        mtu=mtu,
        length=packet.wire_length,
        taker=out.ifname,
        icmp="packet-too-big" if packet.ipv6 else "fragmentation-needed",
        kernel_reason=kernel_reason,
    )
    drop_with_error(run, ns, out, packet, "PKT_TOO_BIG", what, error="too-big", iif=iif)

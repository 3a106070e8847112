"""The network layer on the way out: the host's own packets and what it forwards. IPv4 and IPv6.

Source: net/ipv4/ip_output.c, __ip_local_out, ip_output, ip_finish_output; net/ipv6/ip6_output.c (Linux 6.18).
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RTN_BROADCAST, RTN_MULTICAST, Nexthop
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import (
    NF_POST_ROUTING,
)
from netviz.core.sim import sysctl
from netviz.core.sim.hook.netfilter import inet_hook, output_hook
from netviz.core.sim.inet.admission import (
    ERROR_WORDS,
)
from netviz.core.sim.inet.icmp import drop_and_tell
from netviz.core.sim.link.vrf import check_hooks, master_of
from netviz.core.sim.neighbour.resolve import resolve
from netviz.core.sim.packet import ICMPV6_ECHO_REPLY, IPPROTO_UDP, Packet
from netviz.core.sim.route.decision import missing_device, pick_nexthop, record_route, route_flow, sender_tos
from netviz.core.sim.route.rules import (
    RouteResult,
    assumed_on_link,
    lookup_route,
    vrf_of,
)
from netviz.core.sim.run import Action, Run, Send, Tx
from netviz.core.sim.words.iproute import route_text, rule_text
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
    _check_send(run, ns, out, packet, route_mtu(out, result, packet.ipv6))
    packet, rerouted = output_hook(run, ns, packet, out, nexthop.gateway or packet.dst)
    if rerouted is not None:
        if rerouted.payload is not None or rerouted.icmp_type == ICMPV6_ECHO_REPLY:
            send = msgspec.structs.replace(
                send, oif=0
            )  # what sends it is bound to no device (ip6_route_me_harder)
        fitted = packet.wire_length <= route_mtu(out, result, packet.ipv6)
        result, nexthop, out = _route_output(run, ns, rerouted, send, again=True)
        if fitted and packet.df:
            _check_fits(run, ns, out, packet, route_mtu(out, result, packet.ipv6))
    return output(run, ns, out, packet, nexthop, route_mtu(out, result, packet.ipv6))


def _check_send(run: Run, ns: NetnsState, out: Link, packet: Packet, mtu: int) -> None:
    """Refuse a socket's datagram that its route is too small for and that may not be fragmented, before any hook.

    Source: net/ipv4/ip_output.c, __ip_append_data; net/ipv6/ip6_output.c, __ip6_append_data (Linux 6.18).
    """
    datagram = packet.proto == IPPROTO_UDP or packet.is_icmp
    if packet.own and packet.df and datagram and packet.wire_length > mtu:
        why = (
            f"The packet has {packet.wire_length} bytes, its route by {out.ifname} takes {mtu}, and DF is set: sending "
            "fails with EMSGSIZE."
        )
        told = {"mtu": mtu, "length": packet.wire_length, "errno": "EMSGSIZE"}
        command = f"ip route get {format_ip(packet.dst)}"
        run.drop(ns, "mtu", out.ifname, packet, "PKT_TOO_BIG", why, command=command, **told)


def _local_oif(result: RouteResult) -> int:
    """Return the device of a local route: one in a VRF makes the VRF's device the loopback."""
    return result.nexthops[0].oif if result.nexthops else 0


def _route_output(
    run: Run, ns: NetnsState, packet: Packet, send: Send, again: bool = False
) -> tuple[RouteResult, Nexthop, Link]:
    """Route the host's own packet: first for its sender, `again` for a hook that changed it."""
    run.check_gap(ns, "routes", "route", "", packet)
    run.check_gap(ns, "rules", "route", "", packet)
    oif, sourceless = send.oif, send.sourceless and not again
    asked = packet.but(tos=packet.tos if again else sender_tos(packet), dst=send.via or packet.dst)
    result = lookup_route(ns, route_flow(asked, oif=oif, sourceless=sourceless, dissected=again))
    if sourceless and result.error and packet.ipv6:
        # ip6_dst_lookup_tail: what was found without a source is forgotten if it is an error
        sourceless = False
        result = lookup_route(ns, route_flow(asked, oif=oif))
    mark = f" mark {packet.mark}" if packet.mark else ""
    source = "" if sourceless else f" from {format_ip(packet.src)}"
    command = f"ip route get {format_ip(packet.dst)}{source}{mark}"
    bound_to = ns.links.get(oif)
    if bound_to is not None and not bound_to.up and not packet.ipv6:
        why = f"{bound_to.ifname}, which the sender is bound to, is down: sending fails with ENETUNREACH."
        reason = "NETFILTER_DROP" if again else "IP_OUTNOROUTES"
        run.drop(ns, "route", bound_to.ifname, packet, reason, why, command=command, errno="ENETUNREACH")
    if result.unknown:
        why = f"The routing decision isn't known: {result.unknown}."
        run.unknown(ns, "route", "", packet, result.unknown, why, command=command)
    if result.error or result.route is None:
        error = result.error or "ENETUNREACH"
        evidence: dict[str, Any] = {"errno": error}
        if result.rule is not None:
            evidence["rule"] = rule_text(result.rule)
        if result.route is not None:
            evidence["route"] = route_text(result.route, ns.links)
        if result.passed:
            evidence["passed"] = result.passed
        if bound_to is not None and assumed_on_link(ns.links, oif, packet.dst):
            return _assume_on_link(run, ns, packet, bound_to, command, evidence)
        why = f"There is {ERROR_WORDS[error]} to {format_ip(packet.dst)} here: sending fails with {error}."
        if error != "ENETUNREACH":
            why = f"{format_ip(packet.dst)} is caught by a {ERROR_WORDS[error]}: sending fails with {error}."
        reason = "NETFILTER_DROP" if again else "IP_OUTNOROUTES"
        run.drop(ns, "route", "", packet, reason, why, command=command, **evidence)
    if result.local:
        record_route(run, ns, "lo", packet, result, None, command)
        loopback = ns.links.get(vrf_of(ns.links, oif or _local_oif(result))) or next(
            (link for link in ns.links.values() if link.flags & IFF_LOOPBACK), None
        )
        if loopback is None:
            run.unknown(
                ns, "route", "lo", packet, "no loopback", "The namespace's loopback is not in the state."
            )
        return result, Nexthop(loopback.ifindex), loopback
    if result.route.type in (RTN_BROADCAST, RTN_MULTICAST):
        run.unknown(
            ns, "route", "", packet, "broadcast or multicast", "Broadcast and multicast are not followed."
        )
    nexthop = pick_nexthop(run, ns, packet, result, "sent again" if again else "sent")
    out = ns.links.get(nexthop.oif)
    if out is None:
        missing_device(run, ns, packet, nexthop, command)
    record_route(run, ns, out.ifname, packet, result, nexthop, command)
    if not sourceless:
        _check_loopback_source(run, ns, out, packet, "NETFILTER_DROP" if again else "IP_OUTNOROUTES")
    return result, nexthop, out


def _check_loopback_source(run: Run, ns: NetnsState, out: Link, packet: Packet, reason: str) -> None:
    """Refuse a loopback source on its way out of the host, unless route_localnet lets it go.

    Source: net/ipv4/route.c, __mkroute_output (Linux 6.18).
    """
    elsewhere = not out.flags & IFF_LOOPBACK and out.kind != "vrf"
    if packet.ipv6 or packet.src[0] != 127 or not elsewhere or sysctl.ipv4_or(ns, out, "route_localnet"):
        return
    name = f"net.ipv4.conf.{out.ifname}.route_localnet"
    why = (
        f"{format_ip(packet.src)} is a loopback address, which may not leave by {out.ifname} ({name} is off): "
        "sending fails with EINVAL."
    )
    run.drop(ns, "route", out.ifname, packet, reason, why, command=f"sysctl {name}", errno="EINVAL")


def _assume_on_link(
    run: Run, ns: NetnsState, packet: Packet, out: Link, command: str, evidence: dict[str, Any]
) -> tuple[RouteResult, Nexthop, Link]:
    """Send where no route leads, out of the device that the sender is bound to (see `assumed_on_link`)."""
    why = (
        f"No route leads to {format_ip(packet.dst)}, but the sender is bound to {out.ifname}: the destination is "
        "taken to be on its link."
    )
    run.step(ns, "route", out.ifname, packet, "on link", why, command=command, **evidence)
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


def check_ipv6(run: Run, ns: NetnsState, link: Link, packet: Packet, kind: str) -> None:
    """Drop what comes in or goes out by a device on which IPv6 is off.

    Source: net/ipv6/ip6_input.c, ip6_rcv_core; ip6_output.c, ip6_output (Linux 6.18).
    """
    if packet.ipv6 and link.ipv6 is not None and link.ipv6.disable_ipv6:
        run.drop(
            ns,
            kind,
            link.ifname,
            packet,
            "IPV6DISABLED",
            f"IPv6 is disabled on {link.ifname}.",
            command=f"sysctl net.ipv6.conf.{link.ifname}.disable_ipv6",
        )


def output(
    run: Run,
    ns: NetnsState,
    out: Link,
    packet: Packet,
    nexthop: Nexthop,
    mtu: int,
    iif: Link | None = None,
) -> Action:
    """Postrouting hooks, fragmentation, neighbour, transmission.

    Source: net/ipv4/ip_output.c, ip_output, ip_finish_output, ip_finish_output2 (Linux 6.18).
    """
    if nexthop.encap is not None:
        run.unknown(
            ns,
            "encap",
            out.ifname,
            packet,
            f"{nexthop.encap.type} encapsulation",
            f"The route encapsulates ({nexthop.encap.type}), which is not modelled.",
        )
    gateway = nexthop.gateway or packet.dst
    check_ipv6(run, ns, out, packet, "route")
    packet = inet_hook(run, ns, packet, NF_POST_ROUTING, iif, out, gateway)
    if packet.wire_length > mtu:
        if packet.ipv6 and iif is not None:
            _check_fits(run, ns, out, packet, mtu, iif)
        if packet.df:
            why = f"The packet has {packet.wire_length} bytes, {out.ifname} takes {mtu}, and DF is set."
            length = packet.wire_length
            reason = "NOT_SPECIFIED"  # ip_fragment, ip6_fragment
            run.drop(
                ns,
                "mtu",
                out.ifname,
                packet,
                "PKT_TOO_BIG",
                why,
                mtu=mtu,
                length=length,
                kernel_reason=reason,
            )
        whole = packet.wire_length
        packet = packet.but(fragment=mtu)
        run.step(
            ns,
            "mtu",
            out.ifname,
            packet,
            "fragment",
            f"The packet has {whole} bytes and {out.ifname} takes {mtu}: it goes on in fragments.",
            mtu=mtu,
            length=whole,
        )
    if not out.flags & IFF_LOOPBACK and out.kind != "vrf":
        gateway = nexthop.gateway or packet.dst
        packet = resolve(run, ns, out, gateway, packet, iif)
    elif out.flags & IFF_LOOPBACK:
        packet = packet.but(smac=b"", dmac=b"")  # arp_constructor: zeros, as the device's own
    return Tx(LinkKey(ns.key, out.ifindex), packet, gateway)


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
    what, command = f"its route by {out.ifname}", f"ip route get {format_ip(packet.dst)}"
    refuse_too_big(run, ns, out, packet, mtu, iif, what, command, kernel_reason="NOT_SPECIFIED")


def refuse_too_big(
    run: Run,
    ns: NetnsState,
    out: Link,
    packet: Packet,
    mtu: int,
    iif: Link | None,
    what: str,
    command: str,
    **evidence: str,
) -> NoReturn:
    """Drop a packet that `what`, a device or a route, is too small for, and tell the sender by ICMP."""
    why = (
        f"The packet has {packet.wire_length} bytes, {what} takes {mtu}, and it may not be fragmented; "
        "the sender is told by ICMP."
    )
    drop_and_tell(
        run,
        ns,
        "mtu",
        out.ifname,
        packet,
        "PKT_TOO_BIG",
        why,
        error="too-big",
        iif=iif,
        command=command,
        mtu=mtu,
        length=packet.wire_length,
        icmp="packet-too-big" if packet.ipv6 else "fragmentation-needed",
        **evidence,
    )

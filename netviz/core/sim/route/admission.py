"""What a namespace checks of an arriving IP packet before it goes on: martians, forwarding, reverse path, route errors."""

from __future__ import annotations

from functools import partial
from typing import Literal, NoReturn

from netviz.core.model.link import Link
from netviz.core.sim import sysctl
from netviz.core.sim.actions import Ended
from netviz.core.sim.packet import Packet, icmp_error
from netviz.core.sim.route.decision import looked_up
from netviz.core.sim.route.icmp import drop_with_error, error_source
from netviz.core.sim.route.rp_filter import validate_source
from netviz.core.sim.route.rules import RouteResult
from netviz.core.sim.route.saddr import is_multicast
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import DropReason, Forward, RouteLookup, RpFilter
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState


def check_martian(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """Drop IPv4 packets whose addresses cannot come from a link.

    Source: net/ipv4/route.c, ip_route_input_slow (Linux 6.18).
    """
    src, dst = packet.src, packet.dst
    localnet = sysctl.ipv4_or(ns, link, "route_localnet")
    reason: DropReason | None = None
    if is_multicast(src) or src == b"\xff" * 4 or src[0] == 0:
        reason = "IP_INVALID_SOURCE"
    elif (src[0] == 127 and not localnet) or (dst[0] == 127 and not localnet):
        reason = "IP_LOCALNET"
    elif dst[0] == 0:
        reason = "IP_INVALID_DEST"
    if reason:
        run.end_dropped(ns, link, packet, reason, RouteLookup("drop", "martian"))
    if localnet and 127 in (src[0], dst[0]):
        run.record(ns, link, packet, RouteLookup("loopback address"))


def _forwarding(ns: NetnsState, link: Link, ipv6: bool) -> bool | None:
    if ipv6:
        every = ns.sysctls.get("net.ipv6.conf.all.forwarding")
        if every is not None:
            return bool(every.value)
        return bool(link.ipv6.forwarding) if link.ipv6 is not None else None
    return bool(link.ipv4.forwarding) if link.ipv4 is not None else None


def check_forwarding(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """Drop what this namespace would have to forward but may not.

    Source: net/ipv4/route.c, ip_route_input_slow, ip_error; net/ipv6/ip6_output.c, ip6_forward
    (Linux 6.18).
    """
    allowed = _forwarding(ns, link, packet.ipv6)
    if allowed:
        return
    name = "net.ipv6.conf.all.forwarding" if packet.ipv6 else f"net.ipv4.conf.{link.ifname}.forwarding"
    if allowed is None:
        run.end_unknown(ns, link, packet, Forward("unknown", "setting not read", sysctl=name))
    run.end_dropped(
        ns, link, packet, "IP_INADDRERRORS", Forward("drop", "forwarding off", sysctl=name, value=0)
    )


def input_error(run: Run, ns: NetnsState, link: Link, packet: Packet, result: RouteResult) -> NoReturn:
    """End a packet for which the lookup gave an error; a router tells the sender by ICMP.

    Source: net/ipv4/route.c, ip_error; net/ipv6/route.c, ip6_pkt_drop (Linux 6.18).
    """
    if not _forwarding(ns, link, packet.ipv6) and not packet.ipv6:
        check_forwarding(run, ns, link, packet)
    error = result.error or "ENETUNREACH"
    found = partial(looked_up(ns, result), asked="in", errno=error)
    if error == "ENETUNREACH":
        icmp = "icmpv6-no-route" if packet.ipv6 else "icmp-net-unreachable"
        what_is_dropped = found("drop", "no route", icmp=icmp)
        drop_with_error(run, ns, link, packet, "IP_INNOROUTES", what_is_dropped, error="net", iif=link)
    if error == "EINVAL":
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", found("drop", "blackhole"))
    what = "host" if error == "EHOSTUNREACH" else "prohibited"
    names = {"host": "icmp-host-unreachable", "prohibited": "icmp-admin-prohibited"}
    if packet.ipv6:
        what = "net" if what == "host" else what  # ip6_pkt_discard says "no route" for all but prohibit
        names = {"net": "icmpv6-no-route", "prohibited": "icmpv6-admin-prohibited"}
    cause: Literal["unreachable", "prohibit"] = "unreachable" if error == "EHOSTUNREACH" else "prohibit"
    run.record(ns, link, packet, found("reject", cause), reason=names[what])
    source, sourceless = error_source(ns, link, packet)
    raise Ended(Disposition.REJECTED, names[what], icmp_error(packet, what, source), ns.key, sourceless)


def check_source(run: Run, ns: NetnsState, link: Link, packet: Packet, flow: RouteFlow, oif: int) -> None:
    if packet.ipv6:
        return
    run.check_gap(ns, "sysctls", RpFilter, link, packet)
    refusal = validate_source(ns, link, flow, oif)
    if refusal is None:
        return
    if not refusal.reason:
        run.end_unknown(ns, link, packet, RpFilter("unknown", "lookup", refusal=refusal))
    run.end_dropped(
        ns,
        link,
        packet,
        refusal.reason,
        RpFilter("drop", "refused", refusal=refusal, rp_filter=sysctl.ipv4_max(ns, link, "rp_filter")),
    )

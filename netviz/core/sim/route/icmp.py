"""ICMP errors: where they come from, and packets that end with one."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.l3 import RT_SCOPE_LINK
from netviz.core.model.link import Link
from netviz.core.sim import sysctl
from netviz.core.sim.actions import Ended
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, Packet, icmp_error
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import owned_addrs, select_on_link, select_source, source6
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import DropReason, What
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState


def error_source(ns: NetnsState, link: Link | None, packet: Packet, local: bool = True) -> tuple[bytes, bool]:
    """Choose the source of an ICMP error about a packet that came in by `link` (None: the host's own).

    The flag tells that the error's route is looked up before it has a source. The source is b"" where there
    is none to be had. `local` is false where nothing has said yet that the packet is for this host: IPv4 then
    doesn't answer as who was asked.

    Source: net/ipv4/icmp.c, __icmp_send, icmp_route_lookup; net/ipv6/icmp.c, icmp6_send,
    icmpv6_rt_has_prefsrc (Linux 6.18).
    """
    if owned_addrs(ns, packet.dst) and (local or packet.ipv6):
        return packet.dst, False
    return _source6(ns, link, packet) if packet.ipv6 else _source4(ns, link, packet)


def errors_from_inbound(ns: NetnsState, error: Packet) -> bool:
    """Tell whether errors come from an address of the device that a packet came in by."""
    return not error.ipv6 and bool(sysctl.value(ns, "net.ipv4.icmp_errors_use_inbound_ifaddr"))


def _source4(ns: NetnsState, link: Link | None, packet: Packet) -> tuple[bytes, bool]:
    if link is not None and errors_from_inbound(ns, packet):
        return select_on_link(ns, link.ifindex, packet.src, RT_SCOPE_LINK), False
    back = lookup_route(ns, RouteFlow(packet.src, tos=packet.tos & 0x1E | 0xC0, proto=IPPROTO_ICMP))
    if back.error or back.unknown or not back.nexthops:
        return select_on_link(ns, link.ifindex, b"", 0) if link is not None else b"", True
    nexthop = back.nexthops[0]
    return select_source(ns, back, nexthop.oif, nexthop.gateway, packet.src), True


def _source6(ns: NetnsState, link: Link | None, packet: Packet) -> tuple[bytes, bool]:
    back = lookup_route(ns, RouteFlow(packet.src, proto=IPPROTO_ICMPV6))
    if back.route is not None and back.route.prefsrc and not back.error:
        return back.route.prefsrc, True
    if link is not None:
        return source6(ns, link.ifindex, packet.src), False
    if back.error or back.unknown or not back.nexthops:
        return b"", True
    return source6(ns, back.nexthops[0].oif, packet.src), True


def drop_with_error(
    run: Run,
    ns: NetnsState,
    dev: Link | None,
    packet: Packet,
    reason: DropReason,
    what: What,
    *,
    error: str,
    iif: Link | None,
) -> NoReturn:
    """Drop a packet that came in by `iif`, and answer its sender with the ICMP error of kind `error`."""
    run.record(ns, dev, packet, what, reason=reason)
    source, sourceless = error_source(ns, iif, packet)
    raise Ended(Disposition.DROPPED, reason, icmp_error(packet, error, source), ns.key, sourceless)

"""Reverse path filtering and martian sources.

Source: net/ipv4/fib_frontend.c, fib_validate_source, __fib_validate_source (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.l3 import RTN_LOCAL, RTN_UNICAST, Route, Rule
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.sim import sysctl
from netviz.core.sim.index import Index
from netviz.core.sim.route.rules import RouteResult, lookup_route, ordered_rules, vrf_of
from netviz.core.sim.route.saddr import link_addrs, owned_addrs
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.steps import SourceRefusal
from netviz.core.state.node import NetnsState

KERNEL_PROTOCOLS = (0, 2)  # RTPROT_UNSPEC, RTPROT_KERNEL
STANDARD_RULES = {(0, 255), (32766, 254), (32767, 253)}


def _custom_rules(ns: NetnsState) -> bool:
    """Tell whether policy rules beyond the three of a fresh namespace are (or were) there."""
    return any(not _standard(rule) for rule in ordered_rules(ns.rules)[2])


def _any_custom_local(routes: Mapping[Any, Route]) -> bool:
    for route in routes.values():
        if route.type == RTN_LOCAL and route.protocol not in KERNEL_PROTOCOLS and len(route.dst) == 4:
            return True
    return False


custom_local_routes: Index[Mapping[Any, Route], bool] = Index(_any_custom_local)


def _standard(rule: Rule) -> bool:
    plain = not (rule.src_len or rule.dst_len or rule.fwmask or rule.iifname or rule.oifname or rule.invert)
    return plain and (rule.priority, rule.table_id) in STANDARD_RULES


def validate_source(ns: NetnsState, link: Link, flow: RouteFlow, oif: int) -> SourceRefusal | None:
    """Check an IPv4 packet's source on arrival by `link`; None when it passes.

    `oif` is the outgoing device of a packet to be forwarded, 0 for local delivery.
    """
    src, dst = flow.src, flow.dst
    level = sysctl.ipv4_max(ns, link, "rp_filter")
    accept_local = bool(link.ipv4 is not None and link.ipv4.accept_local) or bool(
        sysctl.conf_all(ns, "accept_local")
    )
    if not level and link.ifindex != oif:
        if accept_local:
            return None
        if not _custom_rules(ns) and not custom_local_routes(ns.routes):
            if owned_addrs(ns, src):
                return SourceRefusal("IP_LOCAL_SOURCE", "own address", link.ifname)
            return None
    mark = flow.mark if sysctl.ipv4_or(ns, link, "src_valid_mark") else 0
    # Rules see the packet's protocol, and its ports the other way round.
    reverse = RouteFlow(src, dst, oif, 0, mark, flow.tos, flow.proto, flow.dport, flow.sport)
    back = lookup_route(
        ns,
        msgspec.structs.replace(
            reverse,
            sport_unsure=flow.dport_unsure,
            dport_unsure=flow.sport_unsure,
            l3mdev=vrf_of(ns.links, link.ifindex),
            dissected=True,
        ),
    )
    if back.unknown:
        return SourceRefusal("", "lookup", link.ifname, unknown=back.unknown)
    return _check(ns, link, level, back, accept_local, src, dst, oif, flow.tos)


def _check(
    ns: NetnsState,
    link: Link,
    level: int,
    back: RouteResult,
    accept_local: bool,
    src: bytes,
    dst: bytes,
    oif: int,
    tos: int,
) -> SourceRefusal | None:
    refused = SourceRefusal("IP_RPFILTER", "reverse path", link.ifname, level)
    if back.error or back.route is None:
        return refused if level else None
    if back.route.type != RTN_UNICAST:
        if back.route.type != RTN_LOCAL:
            return SourceRefusal("IP_INVALID_SOURCE", "special address", link.ifname)
        if not accept_local:
            return SourceRefusal("IP_LOCAL_SOURCE", "own address", link.ifname)
    # fib_info_nh_uses_dev: a VRF's device is used where one of its slaves is.
    if any(link.ifindex in (nexthop.oif, vrf_of(ns.links, nexthop.oif)) for nexthop in back.nexthops):
        return None
    if back.route.type == RTN_LOCAL and link.flags & IFF_LOOPBACK:
        return None
    if not any(len(addr.addr) == 4 for addr in link_addrs(ns, link.ifindex)):
        return refused if level else None
    if level == 1:
        return refused
    # Loose: a failing second lookup bound to the device is no reason to drop.
    return None

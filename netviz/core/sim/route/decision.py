"""A routing decision as the walk makes it: the question, the choice of a nexthop, the step that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NoReturn

from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import Nexthop, Route
from netviz.core.model.link import Link
from netviz.core.sim import sysctl
from netviz.core.sim.packet import (
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_TCP,
    IPPROTO_UDP,
    TH_ACK,
    TH_SYN,
    Packet,
)
from netviz.core.sim.route.rules import (
    RouteResult,
    lookup_route,
)
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import PassedRule, RouteLookup
from netviz.core.sim.trace import BRANCH, CERTAIN
from netviz.core.state.node import NetnsState

# Describes a lookup that has been made, once it is known what comes of it.
Lookup = Callable[..., RouteLookup]


def route_flow(
    packet: Packet, iif: int = 0, oif: int = 0, sourceless: bool = False, dissected: bool = False
) -> RouteFlow:
    """Describe a packet to the routing lookup; `sourceless` as its socket does before it has a source.

    What comes in is always `dissected`; of the host's own packets those are whose route a hook asks for again.
    """
    ports = not packet.is_icmp
    return RouteFlow(
        packet.dst,
        b"" if sourceless else packet.src,
        iif,
        oif,
        packet.mark,
        packet.tos,
        packet.proto,
        packet.sport if ports else 0,
        packet.dport if ports else 0,
        sport_unsure=packet.sport_unsure,
        dport_unsure=packet.dport_unsure,
        strict=not packet.ipv6 or packet.icmp_type != ICMPV6_ECHO_REPLY,
        dissected=dissected or bool(iif),
    )


def sender_tos(packet: Packet) -> int:
    """Return the type of service that the sender's own lookup sees: in IPv6 resets, errors and answers don't tell theirs.

    Source: net/ipv6/tcp_ipv6.c, tcp_v6_connect, tcp_v6_send_response; net/ipv6/icmp.c, icmpv6_echo_reply; net/ipv6/udp.c,
    udpv6_sendmsg; net/ipv6/ping.c, ping_v6_sendmsg (Linux 6.18).
    """
    asks = packet.proto == IPPROTO_TCP and packet.tcp_flags & (TH_SYN | TH_ACK) == TH_SYN
    tells = asks or packet.proto == IPPROTO_UDP or packet.icmp_type == ICMPV6_ECHO_REQUEST
    return packet.tos if tells or not packet.ipv6 else 0


def worth_to(run: Run, key: LinkKey, packet: Packet) -> int:
    """Rank what becomes of a packet that comes in by a link: 2 it is for this host, 1 it is forwarded, else 0."""
    ns = run.netns(key.netns)
    if lookup_route(ns, RouteFlow(packet.dst, packet.src, iif=key.ifindex)).local:
        return 2
    link = ns.links[key.ifindex]
    conf = link.ipv6 if packet.ipv6 else link.ipv4
    return int(conf is not None and bool(conf.forwarding))


def missing_device(run: Run, ns: NetnsState, packet: Packet, nexthop: Nexthop, found: Lookup) -> NoReturn:
    run.end_unknown(ns, nexthop.oif, packet, found("unknown", "missing device", ifindex=nexthop.oif))


def pick_nexthop(
    run: Run, ns: NetnsState, packet: Packet, result: RouteResult, asked: str = "coming in"
) -> Nexthop:
    """Choose among a route's nexthops as its hash might: one branch each, by weight.

    `asked` says for what packet: one that comes in, or the host's own, which is hashed before it is whole.

    Source: net/ipv4/fib_semantics.c, fib_select_multipath; net/ipv6/route.c, fib6_select_path
    (Linux 6.18).
    """
    nexthops = result.nexthops
    if not nexthops:
        run.end_unknown(ns, None, packet, RouteLookup("unknown", "no nexthop"))
    if len(nexthops) == 1:
        return nexthops[0]
    total = sum(nexthop.weight for nexthop in nexthops)
    key = (
        "multipath",
        ns.key,
        result.route.key if result.route else None,
        packet.src,
        packet.dst,
        packet.proto,
        asked,
    )
    return nexthops[run.choose(key, len(nexthops), tuple(nexthop.weight / total for nexthop in nexthops))]


def looked_up(ns: NetnsState, result: RouteResult) -> Lookup:
    """Begin the description of a lookup: the rule, the route and its devices, the rules that were passed."""
    route = result.route
    return partial(
        RouteLookup,
        rule=result.rule,
        route=route,
        devs=route_devs(ns.links, route) if route is not None else (),
        passed=tuple(
            PassedRule(rule, thrown, route_devs(ns.links, thrown) if thrown is not None else ())
            for rule, thrown in result.passed
        ),
    )


def route_devs(links: Mapping[Any, Link], route: Route) -> tuple[str, ...]:
    """Name the devices of a route's nexthops, in order."""
    return tuple(_dev_name(links, nexthop.oif) for nexthop in route.nexthops)


def _dev_name(links: Mapping[Any, Link], ifindex: int) -> str:
    link = links.get(ifindex)
    return link.ifname if link is not None else f"if{ifindex}"


def via(ns: NetnsState, found: Lookup, packet: Packet, result: RouteResult, nexthop: Nexthop) -> RouteLookup:
    """Finish the description of a lookup that found a route out, by the nexthop that is taken.

    Source: net/ipv4/route.c, fib_multipath_hash; net/ipv6/route.c, rt6_multipath_hash (Linux 6.18).
    """
    choices = len(result.nexthops)
    policy = None
    if choices > 1:
        policy = sysctl.value(ns, f"net.ipv{6 if packet.ipv6 else 4}.fib_multipath_hash_policy")
    action: Literal["via", "direct"] = "via" if nexthop.gateway else "direct"
    oif = _dev_name(ns.links, nexthop.oif)
    return found(action, nexthop=nexthop, oif=oif, choices=choices, hash_policy=policy)


def record_route(run: Run, ns: NetnsState, dev: Link, packet: Packet, what: RouteLookup) -> None:
    """Record a lookup that found a route; what was assumed without one has its own step."""
    if what.route is not None and what.rule is not None:
        run.record(ns, dev, packet, what, certainty=BRANCH if what.choices > 1 else CERTAIN)

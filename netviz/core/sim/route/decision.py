"""A routing decision as the walk makes it: the question, the choice of a nexthop, the step that says so."""

from __future__ import annotations

from typing import Any, NoReturn

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import Nexthop
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
from netviz.core.sim.trace import BRANCH, CERTAIN
from netviz.core.sim.words.iproute import route_text, rule_text, table_name
from netviz.core.state.node import NetnsState


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


def missing_device(run: Run, ns: NetnsState, packet: Packet, nexthop: Nexthop, command: str) -> NoReturn:
    run.unknown(
        ns,
        "route",
        f"if{nexthop.oif}",
        packet,
        "route to a missing device",
        f"The route goes out of device {nexthop.oif}, which is not in the state.",
        command=command,
    )


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
        run.unknown(
            ns, "route", "", packet, "route without nexthop", "The route has no nexthop in the state."
        )
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


HASH_POLICIES = (
    "the addresses",
    "addresses and ports",
    "the addresses, of a tunnel's inner packet where there is one",
    "the fields of fib_multipath_hash_fields",
)


def hash_policy(ns: NetnsState, ipv6: bool) -> str:
    """Say what multipath routing hashes. Source: net/ipv4/route.c, fib_multipath_hash; net/ipv6/route.c,
    rt6_multipath_hash (Linux 6.18).
    """
    number = sysctl.value(ns, f"net.ipv{6 if ipv6 else 4}.fib_multipath_hash_policy")
    return HASH_POLICIES[number] if number < len(HASH_POLICIES) else f"policy {number}"


def record_route(
    run: Run,
    ns: NetnsState,
    dev: str,
    packet: Packet,
    result: RouteResult,
    nexthop: Nexthop | None,
    command: str,
) -> None:
    route, rule = result.route, result.rule
    if route is None or rule is None:
        return
    text = route_text(route, ns.links)
    table = table_name(route.table_id)
    evidence: dict[str, Any] = {"route": text, "table_id": route.table_id, "rule": rule_text(rule)}
    if result.passed:
        evidence["passed"] = result.passed
    certainty = CERTAIN
    if nexthop is None:
        decision = "local"
        why = f"{format_ip(packet.dst)} is an address of this namespace (table {table})."
    else:
        out = ns.links.get(nexthop.oif)
        name = out.ifname if out is not None else f"if{nexthop.oif}"
        via = f"via {format_ip(nexthop.gateway)} " if nexthop.gateway else "directly "
        decision = f"via {format_ip(nexthop.gateway)}" if nexthop.gateway else "direct"
        why = f"Table {table} sends {format_ip(packet.dst)} {via}out of {name}: {text}."
        evidence.update(oif=name, gateway=format_ip(nexthop.gateway))
        if len(result.nexthops) > 1:
            certainty = BRANCH
            policy = hash_policy(ns, packet.ipv6)
            why += f" It has {len(result.nexthops)} nexthops; a hash of {policy} chooses."
            evidence["hash_policy"] = policy
    run.step(ns, "route", dev, packet, decision, why, command=command, certainty=certainty, **evidence)

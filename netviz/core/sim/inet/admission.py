"""What a namespace checks of an arriving IP packet before it goes on: martians, forwarding, reverse path, route errors."""

from __future__ import annotations

from typing import Any, NoReturn

from netviz.core.model.addr import format_ip
from netviz.core.model.link import Link
from netviz.core.sim import sysctl
from netviz.core.sim.inet.icmp import drop_and_tell, error_source
from netviz.core.sim.packet import Packet, icmp_error
from netviz.core.sim.route.rp_filter import validate_source
from netviz.core.sim.route.rules import RouteResult
from netviz.core.sim.route.saddr import is_multicast
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.trace import Disposition
from netviz.core.sim.words.iproute import route_text, rule_text
from netviz.core.state.node import NetnsState

ERROR_WORDS = {
    "ENETUNREACH": "no route",
    "EHOSTUNREACH": "unreachable route",
    "EACCES": "prohibit route",
    "EINVAL": "blackhole route",
}


def check_martian(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """Drop IPv4 packets whose addresses cannot come from a link.

    Source: net/ipv4/route.c, ip_route_input_slow (Linux 6.18).
    """
    src, dst = packet.src, packet.dst
    localnet = sysctl.ipv4_or(ns, link, "route_localnet")
    reason = ""
    if is_multicast(src) or src == b"\xff" * 4 or src[0] == 0:
        reason = "IP_INVALID_SOURCE"
    elif (src[0] == 127 and not localnet) or (dst[0] == 127 and not localnet):
        reason = "IP_LOCALNET"
    elif dst[0] == 0:
        reason = "IP_INVALID_DEST"
    if reason:
        run.drop(
            ns,
            "route",
            link.ifname,
            packet,
            reason,
            f"A packet from {format_ip(src)} to {format_ip(dst)} is a martian on {link.ifname}.",
        )
    if localnet and 127 in (src[0], dst[0]):
        why = f"{link.ifname} takes packets with loopback addresses, since route_localnet is on."
        command = f"sysctl net.ipv4.conf.{link.ifname}.route_localnet"
        run.step(ns, "route", link.ifname, packet, "loopback address", why, command=command)


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
        run.unknown(
            ns,
            "forward",
            link.ifname,
            packet,
            "forwarding setting not read",
            f"Whether {link.ifname} may forward isn't known: {name} is not in the state.",
            command=f"sysctl {name}",
        )
    run.drop(
        ns,
        "forward",
        link.ifname,
        packet,
        "IP_INADDRERRORS",
        f"{format_ip(packet.dst)} is not an address of this namespace, and forwarding is off on {link.ifname}.",
        sysctl=name,
        value=0,
        command=f"sysctl {name}",
    )


def input_error(
    run: Run, ns: NetnsState, link: Link, packet: Packet, result: RouteResult, command: str
) -> NoReturn:
    """End a packet for which the lookup gave an error; a router tells the sender by ICMP.

    Source: net/ipv4/route.c, ip_error; net/ipv6/route.c, ip6_pkt_drop (Linux 6.18).
    """
    if not _forwarding(ns, link, packet.ipv6) and not packet.ipv6:
        check_forwarding(run, ns, link, packet)
    error = result.error or "ENETUNREACH"
    evidence: dict[str, Any] = (
        {"errno": error, "passed": result.passed} if result.passed else {"errno": error}
    )
    if result.rule is not None:
        evidence["rule"] = rule_text(result.rule)
    if result.route is not None:
        evidence["route"] = route_text(result.route, ns.links)
        evidence["table_id"] = result.route.table_id
    words = ERROR_WORDS[error]
    dst = format_ip(packet.dst)
    if error == "ENETUNREACH":
        evidence["icmp"] = "icmpv6-no-route" if packet.ipv6 else "icmp-net-unreachable"
        why = f"No route leads to {dst}; the sender is told by ICMP ({evidence['icmp']})."
        drop_and_tell(
            run,
            ns,
            "route",
            link.ifname,
            packet,
            "IP_INNOROUTES",
            why,
            error="net",
            iif=link,
            command=command,
            **evidence,
        )
    if error == "EINVAL":
        why = f"{dst} is caught by a {words}: it is dropped silently."
        run.drop(ns, "route", link.ifname, packet, "NOT_SPECIFIED", why, command=command, **evidence)
    what = "host" if error == "EHOSTUNREACH" else "prohibited"
    names = {"host": "icmp-host-unreachable", "prohibited": "icmp-admin-prohibited"}
    if packet.ipv6:
        what = "net" if what == "host" else what  # ip6_pkt_discard says "no route" for all but prohibit
        names = {"net": "icmpv6-no-route", "prohibited": "icmpv6-admin-prohibited"}
    why = f"{dst} is caught by a {words}; the sender gets {names[what]}."
    run.step(ns, "route", link.ifname, packet, "reject", why, reason=names[what], command=command, **evidence)
    source, sourceless = error_source(ns, link, packet)
    raise Ended(Disposition.REJECTED, names[what], icmp_error(packet, what, source), ns.key, sourceless)


def check_source(run: Run, ns: NetnsState, link: Link, packet: Packet, flow: RouteFlow, oif: int) -> None:
    if packet.ipv6:
        return
    run.check_gap(ns, "sysctls", "rp_filter", link.ifname, packet)
    failed = validate_source(ns, link, flow, oif)
    if failed is None:
        return
    reason, why = failed
    command = f"ip route get {format_ip(packet.src)}"
    sentence = f"The packet from {format_ip(packet.src)} is refused on {link.ifname}: {why}."
    if reason == "UNKNOWN":
        run.unknown(ns, "rp_filter", link.ifname, packet, why, sentence, command=command)
    rp_filter = sysctl.ipv4_max(ns, link, "rp_filter")
    run.drop(ns, "rp_filter", link.ifname, packet, reason, sentence, command=command, rp_filter=rp_filter)

"""Local delivery: the input hooks, then whoever takes the packet: a socket, the kernel, or nobody.

Source: net/ipv4/ip_input.c, ip_local_deliver; net/ipv4/inet_hashtables.c, compute_score;
net/ipv4/udp.c, __udp4_lib_lookup; net/ipv6/inet6_hashtables.c; net/ipv4/icmp.c, icmp_echo
(Linux 6.18).
"""

from __future__ import annotations

from typing import Literal, NoReturn

import msgspec

from netviz.core.model.conntrack import CtTuple
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import NF_LOCAL_IN
from netviz.core.model.socket import Socket
from netviz.core.sim import sysctl
from netviz.core.sim.actions import Action, Ended, Unwrap
from netviz.core.sim.conntrack.untranslated import untranslated
from netviz.core.sim.hook.netfilter import inet_hook
from netviz.core.sim.listeners import lookup_socket
from netviz.core.sim.listeners import plain as without_mapping
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    TH_ACK,
    TH_RST,
    Packet,
    answer_to,
    icmp_error,
    invert,
)
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.route.icmp import error_source
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import may_send_from, open_source
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import LocalDelivery, SocketLookup
from netviz.core.sim.trace import BRANCH, Disposition
from netviz.core.state.node import NetnsState

# Errors whose socket is looked for by the device itself (skb->dev), which may be the loopback: protocol, IPv6.
ERRORS_BY_DEVICE = {(IPPROTO_UDP, False), (IPPROTO_TCP, True)}


def local_in(run: Run, ns: NetnsState, link: Link, packet: Packet) -> Action:
    """Pass a packet through the input hooks and deliver it. Always ends the walk, but for a tunnel's packet."""
    found_early = _demuxed(run, ns, link, packet)
    packet = inet_hook(
        run, ns, packet.but(fragment=0) if packet.fragment else packet, NF_LOCAL_IN, link, None
    )
    return deliver(run, ns, link, packet, found_early)


def _demuxed(run: Run, ns: NetnsState, link: Link, packet: Packet) -> bool:
    """Tell whether the packet has found the sender's socket before INPUT: what rules change there matters no more.

    Source: net/ipv4/tcp_ipv4.c, tcp_v4_early_demux; net/ipv6/tcp_ipv6.c, tcp_v6_early_demux (Linux 6.18).
    """
    if packet.proto != IPPROTO_TCP or packet.sk or packet.pkttype or link.flags & IFF_LOOPBACK:
        return False
    return run.client is not None and run.client[0] == ns.key and _for_client(run, run.client[1], packet)


def deliver(run: Run, ns: NetnsState, link: Link, packet: Packet, found_early: bool = False) -> Action:
    """Give a packet that has passed the input hooks to who takes it: the sender's socket, if it was `found_early`."""
    if packet.payload is not None:
        return Unwrap(LinkKey(ns.key, link.ifindex), packet)
    run.record(ns, link, packet, LocalDelivery())
    if packet.proto == IPPROTO_TCP and packet.pkttype:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", SocketLookup("drop", "marked for others"))
    own = run.client is not None and run.client[0] == ns.key and _for_client(run, run.client[1], packet)
    if own or found_early:
        _to_client(run, ns, link, packet)
    if packet.is_icmp:
        _icmp(run, ns, link, packet)
    if packet.proto not in (IPPROTO_TCP, IPPROTO_UDP):
        run.end_unknown(ns, link, packet, SocketLookup("unknown", "protocol"))
    _socket(run, ns, link, packet)


def _for_client(run: Run, sent: CtTuple, packet: Packet) -> bool:
    if packet.inner is not None and packet.inner.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        # net/ipv4/ping.c, ping_err, ping_lookup: an error is for the socket with the identifier, whomever that asked
        return packet.inner.sport == sent.sport and (not run.flow.bound or packet.dst == sent.src)
    if packet.inner is not None:
        return packet.inner == sent
    if packet.is_icmp:  # ping_lookup: a ping socket takes its identifier's answers from anybody
        return msgspec.structs.replace(packet.tuple(), src=sent.dst) == invert(sent)
    # a port chosen among thousands, because the one asked for was taken, isn't the one that the sender waits for
    return packet.tuple() == invert(sent) and not packet.sport_unsure


def _to_client(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NoReturn:
    """Tell the sender, unless its socket is bound to another device than the packet comes by.

    Source: include/net/inet_hashtables.h, inet_match; net/ipv4/udp.c, compute_score, __udp4_lib_err;
    net/ipv4/ping.c, ping_lookup; net/ipv6/tcp_ipv6.c, tcp_v6_err (Linux 6.18).
    """
    by_device = packet.inner is not None and (run.flow.proto, packet.ipv6) in ERRORS_BY_DEVICE
    came_by = link.ifindex if by_device else _arrival(ns, link, packet)
    if run.flow.oif and run.flow.oif not in (came_by, packet.sdif):
        run.end_dropped(ns, link, packet, "NO_SOCKET", SocketLookup("drop", "another device"))
    run.record(
        ns,
        link,
        packet,
        SocketLookup("deliver", "sender", error=packet.inner is not None or bool(packet.tcp_flags & TH_RST)),
    )
    raise Ended(Disposition.DELIVERED, "")


def _icmp(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NoReturn:
    echo = ICMPV6_ECHO_REQUEST if packet.ipv6 else ICMP_ECHO
    if packet.icmp_type != echo:
        client = run.client
        if (
            client is not None
            and client[0] == ns.key
            and packet.inner is None
            and packet.sport == client[1].sport
        ):
            run.end_unknown(ns, link, packet, SocketLookup("unknown", "sender's address"))
        run.end_dropped(ns, link, packet, "NO_SOCKET", SocketLookup("drop", "nobody waits"))
    name = "net.ipv6.icmp.echo_ignore_all" if packet.ipv6 else "net.ipv4.icmp_echo_ignore_all"
    if sysctl.value(ns, name):
        run.record(ns, link, packet, SocketLookup("ignore", sysctl=name))
        raise Ended(Disposition.NO_LISTENER, name)
    run.record(ns, link, packet, SocketLookup("echo", sysctl=name))
    answer = _answerable(run, ns, link, packet, answer_to(packet, True))
    # icmpv6_echo_reply asks for a route by the device that was asked, where there is one
    oif = _arrival(ns, link, packet) if packet.ipv6 else _bound(link)
    raise Ended(Disposition.DELIVERED, "", answer, ns.key, oif=oif)


def _socket(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NoReturn:
    run.check_gap(ns, "sockets", SocketLookup, link, packet)
    if packet.dport_unsure:
        run.end_unknown(ns, link, packet, SocketLookup("unknown", "random port"))
    name = "tcp" if packet.proto == IPPROTO_TCP else "udp"
    socket = ns.sockets.get(packet.sk) or lookup_socket(ns, packet, _arrival(ns, link, packet))
    if socket is not None and not (name == "tcp" and packet.tcp_flags & (TH_ACK | TH_RST)):
        run.record(
            ns,
            link,
            packet,
            SocketLookup("deliver", addr=socket.src, port=socket.sport, cookie=socket.cookie),
        )
        back, sourceless = _listener_answer(run, ns, link, packet, socket)
        if not socket.transparent:
            back = _answerable(run, ns, link, packet, back)
        oif = socket.ifindex or (_bound(link) if name == "tcp" else 0)
        raise Ended(Disposition.DELIVERED, "", back, ns.key, sourceless, oif)
    answer, sourceless = answer_to(packet, False), False
    if name == "udp":
        # IPv4 answers as who was asked, IPv6 only where that is an address of the host
        source, sourceless = error_source(ns, link, packet) if packet.ipv6 else (packet.dst, False)
        answer = icmp_error(packet, "port", source)
    missed = untranslated(run, ns.key, packet)
    cause: Literal["", "untranslated"] = "" if missed is None else "untranslated"
    what = SocketLookup("no socket", cause, answer=answer, missed=missed)
    run.record(ns, link, packet, what, reason="NO_SOCKET")
    reason = (
        "tcp-reset"
        if name == "tcp"
        else "icmpv6-port-unreachable"
        if packet.ipv6
        else "icmp-port-unreachable"
    )
    answer = _answerable(run, ns, link, packet, answer)
    raise Ended(Disposition.NO_LISTENER, reason, answer, ns.key, sourceless, _bound(link))


def _answerable(run: Run, ns: NetnsState, link: Link, packet: Packet, answer: Packet | None) -> Packet | None:
    """Keep an answer back that no route is given to: from an address that a policy rule alone has made local.

    Source: net/ipv4/route.c, ip_route_output_key_hash_rcu (Linux 6.18).
    """
    if answer is None or may_send_from(ns, answer.src):
        return answer
    run.record(ns, link, packet, SocketLookup("no answer", source=answer.src))
    return None


def _bound(link: Link) -> int:
    """Return the device that an answer to a packet of this link is bound to: the VRF's, if it is one.

    Source: net/ipv4/icmp.c, icmp_reply; ip_output.c, ip_send_unicast_reply; include/net/inet_sock.h,
    inet_request_bound_dev_if (Linux 6.18).
    """
    return link.ifindex if link.kind == "vrf" else 0


def _arrival(ns: NetnsState, link: Link, packet: Packet) -> int:
    """Return the device that sockets take a packet to come by: what is looped back, by the device with the address.

    Source: include/net/route.h, inet_iif; net/ipv4/route.c, ip_route_output_key_hash_rcu (orig_oif);
    net/ipv6/ip6_input.c, ip6_rcv_core (Linux 6.18).
    """
    if not link.flags & IFF_LOOPBACK:
        return link.ifindex
    own = lookup_route(ns, RouteFlow(packet.dst))
    return own.nexthops[0].oif if own.local and own.nexthops else link.ifindex


def _listener_answer(
    run: Run, ns: NetnsState, link: Link, packet: Packet, socket: Socket
) -> tuple[Packet | None, bool]:
    """Make a listener's answer, and tell whether its route is looked up before it has a source.

    A UDP socket bound to no address leaves the source to the route, unless its program names the address
    that it was asked at: where that makes a difference there are two courses.

    Source: net/ipv4/udp.c, udp_sendmsg; net/ipv6/udp.c, udpv6_sendmsg; net/ipv6/ip6_output.c,
    ip6_dst_lookup_tail (Linux 6.18).
    """
    answer = answer_to(packet, True)
    if answer is None or packet.proto != IPPROTO_UDP or any(without_mapping(socket.src)) or socket.dport:
        return answer, False
    open_route = lookup_route(ns, route_flow(answer, oif=socket.ifindex, sourceless=True))
    if open_route.unknown:
        return answer, True
    found = open_source(ns, open_route, socket.ifindex, answer.dst)
    chosen = found or packet.dst
    named_route = lookup_route(ns, route_flow(answer, oif=socket.ifindex))
    if chosen == packet.dst and named_route == open_route and socket.sport == packet.dport:
        return answer, False
    plain = run.choose(("udp source", ns.key, packet.tuple()), 2, None) == 0
    route_error = open_route.error if not found else ""
    if plain:
        answer = answer.but(src=chosen, sport=socket.sport)
    run.record(
        ns,
        link,
        packet,
        SocketLookup("plain source" if plain else "same source", source=chosen, route_error=route_error),
        certainty=BRANCH,
    )
    return answer, plain

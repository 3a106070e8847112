"""Neighbours: the MAC for a next hop, from an entry or by asking the broadcast domain as ARP and NDP would.

Source: net/ipv4/arp.c, arp_process, arp_ignore, arp_filter, arp_fwd_proxy; net/ipv6/ndisc.c,
ndisc_recv_ns; net/core/neighbour.c, __neigh_event_send (Linux 6.18).

Unmodelled: bridges that answer themselves.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from netviz.core.model.addr import format_ip, format_mac, in_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NTF_PROXY, NUD_FAILED, NUD_NOARP, NUD_PERMANENT
from netviz.core.model.l3 import RT_SCOPE_LINK, RTN_LOCAL, RTN_UNICAST
from netviz.core.model.link import ARPHRD_ETHER, IFF_LOOPBACK, IFF_NOARP, Link
from netviz.core.sim import sysctl
from netviz.core.sim.bridge import is_group, learn, lookup_fdb, should_deliver
from netviz.core.sim.domain import Crossing, Domain, Heard, broadcast_domain
from netviz.core.sim.icmp import drop_and_tell
from netviz.core.sim.neigh_filter import arp_passes, ndp_passes
from netviz.core.sim.nft_context import Tri
from netviz.core.sim.node_index import ports_of
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.rp_filter import validate_source
from netviz.core.sim.rules import RouteFlow, lookup_route
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.saddr import is_link_local6, is_multicast, link_addrs, owned_addrs, select_on_link
from netviz.core.sim.stray import stray_note
from netviz.core.sim.trace import BRANCH, CERTAIN, UNCERTAIN, Disposition
from netviz.core.state.node import NetnsState


class Answer(msgspec.Struct, frozen=True):
    """Somebody who answers for an address, and why."""

    heard: Heard
    mac: bytes
    why: str


def resolve(
    run: Run, ns: NetnsState, link: Link, nexthop: bytes, packet: Packet, iif: Link | None = None
) -> Packet:
    """Fill in the frame's MACs for a next hop on a link; ends the walk when there is none.

    `iif` is the link by which the packet came in, None for the host's own.
    """
    if link.flags & (IFF_NOARP | IFF_LOOPBACK) or link.arptype != ARPHRD_ETHER:
        return packet.but(smac=link.mac, dmac=link.mac if link.flags & IFF_LOOPBACK else b"")
    if is_multicast(nexthop) or nexthop == b"\xff" * 4:
        return packet.but(smac=link.mac, dmac=_group_mac(nexthop))
    run.check_gap(ns, "neighs", "neigh", link.ifname, packet)
    entry = ns.neighs.get((link.ifindex, nexthop, False))
    command = f"ip neigh get {format_ip(nexthop)} dev {link.ifname}"
    overlay = run.neighs.get((ns.key, link.ifindex, nexthop))
    if overlay is not None and not (entry is not None and entry.state & NUD_PERMANENT):
        packet = packet.but(smac=link.mac, dmac=overlay)
        run.step(
            ns,
            "neigh",
            link.ifname,
            packet,
            "resolved",
            f"{format_ip(nexthop)} is at {format_mac(overlay)}, as the packets before this one have shown.",
            nexthop=format_ip(nexthop),
            mac=format_mac(overlay),
            command=command,
        )
        return packet
    if entry is not None and entry.mac and not entry.state & NUD_FAILED:
        state = (
            "permanent" if entry.state & NUD_PERMANENT else "noarp" if entry.state & NUD_NOARP else "learned"
        )
        packet = packet.but(smac=link.mac, dmac=entry.mac)
        run.step(
            ns,
            "neigh",
            link.ifname,
            packet,
            "entry",
            f"{format_ip(nexthop)} is at {format_mac(entry.mac)} ({state} entry).",
            nexthop=format_ip(nexthop),
            mac=format_mac(entry.mac),
            state=state,
            command=command,
        )
        return packet
    failed = entry is not None and bool(entry.state & NUD_FAILED)
    return _ask(run, ns, link, nexthop, packet, failed, command, iif)


def _asked_mac(nexthop: bytes) -> bytes:
    """Return the MAC that the question goes to: broadcast, or the solicited-node group's.

    Source: net/ipv6/ndisc.c, ndisc_solicit via addrconf_addr_solict_mult (Linux 6.18).
    """
    return b"\x33\x33\xff" + nexthop[13:] if len(nexthop) == 16 else BROADCAST_MAC


def _knows_asker(run: Run, answerer: LinkKey, sender: bytes, asker: bytes) -> bool:
    """Tell whether an answer gets the asker's MAC: IPv6 takes it from its neighbour entry, which may be pinned.

    Source: net/ipv6/ndisc.c, ndisc_send_na, ndisc_send_skb (Linux 6.18).
    """
    entry = run.netns(answerer.netns).neighs.get((answerer.ifindex, sender, False))
    pinned = entry is not None and entry.state & (NUD_PERMANENT | NUD_NOARP)
    return len(sender) != 16 or entry is None or not pinned or entry.mac == asker


def _comes_back(run: Run, path: tuple[Crossing, ...], asker: bytes) -> bool:
    """Tell whether the bridges that the question crossed take the answer back to the asker's MAC.

    Source: net/bridge/br_input.c, br_handle_frame_finish (Linux 6.18).
    """
    for crossing in reversed(path):
        if not crossing.came_in:
            continue
        ns = run.netns(crossing.bridge.netns)
        bridge = ns.links[crossing.bridge.ifindex]
        ports = {port.ifindex: port for port in ports_of(ns.links).get(bridge.ifindex, ())}
        port = ports.get(crossing.came_in)
        if port is None or not should_deliver(ports.get(crossing.went_out), port):
            return False
        how, at = lookup_fdb(run, ns, bridge, asker)
        learns = port.port is None or port.port.learning
        if how == "local" or (how and at != port.ifindex and not (how == "learned" and learns)):
            return False
        if not how and not learns and port.port is not None and not port.port.unicast_flood:
            return False
    return True


def _group_mac(addr: bytes) -> bytes:
    """Map a group address to its MAC. Source: include/net/ip.h, ip_eth_mc_map (Linux 6.18)."""
    if len(addr) == 16:
        return b"\x33\x33" + addr[12:]
    if addr == b"\xff" * 4:
        return BROADCAST_MAC
    return b"\x01\x00\x5e" + bytes((addr[1] & 0x7F, addr[2], addr[3]))


def _ask(
    run: Run,
    ns: NetnsState,
    link: Link,
    nexthop: bytes,
    packet: Packet,
    failed: bool,
    command: str,
    iif: Link | None,
) -> Packet:
    what = "neighbour solicitation" if len(nexthop) == 16 else "ARP request"
    text = format_ip(nexthop)
    own = LinkKey(ns.key, link.ifindex)
    domain = broadcast_domain(run, own, nexthop, _asked_mac(nexthop))
    sender = _sender_addr(ns, link, nexthop, packet)
    answers = [
        answer
        for heard in domain.heard
        if heard.link != own
        and (answer := _would_answer(run, heard, nexthop, sender)) is not None
        and _comes_back(run, heard.path, link.mac)
        and _knows_asker(run, heard.link, sender, link.mac)
    ]
    answers = _let_through(run, ns, link, nexthop, packet, sender, answers, command)
    evidence: dict[str, Any] = {
        "nexthop": text,
        "asked": len(domain.heard),
        "entry": "failed" if failed else "none",
    }
    if silent := _silent(run, domain, nexthop):
        evidence["silent"] = silent
    if announce := 0 if len(nexthop) == 16 else sysctl.ipv4_max(ns, link, "arp_announce"):
        evidence["asked_from"] = f"{format_ip(sender)} (arp_announce {announce})"
    if not answers:
        _nobody_answers(run, ns, link, packet, domain, failed, what, text, command, iif, evidence)
    picked = 0
    macs = {answer.mac for answer in answers}
    if len(macs) > 1:
        picked = run.choose(("neigh", own, nexthop), len(answers), None)
    answer = answers[picked]
    _remember(run, ns, link, nexthop, sender, answer)
    packet = packet.but(smac=link.mac, dmac=answer.mac)
    also = (
        ""
        if len(macs) == 1
        else f" {len(answers)} links answer for this address: which answer comes first isn't known."
    )
    run.step(
        ns,
        "neigh",
        link.ifname,
        packet,
        "resolve",
        f"There is no usable entry for {text}; the {what} is answered: {answer.why}.{also}",
        certainty=CERTAIN if len(macs) == 1 else BRANCH,
        command=command,
        answered_by=[f"{a.heard.link} {format_mac(a.mac)}" for a in answers],
        mac=format_mac(answer.mac),
        **evidence,
    )
    return packet


def _let_through(
    run: Run,
    ns: NetnsState,
    link: Link,
    nexthop: bytes,
    packet: Packet,
    sender: bytes,
    answers: list[Answer],
    command: str,
) -> list[Answer]:
    """Leave out the answers that netfilter stops; ends the walk where that isn't known."""
    passed = []
    for answer in answers:
        own = LinkKey(ns.key, link.ifindex)
        passes = ndp_passes if len(nexthop) == 16 else arp_passes
        verdict = passes(run, own, sender, answer.heard, nexthop, answer.mac)
        if verdict is Tri.UNKNOWN:
            run.unknown(
                ns,
                "neigh",
                link.ifname,
                packet,
                "filtered address resolution",
                f"Rules on the way may stop the question for {format_ip(nexthop)} or its answer.",
                command=command,
            )
        if verdict is Tri.TRUE:
            passed.append(answer)
    return passed


def _nobody_answers(
    run: Run,
    ns: NetnsState,
    link: Link,
    packet: Packet,
    domain: Domain,
    failed: bool,
    what: str,
    text: str,
    command: str,
    iif: Link | None,
    evidence: dict[str, Any],
) -> NoReturn:
    name = link.ifname
    if domain.opaque:
        run.unknown(
            ns,
            "opaque",
            name,
            packet,
            f"resolution through {', '.join(sorted(set(domain.opaque)))}",
            f"The {what} for {text} also goes through devices that are not modelled.",
            command=command,
            **evidence,
        )
    if domain.wires and not failed:
        run.step(
            ns,
            "neigh",
            name,
            packet.but(smac=link.mac),
            "not known",
            f"{text} is on no known node; whether somebody out there answers the {what} isn't known.",
            certainty=UNCERTAIN,
            command=command,
            **evidence,
        )
        wire = domain.wires[0][0]
        wire_ns = run.netns(wire.netns)
        wire_link = wire_ns.links[wire.ifindex]
        run.step(
            wire_ns,
            "link_tx",
            wire_link.ifname,
            packet.but(smac=link.mac),
            "leave",
            f"The packet goes out of {wire_link.ifname} to whoever has {text}; no known node has it."
            + stray_note(run, wire.netns, packet),
            command=f"ip -s link show dev {wire_link.ifname}",
        )
        raise Ended(Disposition.LEFT_NETWORK, wire_link.ifname)
    why = f"Nobody answers the {what} for {text} on {name}, or rules stop the question or the answer."
    if "silent" in evidence:
        why = f"Nobody answers the {what} for {text} on {name}: {'; '.join(evidence['silent'])}."
    if failed and domain.wires:
        why = f"The entry for {text} on {name} has failed: nobody answered the {what}, and no known node has it."
    drop_and_tell(
        run,
        ns,
        "neigh",
        name,
        packet,
        "NEIGH_FAILED",
        why + " The sender is told (host unreachable).",
        error="host",
        iif=iif,
        command=command,
        **evidence,
    )


def _sender_addr(ns: NetnsState, link: Link, nexthop: bytes, packet: Packet) -> bytes:
    """Choose the address that the request says it comes from.

    Source: net/ipv4/arp.c, arp_solicit; net/ipv6/ndisc.c, ndisc_solicit (Linux 6.18).
    """
    if len(nexthop) == 16:
        mine = [addr.addr for addr in link_addrs(ns, link.ifindex)]
        return packet.src if packet.src in mine else next((a for a in mine if is_link_local6(a)), b"")
    announce = sysctl.ipv4_max(ns, link, "arp_announce")
    own = len(packet.src) == len(nexthop) and owned_addrs(ns, packet.src)
    if own and (announce == 0 or (announce == 1 and _on_link(ns, link, nexthop, packet.src))):
        return packet.src
    return select_on_link(ns, link.ifindex, nexthop, RT_SCOPE_LINK)


def _on_link(ns: NetnsState, link: Link, one: bytes, other: bytes) -> bool:
    """Tell whether a subnet of a link holds two addresses. Source: net/ipv4/devinet.c, inet_addr_onlink."""
    return any(
        len(addr.addr) == 4
        and in_prefix(one, addr.addr, addr.prefixlen)
        and in_prefix(other, addr.addr, addr.prefixlen)
        for addr in link_addrs(ns, link.ifindex)
    )


def _silent(run: Run, domain: Domain, target: bytes) -> list[str]:
    """Name the settings of links that have the address, or could have it, and keep them from answering."""
    found = []
    for heard in domain.heard:
        ns = run.netns(heard.link.netns)
        link = ns.links[heard.link.ifindex]
        if len(target) == 16:
            if link.ipv6 is not None and link.ipv6.disable_ipv6:
                found.append(f"{_place(ns)}: disable_ipv6 of {link.ifname} is on")
        elif owned_addrs(ns, target):
            for name in ("arp_ignore", "arp_filter"):
                value = sysctl.ipv4_max(ns, link, name)
                if value:
                    found.append(f"{_place(ns)}: {name} of {link.ifname} is {value}")
    return found


def _would_answer(run: Run, heard: Heard, target: bytes, sender: bytes) -> Answer | None:
    ns = run.netns(heard.link.netns)
    link = ns.links[heard.link.ifindex]
    if link.flags & IFF_NOARP:
        return None
    why = _answers6(ns, link, target) if len(target) == 16 else _answers4(ns, link, target, sender)
    return Answer(heard, link.mac, why) if why else None


def _place(ns: NetnsState) -> str:
    pod = ns.netns.pod
    return f"{pod.namespace}/{pod.name}" if pod is not None else ns.netns.name or ns.key.node


def _answers4(ns: NetnsState, link: Link, target: bytes, sender: bytes) -> str:
    """Tell why a link answers an ARP request for `target`, or "".

    Source: net/ipv4/arp.c, arp_process (Linux 6.18).
    """
    result = lookup_route(ns, RouteFlow(target, sender, iif=link.ifindex))
    if result.error or result.unknown or result.route is None:
        return ""
    if result.route.type == RTN_LOCAL:
        if sender and validate_source(ns, link, RouteFlow(target, sender), 0):
            return ""
        if not _arp_allowed(ns, link, target, sender):
            return ""
        return (
            f"{_place(ns)} has {format_ip(target)} and answers on {link.ifname} with {format_mac(link.mac)}"
        )
    forwarding = link.ipv4 is not None and link.ipv4.forwarding
    if result.route.type != RTN_UNICAST or not forwarding or not result.nexthops:
        return ""
    if sender and validate_source(ns, link, RouteFlow(target, sender), result.nexthops[0].oif):
        return ""
    elsewhere = result.nexthops[0].oif != link.ifindex
    if elsewhere and sysctl.ipv4_or(ns, link, "proxy_arp"):
        return f"{_place(ns)} answers for it on {link.ifname} (proxy_arp), having a route to it elsewhere"
    if link.ipv4 is not None and link.ipv4.proxy_arp_pvlan and not elsewhere:
        return f"{_place(ns)} answers for it on {link.ifname} (proxy_arp_pvlan)"
    if elsewhere and _proxied(ns, link, target):
        return f"{_place(ns)} has a proxy entry for it on {link.ifname}"
    return ""


def _proxied(ns: NetnsState, link: Link, target: bytes) -> bool:
    entry = ns.neighs.get((link.ifindex, target, True)) or ns.neighs.get((0, target, True))
    return entry is not None and bool(entry.flags & NTF_PROXY)


def _arp_allowed(ns: NetnsState, link: Link, target: bytes, sender: bytes) -> bool:
    """Apply arp_ignore and arp_filter.

    Source: net/ipv4/arp.c, arp_ignore, arp_filter (Linux 6.18).
    """
    level = sysctl.ipv4_max(ns, link, "arp_ignore")
    mine = [addr for addr in owned_addrs(ns, target) if addr.ifindex == link.ifindex]
    if level == 1 and not mine:
        return False
    if level == 2 and not any(in_prefix(sender, addr.addr, addr.prefixlen) for addr in mine if sender):
        return False
    if level == 8 or (level == 3 and all(addr.scope >= 254 for addr in owned_addrs(ns, target))):
        return False
    if sysctl.ipv4_or(ns, link, "arp_filter") and sender:
        back = lookup_route(ns, RouteFlow(sender, target))
        return bool(back.nexthops) and back.nexthops[0].oif == link.ifindex
    return True


def _answers6(ns: NetnsState, link: Link, target: bytes) -> str:
    """Tell why a link answers a neighbour solicitation for `target`, or "".

    Source: net/ipv6/ndisc.c, ndisc_recv_ns (Linux 6.18).
    """
    if link.ipv6 is not None and link.ipv6.disable_ipv6:
        return ""
    if any(addr.ifindex == link.ifindex for addr in owned_addrs(ns, target)):
        return f"{_place(ns)} has {format_ip(target)} on {link.ifname}, at {format_mac(link.mac)}"
    conf = link.ipv6
    proxies = conf is not None and conf.forwarding and (conf.proxy_ndp or sysctl.conf_all(ns, "proxy_ndp", 6))
    if proxies and _proxied(ns, link, target):
        return f"{_place(ns)} has a proxy entry for it on {link.ifname}"
    return ""


def _remember(run: Run, ns: NetnsState, link: Link, nexthop: bytes, sender: bytes, answer: Answer) -> None:
    """Keep what a resolution leaves behind: entries on both ends, and what the bridges between have learned."""
    run.neighs[ns.key, link.ifindex, nexthop] = answer.mac
    other = answer.heard.link
    if sender:
        known = run.netns(other.netns).neighs.get((other.ifindex, sender, False))
        if known is None or not known.state & NUD_PERMANENT:
            run.neighs[other.netns, other.ifindex, sender] = link.mac
    for crossing in answer.heard.path:
        _learn(run, crossing, link.mac, answer.mac)


def _learn(run: Run, crossing: Crossing, asker: bytes, answerer: bytes) -> None:
    ns = run.netns(crossing.bridge.netns)
    bridge = ns.links[crossing.bridge.ifindex]
    by_index = {port.ifindex: port for port in ports_of(ns.links).get(bridge.ifindex, ())}
    for ifindex, mac in ((crossing.came_in, asker), (crossing.went_out, answerer)):
        port = by_index.get(ifindex)
        if port is not None and not is_group(mac):
            learn(run, ns, bridge, port, mac)

"""Neighbours: the MAC for a next hop, from an entry or by asking the broadcast domain as ARP and NDP would.

Source: net/ipv4/arp.c, arp_process, arp_ignore, arp_filter, arp_fwd_proxy; net/ipv6/ndisc.c,
ndisc_recv_ns; net/core/neighbour.c, __neigh_event_send (Linux 6.18).

Unmodelled: bridges that answer themselves.
"""

from __future__ import annotations

from typing import Any, NoReturn

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_FAILED, NUD_NOARP, NUD_PERMANENT, Neigh
from netviz.core.model.l3 import RT_SCOPE_LINK
from netviz.core.model.link import ARPHRD_ETHER, IFF_LOOPBACK, IFF_NOARP, Link, VxlanInfo
from netviz.core.sim import sysctl
from netviz.core.sim.encap import ends
from netviz.core.sim.inet.icmp import drop_and_tell
from netviz.core.sim.link.bridge import (
    is_group,
    learn,
    lookup_fdb,
    moves,
    or_backup,
    passes_lock,
    should_deliver,
)
from netviz.core.sim.link.domain import Crossing, Domain, broadcast_domain
from netviz.core.sim.link.macvlan import hears_answer, hears_late
from netviz.core.sim.neighbour.neigh_answer import Answer, on_link, silent_links, would_answer
from netviz.core.sim.neighbour.neigh_filter import arp_passes, ndp_passes
from netviz.core.sim.neighbour.overheard import late_mac, note, overheard_mac
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.node_index import ports_of
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.route.saddr import is_link_local6, is_multicast, link_addrs, owned_addrs, select_on_link
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.stray import stray_note
from netviz.core.sim.trace import BRANCH, CERTAIN, UNCERTAIN, Disposition
from netviz.core.state.node import NetnsState


def resolve(
    run: Run,
    ns: NetnsState,
    link: Link,
    nexthop: bytes,
    packet: Packet,
    iif: Link | None = None,
    routed: bool = True,
) -> Packet:
    """Fill in the frame's MACs for a next hop on a link; ends the walk when there is none.

    `iif` is the link by which the packet came in, None for the host's own. The sender of a packet that was never
    `routed` isn't told of a failure: it is the route that tells (net/ipv4/arp.c, arp_error_report).
    """
    if link.flags & (IFF_NOARP | IFF_LOOPBACK) or link.arptype != ARPHRD_ETHER:
        return packet.but(smac=link.mac, dmac=link.mac if link.flags & IFF_LOOPBACK else b"")
    if is_multicast(nexthop) or nexthop == b"\xff" * 4:
        return packet.but(smac=link.mac, dmac=_group_mac(nexthop))
    run.check_gap(ns, "neighs", "neigh", link.ifname, packet)
    entry = ns.neighs.get((link.ifindex, nexthop, False))
    command = f"ip neigh get {format_ip(nexthop)} dev {link.ifname}"
    known = (ns.key, link.ifindex, nexthop)
    overlay = overheard_mac(run, ns, link, nexthop, entry) or run.neighs.get(known)
    late = overlay is not None and known in run.late
    if late and run.choose(("late", *known), 2, None) == 1:
        overlay = None
    if overlay is not None and not (entry is not None and entry.state & NUD_PERMANENT):
        packet = packet.but(smac=link.mac, dmac=overlay)
        run.step(
            ns,
            "neigh",
            link.ifname,
            packet,
            "resolved",
            f"{format_ip(nexthop)} is at {format_mac(overlay)}, as the packets before this one have shown.",
            certainty=BRANCH if late else CERTAIN,
            nexthop=format_ip(nexthop),
            mac=format_mac(overlay),
            command=command,
        )
        return packet
    if entry is not None and _is_usable(entry):
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
    return _ask(run, ns, link, nexthop, packet, failed, command, iif, routed)


def is_known(run: Run, ns: NetnsState, link: Link, nexthop: bytes) -> bool:
    """Tell whether a next hop's MAC is known without asking."""
    entry = ns.neighs.get((link.ifindex, nexthop, False))
    return (entry is not None and _is_usable(entry)) or (ns.key, link.ifindex, nexthop) in run.neighs


def _is_usable(entry: Neigh) -> bool:
    return bool(entry.mac) and not entry.state & NUD_FAILED


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


def _comes_back(run: Run, path: tuple[Crossing, ...], asker: bytes, answerer: bytes) -> Tri:
    """Tell whether the bridges that the question crossed take the answer back to the asker's MAC.

    Source: net/bridge/br_input.c, br_handle_frame_finish (Linux 6.18).
    """
    sure = Tri.TRUE
    for crossing in reversed(path):
        ns = run.netns(crossing.bridge.netns)
        bridge = ns.links[crossing.bridge.ifindex]
        ports = {port.ifindex: port for port in ports_of(ns.links).get(bridge.ifindex, ())}
        entered = ports.get(crossing.went_out)
        if entered is not None:
            passes = passes_lock(run, ns, bridge, entered, answerer, crossing.vid)
            if passes is Tri.FALSE:
                return Tri.FALSE
            sure = Tri.UNKNOWN if passes is Tri.UNKNOWN else sure
        if not crossing.came_in:
            continue
        port = ports.get(crossing.came_in)
        if port is None or not should_deliver(ns, bridge, entered, port, crossing.vid):
            return Tri.FALSE
        how, at = lookup_fdb(run, ns, bridge, asker, crossing.vid)
        if at in ports:
            at = or_backup(ns, ports[at]).ifindex
        learns = port.port is None or port.port.learning
        moved = learns and moves(ns, bridge, asker, crossing.vid)
        if how == "local" or (how and at != port.ifindex and not moved):
            return Tri.FALSE
        if not how and not learns and port.port is not None and not port.port.unicast_flood:
            return Tri.FALSE
    return sure


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
    routed: bool,
) -> Packet:
    what = "neighbour solicitation" if len(nexthop) == 16 else "ARP request"
    text = format_ip(nexthop)
    own = LinkKey(ns.key, link.ifindex)
    domain = _domain(run, ns, link, nexthop, packet)
    if domain.reflecting and domain.heard:
        run.unknown(
            ns,
            "opaque",
            link.ifname,
            packet,
            "question that comes back by a tunnel",
            f"The {what} for {text} comes back by {', '.join(domain.reflecting)}: where the bridge then has its "
            "sender depends on what is faster.",
            command=command,
        )
    sender = _sender_addr(ns, link, nexthop, packet)
    note(run, own, link, sender, nexthop, domain)
    willing = [
        answer
        for heard in domain.heard
        if heard.link != own and (answer := would_answer(run, heard, nexthop, sender)) is not None
    ]
    answers, stopped = _let_through(run, ns, link, nexthop, packet, sender, willing, command)
    evidence: dict[str, Any] = {
        "nexthop": text,
        "asked": len(domain.heard),
        "entry": "failed" if failed else "none",
    }
    if stopped:
        evidence["stopped"] = stopped
    if silent := silent_links(run, domain, nexthop, sender):
        evidence["silent"] = silent
    if domain.closed and not answers:
        evidence["closed"] = sorted(set(domain.closed))
    if announce := 0 if len(nexthop) == 16 else sysctl.ipv4_max(ns, link, "arp_announce"):
        evidence["asked_from"] = f"{format_ip(sender)} (arp_announce {announce})"
    if (
        not answers
        and (mac := late_mac(run, own, nexthop))
        and run.choose(("late", own, nexthop), 2, None) == 0
    ):
        run.neighs[ns.key, link.ifindex, nexthop] = mac
        packet = packet.but(smac=link.mac, dmac=mac)
        why = f"Nobody answers the {what} for {text}, but {text}'s own question, on its way by a tunnel, shows its MAC "
        why += "if it comes after this one."
        run.step(
            ns, "neigh", link.ifname, packet, "resolve", why, certainty=BRANCH, command=command, **evidence
        )
        return packet
    if not answers:
        _nobody_answers(run, ns, link, packet, domain, failed, what, text, command, iif, routed, evidence)
    picked = 0
    macs = {answer.mac for answer in answers}
    if len(macs) > 1:
        picked = run.choose(("neigh", own, nexthop), len(answers), None)
    answer = answers[picked]
    for other in (*answers[:picked], *answers[picked + 1 :], answer):
        run.neighs[ns.key, link.ifindex, nexthop] = other.mac
        for crossing in other.heard.path:
            _learn(run, crossing, link.mac, other.mac)
        _carry_answer(run, other, link.mac, len(nexthop) == 16)
        if other.heard.link != answer.heard.link and hears_late(run, other.heard.link):
            run.late.add((other.heard.link.netns, other.heard.link.ifindex, sender))
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


def _domain(run: Run, ns: NetnsState, link: Link, nexthop: bytes, packet: Packet) -> Domain:
    """Find who hears the question. A tunnel's packet that needs the same answer waits for it."""
    own = LinkKey(ns.key, link.ifindex)
    asking = (ns.key, link.ifindex, nexthop)
    if asking in run.asking:
        why = f"The packet carries the question for {format_ip(nexthop)} and needs its answer."
        run.drop(ns, "neigh", link.ifname, packet, "NEIGH_FAILED", why)
    run.asking.add(asking)
    try:
        return broadcast_domain(run, own, nexthop, _asked_mac(nexthop))
    finally:
        run.asking.remove(asking)


def _answer_arrives(
    run: Run, ns: NetnsState, link: Link, packet: Packet, answer: Answer, command: str
) -> bool:
    """Tell whether an answer comes back; ends the walk where that isn't known."""
    back = _comes_back(run, answer.heard.path, link.mac, answer.mac)
    if back is Tri.UNKNOWN:
        why = "The answer comes by a locked bridge port; whether its entry may pass isn't known."
        run.unknown(ns, "neigh", link.ifname, packet, "locked bridge port", why, command=command)
    master = ns.links.get(link.master) if link.master else None
    if master is not None and master.kind != "vrf":
        return False  # it comes in by the bridge or bond, whose entries are others
    return back is Tri.TRUE and hears_answer(run, LinkKey(ns.key, link.ifindex), answer.mac)


def _let_through(
    run: Run,
    ns: NetnsState,
    link: Link,
    nexthop: bytes,
    packet: Packet,
    sender: bytes,
    answers: list[Answer],
    command: str,
) -> tuple[list[Answer], list[str]]:
    """Leave out the answers that don't come, and name the chains that stop them; ends the walk where that isn't known.

    Who hears the question and wants to answer knows the asker then, whether or not the answer comes.
    """
    passed, stopped = [], []
    for answer in answers:
        own = LinkKey(ns.key, link.ifindex)
        if len(nexthop) == 16:
            passage = ndp_passes(run, own, sender, answer.heard, nexthop)
        else:
            passage = arp_passes(run, own, sender, answer.heard, nexthop)
        arrives = _answer_arrives(run, ns, link, packet, answer, command)
        arrives = arrives and _knows_asker(run, answer.heard.link, sender, link.mac)
        if passage.asked and sender:
            _remember_asker(run, link, sender, answer)
        if not arrives:
            continue
        if passage.passes is Tri.UNKNOWN:
            run.unknown(
                ns,
                "neigh",
                link.ifname,
                packet,
                "filtered address resolution",
                f"Rules on the way may stop the question for {format_ip(nexthop)} or its answer.",
                command=command,
                chain=passage.chain,
            )
        if passage.passes is Tri.TRUE:
            passed.append(answer)
        elif passage.chain:
            stopped.append(passage.chain)
    return passed, stopped


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
    routed: bool,
    evidence: dict[str, Any],
) -> NoReturn:
    name = link.ifname
    if domain.opaque:
        through = ", ".join(sorted(set(domain.opaque)))
        run.unknown(
            ns,
            "opaque",
            name,
            packet,
            f"resolution through {through}",
            f"The {what} for {text} also goes through what is not modelled: {through}.",
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
    if not routed:
        why += " The frame was never routed: its sender isn't told."
        run.drop(ns, "neigh", name, packet, "NEIGH_FAILED", why, command=command, **evidence)
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
    if own and (announce == 0 or (announce == 1 and on_link(ns, link, nexthop, packet.src))):
        return packet.src
    return select_on_link(ns, link.ifindex, nexthop, RT_SCOPE_LINK)


def _remember_asker(run: Run, link: Link, sender: bytes, answer: Answer) -> None:
    """Keep the entry that a question leaves behind where it is answered."""
    other = answer.heard.link
    known = run.netns(other.netns).neighs.get((other.ifindex, sender, False))
    if known is None or not known.state & NUD_PERMANENT:
        run.neighs[other.netns, other.ifindex, sender] = link.mac


def _carry_answer(run: Run, answer: Answer, asker: bytes, ipv6: bool) -> None:
    """Send an answer back by the tunnels that its question came by: their other ends learn where it comes from."""
    for crossing in reversed(answer.heard.path):
        ns = run.netns(crossing.bridge.netns)
        device = ns.links.get(crossing.came_in)
        if device is not None and isinstance(device.info, VxlanInfo):
            copies = ends.copies(run, ns, device, asker, answer.mac, ipv6, not crossing.went_out)
            for outer_ns, outer, oif in copies or ():
                run.carry(outer_ns.key, outer, oif)


def _learn(run: Run, crossing: Crossing, asker: bytes, answerer: bytes) -> None:
    ns = run.netns(crossing.bridge.netns)
    bridge = ns.links[crossing.bridge.ifindex]
    by_index = {port.ifindex: port for port in ports_of(ns.links).get(bridge.ifindex, ())}
    for ifindex, mac in ((crossing.came_in, asker), (crossing.went_out, answerer)):
        port = by_index.get(ifindex)
        if port is not None and not is_group(mac):
            learn(run, ns, bridge, port, mac, crossing.vid)

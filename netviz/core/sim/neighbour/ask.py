"""The question for a neighbour: asked of the broadcast domain, as ARP and NDP do, and what comes of it.

Source: net/ipv4/arp.c, arp_solicit, arp_error_report; net/ipv6/ndisc.c, ndisc_solicit (Linux 6.18).

Unmodelled: bridges that answer themselves.
"""

from __future__ import annotations

from typing import Any, NoReturn

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RT_SCOPE_LINK
from netviz.core.model.link import Link
from netviz.core.sim import sysctl
from netviz.core.sim.heard import Domain
from netviz.core.sim.inet.icmp import drop_and_tell
from netviz.core.sim.link.domain import broadcast_domain
from netviz.core.sim.link.macvlan import hears_late
from netviz.core.sim.neighbour.answer import Answer, on_link, silent_links, would_answer
from netviz.core.sim.neighbour.overheard import late_mac, note
from netviz.core.sim.neighbour.passage import arp_passes, ndp_passes
from netviz.core.sim.neighbour.wayback import (
    answer_arrives,
    carry_answer,
    knows_asker,
    learn_macs,
    remember_asker,
)
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.route.saddr import is_link_local6, link_addrs, owned_addrs, select_on_link
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.stray import stray_note
from netviz.core.sim.trace import BRANCH, CERTAIN, UNCERTAIN, Disposition
from netviz.core.state.node import NetnsState


def ask(
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
    """Ask who has a next hop, and fill in the frame's MACs; ends the walk where nobody answers.

    `failed`: the entry says so far that nobody has it. `iif` and `routed` are as for `resolve`.
    """
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
        run.memory = run.memory.with_neigh((ns.key, link.ifindex, nexthop), mac)
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
        run.memory = run.memory.with_neigh((ns.key, link.ifindex, nexthop), other.mac)
        for crossing in other.heard.path:
            learn_macs(run, crossing, link.mac, other.mac)
        carry_answer(run, other, link.mac, len(nexthop) == 16)
        if other.heard.link != answer.heard.link and hears_late(run, other.heard.link):
            late = (other.heard.link.netns, other.heard.link.ifindex, sender)
            run.memory = run.memory.but(pending_neighs=run.memory.pending_neighs | {late})
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


def _asked_mac(nexthop: bytes) -> bytes:
    """Return the MAC that the question goes to: broadcast, or the solicited-node group's.

    Source: net/ipv6/ndisc.c, ndisc_solicit via addrconf_addr_solict_mult (Linux 6.18).
    """
    return b"\x33\x33\xff" + nexthop[13:] if len(nexthop) == 16 else BROADCAST_MAC


def _domain(run: Run, ns: NetnsState, link: Link, nexthop: bytes, packet: Packet) -> Domain:
    """Find who hears the question. A tunnel's packet that needs the same answer waits for it."""
    own = LinkKey(ns.key, link.ifindex)
    asking = (ns.key, link.ifindex, nexthop)
    journey = run.journey
    if asking in journey.resolving:
        why = f"The packet carries the question for {format_ip(nexthop)} and needs its answer."
        run.drop(ns, "neigh", link.ifname, packet, "NEIGH_FAILED", why)
    run.journey = journey.but(resolving=journey.resolving | {asking})
    try:
        return broadcast_domain(run, own, nexthop, _asked_mac(nexthop))
    finally:
        run.journey = journey


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
        arrives = answer_arrives(run, ns, link, packet, answer, command)
        arrives = arrives and knows_asker(run, answer.heard.link, sender, link.mac)
        if passage.asked and sender:
            remember_asker(run, link, sender, answer)
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

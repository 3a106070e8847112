"""The solicitation of a neighbour: sent to the broadcast domain, as ARP and NDP do, and what comes of it.

Where the device has no carrier, its queue takes no request either: the packet waits until nobody has answered.

Source: net/ipv4/arp.c, arp_solicit, arp_error_report; net/ipv6/ndisc.c, ndisc_solicit; net/sched/sch_generic.c,
dev_deactivate (Linux 6.18).

Unmodelled: bridges that answer themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RT_SCOPE_LINK
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.sim import sysctl
from netviz.core.sim.actions import Ended
from netviz.core.sim.heard import Domain
from netviz.core.sim.link.edge import at_edge
from netviz.core.sim.link.macvlan import hears_late
from netviz.core.sim.neighbour.arp_nd_filter import reply_passes, request_passes
from netviz.core.sim.neighbour.gleaning import note, pending_mac
from netviz.core.sim.neighbour.reply_path import (
    carry_reply,
    heard_back,
    learn_macs,
    learn_requester,
)
from netviz.core.sim.neighbour.responder import Responder, on_link, responders
from netviz.core.sim.neighbour.silence import beside, silent_links
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.plane.domain import broadcast_domain
from netviz.core.sim.route.icmp import drop_with_error
from netviz.core.sim.route.saddr import is_link_local6, link_addrs, owned_addrs, select_on_link
from netviz.core.sim.run import Run
from netviz.core.sim.steps import HookVerdict, Meddling, Neighbour, Opaque, Transmit
from netviz.core.sim.trace import BRANCH, CERTAIN, UNCERTAIN, Disposition, place_of
from netviz.core.state.node import NetnsState


def solicit(
    run: Run,
    ns: NetnsState,
    link: Link,
    nexthop: bytes,
    packet: Packet,
    failed: bool,
    iif: Link | None,
    routed: bool,
) -> Packet:
    """Ask who has a next hop, and fill in the frame's MACs; ends the walk where nobody answers.

    `failed`: the entry says so far that nobody has it. `iif` and `routed` are as for `resolve`.
    """
    own = LinkKey(ns.key, link.ifindex)
    domain = _domain(run, ns, link, nexthop, packet)
    if (domain.heard or domain.wires) and not link.carrier and not link.flags & IFF_LOOPBACK:
        found = partial(Neighbour, "drop", "no carrier", nexthop=nexthop, asked=0)
        if not routed:
            run.end_dropped(ns, link, packet, "NEIGH_FAILED", found(routed=False))
        drop_with_error(run, ns, link, packet, "NEIGH_FAILED", found(), error="host", iif=iif)
    if domain.reflecting and domain.heard:
        run.end_unknown(
            ns,
            link,
            packet,
            Opaque("unknown", "request that returns", names=tuple(domain.reflecting), nexthop=nexthop),
        )
    sender = _sender_addr(ns, link, nexthop, packet)
    note(run, own, link, sender, nexthop, domain)
    willing = responders(run, domain, own, nexthop, sender)
    answers, stopped, reached, lost = _let_through(run, ns, link, nexthop, packet, sender, willing)
    sharing = [answer.heard.link for answer in lost if answer.mac == link.mac] if not answers else []
    announce = 0 if len(nexthop) == 16 else sysctl.ipv4_max(ns, link, "arp_announce")
    found = partial(
        Neighbour,
        nexthop=nexthop,
        asked=len(domain.heard),
        entry="failed" if failed else "none",
        asked_from=sender if announce else None,
        announce=announce,
        silent=silent_links(run, own, domain, nexthop, sender) if not answers else (),
        willing=len(willing),
        closed=tuple(sorted(set(domain.closed))) if not answers else (),
        stopped=stopped,
        reached=reached,
        shared=(own, *sharing) if sharing else (),
        mac=link.mac if sharing else b"",
    )
    if (
        not answers
        and (mac := pending_mac(run, own, nexthop))
        and run.choose(("late", own, nexthop), 2, None) == 0
    ):
        run.memory = run.memory.with_neigh((ns.key, link.ifindex, nexthop), mac)
        packet = packet.but(smac=link.mac, dmac=mac)
        run.record(ns, link, packet, found("resolve", "gleaned"), certainty=BRANCH)
        return packet
    if not answers:
        _nobody_answers(run, ns, link, packet, domain, nexthop, failed, iif, routed, found)
    picked = 0
    macs = {answer.mac for answer in answers}
    if len(macs) > 1:
        picked = run.choose(("neigh", own, nexthop), len(answers), None)
    answer = answers[picked]
    for other in (*answers[:picked], *answers[picked + 1 :], answer):
        run.memory = run.memory.with_neigh((ns.key, link.ifindex, nexthop), other.mac)
        for crossing in other.heard.path.crossings:
            learn_macs(run, crossing, link.mac, other.mac)
        carry_reply(run, other, link.mac, len(nexthop) == 16)
        if other.heard.link != answer.heard.link and hears_late(run, other.heard.link):
            late = (other.heard.link.netns, other.heard.link.ifindex, sender)
            run.memory = run.memory.but(pending_neighs=run.memory.pending_neighs | {late})
    packet = packet.but(smac=link.mac, dmac=answer.mac)
    other_ns = run.netns(answer.heard.link.netns)
    run.record(
        ns,
        link,
        packet,
        found(
            "resolve",
            mac=answer.mac,
            answered_by=tuple((one.heard.link, one.mac) for one in answers),
            answer=answer.cause,
            answer_place=place_of(other_ns.netns),
            answer_dev=other_ns.links[answer.heard.link.ifindex].ifname,
        ),
        certainty=CERTAIN if len(macs) == 1 else BRANCH,
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
        run.end_dropped(
            ns, link, packet, "NEIGH_FAILED", Neighbour("drop", "request in its own packet", nexthop=nexthop)
        )
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
    answers: list[Responder],
) -> tuple[list[Responder], tuple[HookVerdict | Meddling, ...], bool, list[Responder]]:
    """Leave out the answers that don't come, and name the chains that stop them; ends the walk where that isn't known.

    The flag tells that a request gets to who would answer. Last are those to whom it does whose answer no link brings back.

    Who hears the question and wants to answer knows the requester then, whether or not the answer comes.
    """
    passed: list[Responder] = []
    stopped: list[HookVerdict | Meddling] = []
    reached = False
    lost: list[Responder] = []
    for answer in answers:
        own = LinkKey(ns.key, link.ifindex)
        filtered = request_passes(run, own, sender, answer.heard, nexthop)
        asked = filtered.passes is Tri.TRUE
        back = heard_back(run, ns, link, packet, nexthop, answer)
        reached = reached or asked
        if asked and sender:
            learn_requester(run, link, sender, answer)
        if back is None:
            lost += [answer] if asked else []
            continue
        if asked:
            filtered = reply_passes(run, answer.heard.link, sender, back, nexthop)
        if filtered.passes is Tri.UNKNOWN:
            run.end_unknown(
                ns,
                link,
                packet,
                Neighbour("unknown", "filtered", nexthop=nexthop, stopped=(filtered.stopped or "",)),
            )
        if filtered.passes is Tri.TRUE:
            passed.append(answer)
        elif filtered.stopped is not None:
            stopped.append(filtered.stopped)
    return passed, tuple(stopped), reached, lost


def _nobody_answers(
    run: Run,
    ns: NetnsState,
    link: Link,
    packet: Packet,
    domain: Domain,
    nexthop: bytes,
    failed: bool,
    iif: Link | None,
    routed: bool,
    found: Callable[..., Neighbour],
) -> NoReturn:
    if domain.opaque:
        run.end_unknown(
            ns,
            link,
            packet,
            Opaque(
                "unknown",
                "request through",
                names=tuple(sorted(set(domain.opaque))),
                nexthop=nexthop,
                asked=len(domain.heard),
                entry="failed" if failed else "none",
            ),
        )
    hidden = beside(run, LinkKey(ns.key, link.ifindex), domain, nexthop)
    if hidden is not None:
        found = partial(found, silent=(hidden,))
    elif domain.wires and not failed:
        run.record(ns, link, packet.but(smac=link.mac), found("not known"), certainty=UNCERTAIN)
        wire = domain.wires[0].link
        wire_ns = run.netns(wire.netns)
        wire_link = wire_ns.links[wire.ifindex]
        stray, edge = at_edge(run, wire_ns, wire_link, packet)
        leaves = Transmit("leave", "to next hop", target=nexthop, stray=stray, edge=edge)
        run.record(wire_ns, wire_link, packet.but(smac=link.mac), leaves)
        raise Ended(Disposition.LEFT_NETWORK, wire_link.ifname)
    cause = "failed entry" if failed and domain.wires and hidden is None else "nobody answers"
    if not routed:
        run.end_dropped(ns, link, packet, "NEIGH_FAILED", found("drop", cause, routed=False))
    drop_with_error(run, ns, link, packet, "NEIGH_FAILED", found("drop", cause), error="host", iif=iif)

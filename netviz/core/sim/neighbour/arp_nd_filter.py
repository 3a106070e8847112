"""Whether netfilter lets address resolution through: ARP, bridge and netdev chains, and IPv6's own hooks.

A request, and the reply to it, is led on the path that it takes where no rules are, through the hooks that the traced
packet meets too (`plane/l2.py`). Nothing of it is recorded, for it is not the traced packet.

Source: net/ipv4/arp.c, arp_xmit, arp_rcv (NFPROTO_ARP); net/ipv6/ndisc.c, ndisc_send_skb, ndisc_rcv (Linux 6.18).

Unmodelled: legacy ARP tables, and chains that change a request's addresses: resolution is then unknown.
"""

from __future__ import annotations

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_PINNED
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import (
    NF_LOCAL_IN,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_ARP,
)
from netviz.core.sim.actions import Action, Ended, Tx, Up
from netviz.core.sim.heard import Heard, Lead
from netviz.core.sim.hook.br_netfilter import came_through_bridge
from netviz.core.sim.hook.frame_hooks import NF_ARP_IN, NF_ARP_OUT, arp_hook, filters_arp
from netviz.core.sim.hook.netfilter import inet_hook, output_hook
from netviz.core.sim.journey import Journey
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.nft.headers import ARP_REPLY, ARP_REQUEST
from netviz.core.sim.nft.meta import PACKET_OTHERHOST
from netviz.core.sim.packet import (
    BROADCAST_MAC,
    IPPROTO_ICMPV6,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    Packet,
    is_group,
)
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import is_link_local6, is_multicast, owned_addrs
from netviz.core.sim.run import Run
from netviz.core.sim.steps import HookVerdict, Meddling
from netviz.core.sim.trace import Disposition, Recorder
from netviz.core.state.node import NetnsState

SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
SAID = ("src", "dst", "smac")
ARP_LENGTH, NDP_LENGTH, NDP_HOP_LIMIT = 28, 72, 255


class Filtered(msgspec.Struct, frozen=True, gc=False):
    """Whether a request or a reply gets through, and what stops it."""

    passes: Tri
    stopped: HookVerdict | Meddling | None = None


def request_passes(run: Run, requester: LinkKey, sender: bytes, heard: Heard, target: bytes) -> Filtered:
    """Tell whether an ARP request or a neighbour solicitation for `target` reaches a link that hears it."""
    asked = _request(_link(run, requester), sender, target)
    return _carried(run, asked, requester, heard, asked.dmac, target)


def reply_passes(run: Run, responder: LinkKey, sender: bytes, heard: Heard, target: bytes) -> Filtered:
    """Tell whether the reply that `responder` sends for `target` reaches the requester, who hears it as `heard`."""
    one, other = _link(run, heard.link), _link(run, responder)
    asked = _request(one, sender, target)
    reply = asked.but(src=target, dst=asked.src, smac=other.mac)
    if asked.arp:
        reply = reply.but(arp=ARP_REPLY, dmac=one.mac)
    else:
        mac = _known_mac(run, responder, sender, one.mac)
        reply = reply.but(icmp_type=NEIGHBOUR_ADVERTISEMENT, dmac=mac)
    return _carried(run, reply, responder, heard, one.mac, reply.dst)


def _request(link: Link, sender: bytes, target: bytes) -> Packet:
    if len(target) == 4:
        asked = Packet(sender or bytes(4), target, 0, length=ARP_LENGTH, arp=ARP_REQUEST)
        return asked.but(smac=link.mac, dmac=BROADCAST_MAC)
    group = SOLICITED_NODE + target[13:]
    asked = Packet(sender or bytes(16), group, IPPROTO_ICMPV6, ttl=NDP_HOP_LIMIT, length=NDP_LENGTH)
    asked = asked.but(own=True, icmp_type=NEIGHBOUR_SOLICITATION)
    return asked.but(smac=link.mac, dmac=b"\x33\x33\xff" + target[13:])


def _known_mac(run: Run, responder: LinkKey, sender: bytes, asked_by: bytes) -> bytes:
    """Return the MAC that an advertisement is sent to: its neighbour entry's, which the solicitation may not change.

    Source: net/ipv6/ndisc.c, ndisc_recv_ns, ndisc_send_skb; net/core/neighbour.c, __neigh_update (Linux 6.18).
    """
    entry = run.netns(responder.netns).neighs.get((responder.ifindex, sender, False))
    if entry is None or not entry.state & NUD_PINNED:
        return asked_by
    return entry.mac or bytes(len(asked_by))


def _link(run: Run, key: LinkKey) -> Link:
    return run.netns(key.netns).links[key.ifindex]


def _carried(
    run: Run, message: Packet, start: LinkKey, heard: Heard, dmac: bytes, nexthop: bytes
) -> Filtered:
    """Send a message from one link to another, through all hooks; UNKNOWN where one changes what it says.

    `dmac` is the MAC for which its path was found.
    """
    spaces = {hop.link.netns for hop in heard.path.hops}
    if message.dmac == dmac and not any(_meets_rules(run, message, run.netns(key)) for key in spaces):
        return Filtered(Tri.TRUE)
    return run.once(
        ("message", message, start, heard, dmac, nexthop),
        lambda: _sent_through(run, message, start, heard, dmac, nexthop),
    )


def _sent_through(
    run: Run, message: Packet, start: LinkKey, heard: Heard, dmac: bytes, nexthop: bytes
) -> Filtered:
    with run.aside():
        run.journey = Journey(resolving=run.journey.resolving, lead=Lead(heard.path.hops, dmac))
        try:
            up = run.follow(Tx(start, _sent(run, message, start), nexthop), _goes_up)
            if isinstance(up, Ended):
                raise up
            assert isinstance(up, Up)
            if up.link != heard.link:
                return _elsewhere(run, message, up)
            passed = _received(run, up)
        except Ended as ended:
            unknown = ended.disposition is Disposition.UNKNOWN
            return Filtered(Tri.UNKNOWN if unknown else Tri.FALSE, _stopper(run.rec, message))
    changed = [field for field in SAID if getattr(passed, field) != getattr(message, field)]
    if set(changed) <= {"src", "dst"} and _is_answer(message):
        return _reads(run, message, passed, heard.link)
    if changed == ["src"] and not message.arp and not owned_addrs(run.netns(start.netns), passed.src):
        return Filtered(Tri.FALSE, "requester")  # the answer goes to who isn't there
    return Filtered(Tri.UNKNOWN if changed else Tri.TRUE)


def _meets_rules(run: Run, message: Packet, ns: NetnsState) -> bool:
    """Tell whether a namespace has rules that a message could meet, or may have."""
    if message.arp:
        return filters_arp(ns)
    return bool(
        ns.nft_chains or ns.xt_tables or run.missing(ns, "nft_chains") or run.missing(ns, "xt_tables")
    )


def _goes_up(action: Action) -> bool:
    return isinstance(action, Up) and action.packet.payload is None


def _elsewhere(run: Run, message: Packet, up: Up) -> Filtered:
    """Judge a message that rules have sent to another link: a request may be answered there."""
    lost = bool(_link(run, up.link).flags & IFF_LOOPBACK)
    if not lost and is_group(up.packet.dmac):
        return Filtered(Tri.UNKNOWN)
    return Filtered(Tri.FALSE, _stopper(run.rec, message))


def _is_answer(message: Packet) -> bool:
    return message.arp == ARP_REPLY if message.arp else message.icmp_type == NEIGHBOUR_ADVERTISEMENT


def _reads(run: Run, message: Packet, passed: Packet, end: LinkKey) -> Filtered:
    """Tell whether an answer whose addresses were changed on its way still says what was asked.

    ARP asks who says so, and not to whom; an advertisement is for who has its destination, and names its target apart.

    Source: net/ipv4/arp.c, arp_process; net/ipv6/ndisc.c, ndisc_recv_na (Linux 6.18).
    """
    if message.arp:
        understood = passed.src == message.src
    else:
        understood = passed.dst == message.dst or bool(owned_addrs(run.netns(end.netns), passed.dst))
    return Filtered(Tri.TRUE) if understood else Filtered(Tri.FALSE, "content")


def _stopper(recorder: Recorder, message: Packet) -> HookVerdict | Meddling | None:
    """Return the verdict that stopped a message or sent it elsewhere, or what else rules did to it; None: they didn't."""
    for step in recorder.steps_backwards():
        if isinstance(step.what, HookVerdict) and step.what.chain is not None:
            was = step.before.pkttype if step.before is not None else None
            now = step.packet.pkttype
            if step.what.action != "accept" or (now == PACKET_OTHERHOST and was != now):
                return step.what
    last = recorder.last
    return "another MAC" if last is not None and last.dmac != message.dmac else None


def _sent(run: Run, message: Packet, at: LinkKey) -> Packet:
    ns, link = run.netns(at.netns), _link(run, at)
    if message.arp:
        _check_legacy(ns)
        return arp_hook(run, ns, message, NF_ARP_OUT, None, link)
    message, rerouted = output_hook(run, ns, message, link, message.dst)
    if rerouted is not None:
        _check_stays(ns, rerouted, link)
    return inet_hook(run, ns, message, NF_POST_ROUTING, None, link)


def _check_stays(ns: NetnsState, message: Packet, link: Link) -> None:
    """End the way of a message that a hook makes the kernel route, if it goes elsewhere than to its neighbour.

    Source: net/ipv6/netfilter.c, ip6_route_me_harder (Linux 6.18).
    """
    if is_multicast(message.dst) or is_link_local6(message.dst):
        return
    result = lookup_route(ns, route_flow(message, dissected=True))
    if result.unknown:
        raise Ended(Disposition.UNKNOWN, result.unknown)
    ways = {(way.oif, way.gateway or message.dst) for way in result.nexthops}
    here = (link.ifindex, message.dst)
    if result.error or here not in ways:
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    if len(ways) > 1:
        raise Ended(Disposition.UNKNOWN, "several ways")


def _received(run: Run, up: Up) -> Packet:
    ns, link, message = run.netns(up.link.netns), _link(run, up.link), up.packet.but(own=False)
    if message.arp:
        _check_legacy(ns)
        return arp_hook(run, ns, message, NF_ARP_IN, link, None)
    if not came_through_bridge(ns, link, message):
        message = inet_hook(run, ns, message, NF_PRE_ROUTING, link, None)
    message = inet_hook(run, ns, message, NF_LOCAL_IN, link, None)
    if message.ttl != NDP_HOP_LIMIT:  # which proves that it comes from the link (ndisc_rcv)
        raise Ended(Disposition.DROPPED, "IPV6_NDISC_HOP_LIMIT")
    return message


def _check_legacy(ns: NetnsState) -> None:
    if any(table.family == NFPROTO_ARP for table in ns.xt_tables.values()):
        raise Ended(Disposition.UNKNOWN, "legacy ARP table")

"""Whether netfilter lets address resolution through: ARP, bridge and netdev chains, and IPv6's own hooks.

A request and its reply pass the hooks of both ends and of the bridges between; nothing of it is recorded,
for it is not the traced packet.

Source: net/ipv4/arp.c, arp_xmit, arp_rcv (NFPROTO_ARP); net/ipv6/ndisc.c, ndisc_send_skb, ndisc_rcv;
net/bridge/br_netfilter_hooks.c (Linux 6.18).

Unmodelled: legacy ARP tables, and chains that change a question's addresses: resolution is then unknown.
"""

from __future__ import annotations

from functools import partial

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_PINNED
from netviz.core.model.link import IFF_LOOPBACK, BridgeInfo, Link
from netviz.core.model.netfilter import (
    NF_FORWARD,
    NF_LOCAL_IN,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_ARP,
    NFPROTO_IPV6,
)
from netviz.core.sim.actions import Ended
from netviz.core.sim.heard import Crossing, Heard
from netviz.core.sim.hook.frame_hooks import (
    NF_ARP_FORWARD,
    NF_ARP_IN,
    NF_ARP_OUT,
    Forwarded,
    arp_hook,
    bridge_hook,
    filters_arp,
    netdev_hook,
)
from netviz.core.sim.hook.netfilter import calls_ip_hooks, inet_hook, output_hook
from netviz.core.sim.link.bridge import flood_ports
from netviz.core.sim.link.macvlan import gets_copies, takes_any_mac, takes_for_itself
from netviz.core.sim.nft.compat.translation import WRITTEN_IN_PLACE
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.nft.headers import ARP_REPLY, ARP_REQUEST
from netviz.core.sim.nft.meta import PACKET_OTHERHOST, received_as
from netviz.core.sim.node_index import resolve_lower_of
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
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import Disposition, Recorder
from netviz.core.state.node import NetnsState

SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
SAID = ("src", "dst", "smac", "dmac")
ARP_LENGTH, NDP_LENGTH, NDP_HOP_LIMIT = 28, 72, 255


class Filtered(msgspec.Struct, frozen=True, gc=False):
    """Whether a question and its answer get through, and what stops them; `asked`: the question does."""

    passes: Tri
    stopped: HookVerdict | Meddling | None = None
    asked: bool = False


def arp_passes(run: Run, requester: LinkKey, sender: bytes, heard: Heard, target: bytes) -> Filtered:
    """Tell whether an ARP request reaches a link and its answer comes back."""
    one, other = _link(run, requester), _link(run, heard.link)
    ask = Packet(sender or bytes(4), target, 0, length=ARP_LENGTH, arp=ARP_REQUEST)
    ask = ask.but(smac=one.mac, dmac=BROADCAST_MAC)
    answer = ask.but(src=target, dst=ask.src, arp=ARP_REPLY, smac=other.mac, dmac=one.mac)
    return _exchange(run, requester, heard, ask, answer)


def ndp_passes(run: Run, requester: LinkKey, sender: bytes, heard: Heard, target: bytes) -> Filtered:
    """Tell whether a solicitation reaches a link and its answer comes back."""
    one, other = _link(run, requester), _link(run, heard.link)
    group = SOLICITED_NODE + target[13:]
    ask = Packet(sender or bytes(16), group, IPPROTO_ICMPV6, ttl=NDP_HOP_LIMIT, length=NDP_LENGTH)
    ask = ask.but(own=True)
    ask = ask.but(icmp_type=NEIGHBOUR_SOLICITATION, smac=one.mac, dmac=b"\x33\x33\xff" + target[13:])
    answer = ask.but(src=target, dst=ask.src, icmp_type=NEIGHBOUR_ADVERTISEMENT, smac=other.mac)
    answer = answer.but(dmac=_known_mac(run, heard.link, sender, one.mac))
    return _exchange(run, requester, heard, ask, answer)


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


def _exchange(run: Run, requester: LinkKey, heard: Heard, ask: Packet, answer: Packet) -> Filtered:
    there = _carried(run, ask, requester, heard.path, heard.link)
    if there.passes is not Tri.TRUE:
        return there
    back = tuple(Crossing(one.bridge, one.out_ifindex, one.in_ifindex) for one in reversed(heard.path))
    return msgspec.structs.replace(_carried(run, answer, heard.link, back, requester), asked=True)


def _carried(run: Run, message: Packet, start: LinkKey, path: tuple[Crossing, ...], end: LinkKey) -> Filtered:
    """Pass a message through all hooks from one link to another; UNKNOWN where one changes what it says."""
    if message.arp and not _any_filters(run, start, path, end):
        return Filtered(Tri.TRUE)
    with run.aside():
        try:
            passed = sent = _sent(run, message, start)
            for crossing in path:
                passed = _bridged(run, passed.scrubbed(True) if crossing.in_ifindex else passed, crossing)
            inside = bool(path) and not path[-1].out_ifindex
            passed = _received(run, passed if inside else passed.scrubbed(True), end)
            # which proves that it comes from the link (ndisc_rcv)
            if not passed.arp and passed.ttl != NDP_HOP_LIMIT:
                raise Ended(Disposition.DROPPED, "IPV6_NDISC_HOP_LIMIT")
        except Ended as ended:
            unknown = ended.disposition is Disposition.UNKNOWN
            return Filtered(Tri.UNKNOWN if unknown else Tri.FALSE, _last_verdict(run.rec))
    meant = message.but(dmac=_link(run, end).mac) if _is_answer(message) else message
    changed = [field for field in SAID if getattr(passed, field) != getattr(meant, field)]
    if changed == ["dmac"] and passed.dmac == message.dmac and not takes_any_mac(_link(run, end)):
        return Filtered(Tri.FALSE)  # no rule mends the MAC that the answer is sent to
    if changed == ["dmac"] and _is_for_others(run, passed, end):
        return Filtered(Tri.FALSE, "another MAC")
    if path and message.dmac != meant.dmac and sent.dmac != passed.dmac:
        return Filtered(Tri.UNKNOWN)  # bridges may have sent it elsewhere before
    if set(changed) <= {"src", "dst"} and _is_answer(message):
        return _reads(run, message, passed, end)
    if changed == ["src"] and not message.arp and not owned_addrs(run.netns(start.netns), passed.src):
        return Filtered(Tri.FALSE, "requester")  # the answer goes to who isn't there
    return Filtered(Tri.UNKNOWN if changed else Tri.TRUE)


def _any_filters(run: Run, start: LinkKey, path: tuple[Crossing, ...], end: LinkKey) -> bool:
    """Tell whether any namespace on an ARP message's way has rules that it could meet."""
    below = (lower for at in (start, end) for lower in _lowers(run, at))
    spaces = {key.netns for key in (start, end, *below, *(crossing.bridge for crossing in path))}
    return any(filters_arp(run.netns(key)) for key in spaces)


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


def _is_for_others(run: Run, message: Packet, end: LinkKey) -> bool:
    """Tell whether a frame's MAC is nobody's in the namespace that it is to end in."""
    links = run.netns(end.netns).links
    takes_all = takes_any_mac(links[end.ifindex])
    return not (
        is_group(message.dmac) or takes_all or any(link.mac == message.dmac for link in links.values())
    )


def _last_verdict(recorder: Recorder) -> HookVerdict | None:
    """Return the chain's verdict that ended the message; None where something else did."""
    what = recorder.last_step.what if recorder.last_step is not None else None
    return what if isinstance(what, HookVerdict) and what.chain is not None else None


def _device(run: Run, ns: NetnsState, link: Link, message: Packet, egress: bool) -> Packet:
    passed = netdev_hook(run, ns, link, message, egress)
    if isinstance(passed, Forwarded):
        # nobody answers on the loopback; who would elsewhere isn't modelled
        lost = bool(passed.link.flags & IFF_LOOPBACK)
        raise Ended(Disposition.DROPPED if lost else Disposition.UNKNOWN, "fwd")
    return passed


def _sent(run: Run, message: Packet, at: LinkKey) -> Packet:
    ns, link = run.netns(at.netns), _link(run, at)
    if message.arp:
        _check_legacy(ns)
        message = arp_hook(run, ns, message, NF_ARP_OUT, None, link)
    else:
        message, rerouted = output_hook(run, ns, message, link, message.dst)
        if rerouted is not None:
            _check_stays(ns, rerouted, link)
        message = inet_hook(run, ns, message, NF_POST_ROUTING, None, link)
    message = _device(run, ns, link, message, egress=True)
    for lower in _lowers(run, at):
        message = _device(run, run.netns(lower.netns), _link(run, lower), message, egress=True)
    return message


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


def _lowers(run: Run, at: LinkKey) -> list[LinkKey]:
    """List the devices below a stacked one (macvlan, VLAN), the nearest first."""
    found: list[LinkKey] = []
    while _link(run, at).kind in ("macvlan", "vlan"):
        lower = resolve_lower_of(run.node(at.netns), at)
        if lower is None or lower in found:
            break
        found.append(lower)
        at = lower
    return found


def _received(run: Run, message: Packet, at: LinkKey) -> Packet:
    for lower in reversed(_lowers(run, at)):
        message = _device(run, run.netns(lower.netns), _link(run, lower), message, egress=False)
        # a copy stays whose it was
        kept = message.pkttype if gets_copies(_link(run, at)) else None
        message = message.scrubbed(True)
        if kept is not None and message.dmac != _link(run, at).mac:
            message = message.but(pkttype=kept)
    ns, link = run.netns(at.netns), _link(run, at)
    # For whom it is has been found out: what a chain makes of its MAC here matters to macvlans over it alone.
    dmac = message.dmac
    message = _device(run, ns, link, message, egress=False)
    if message.dmac != dmac and takes_for_itself(run, at, message.dmac):
        raise Ended(Disposition.DROPPED, "a macvlan takes it")
    message = message.but(dmac=dmac, own=False)
    if message.pkttype == PACKET_OTHERHOST:
        raise Ended(Disposition.DROPPED, "OTHERHOST")
    if message.arp:
        _check_legacy(ns)
        return arp_hook(run, ns, message, NF_ARP_IN, link, None)
    if not message.physin:  # else it has been through it in the bridge
        message = inet_hook(run, ns, message, NF_PRE_ROUTING, link, None)
    return inet_hook(run, ns, message, NF_LOCAL_IN, link, None)


def _check_legacy(ns: NetnsState) -> None:
    if any(table.family == NFPROTO_ARP for table in ns.xt_tables.values()):
        raise Ended(Disposition.UNKNOWN, "legacy ARP table")


def _bridged(run: Run, message: Packet, crossing: Crossing) -> Packet:
    """Pass a message through a bridge, from port to port, or from or to the bridge's own device."""
    ns = run.netns(crossing.bridge.netns)
    bridge = ns.links[crossing.bridge.ifindex]
    source, out = ns.links.get(crossing.in_ifindex), ns.links.get(crossing.out_ifindex)
    if source is not None:
        kind = received_as(message.dmac, source, bridge)
        message = _device(run, ns, source, message, egress=False)
        if message.dmac == bridge.mac:
            message = message.but(pkttype=None)
        message = bridge_hook(run, ns, message, "pre", source, bridge, part="before IP")
        message = _ip_hook(run, ns, message, hook=NF_PRE_ROUTING, bridge=bridge, physin=source.ifindex)
        message = bridge_hook(run, ns, message, "pre", source, bridge, part="after IP")
        if out is None:
            message = _beside_its_copies(run, ns, message, bridge, source, crossing.vid)
            # for whom it is has been found out
            return bridge_hook(run, ns, message, "in", source, bridge).but(dmac=message.dmac)
        message = message if message.pkttype is not None else message.but(pkttype=kind)
        message = bridge_hook(run, ns, message, "forward", source, bridge, out, "before IP")
        message = _ip_hook(run, ns, message, hook=NF_FORWARD, bridge=bridge, physout=out.ifindex)
        message = bridge_hook(run, ns, message, "forward", source, bridge, out, "after IP")
        if message.arp and _calls_arp(ns, bridge):
            message = arp_hook(run, ns, message, NF_ARP_FORWARD, source, out)
    else:
        message = bridge_hook(run, ns, message, "out", None, bridge, out)
    if out is None:
        return message
    message = bridge_hook(run, ns, message, "post", None, bridge, out)
    if source is not None:
        message = _ip_hook(run, ns, message, hook=NF_POST_ROUTING, bridge=bridge)
    return _device(run, ns, out, message, egress=True)


def _beside_its_copies(
    run: Run, ns: NetnsState, message: Packet, bridge: Link, source: Link, vid: int
) -> Packet:
    """Give a flooded message that goes up the addresses that rules have written into its copies for other ports.

    Those go first, and share its data: NPT writes into that, which other targets copy before.

    Source: net/bridge/br_input.c, br_handle_frame_finish; net/ipv6/netfilter/ip6t_NPT.c (Linux 6.18).
    """
    if message.arp or not is_group(message.dmac) or not calls_ip_hooks(ns, bridge, True):
        return message
    # Of the hooks that copies pass, NPT may stand in POST_ROUTING of the mangle table alone.
    key = (NFPROTO_IPV6, "mangle", "POSTROUTING")
    if not any(chain is not None and chain.body for chain in (ns.nft_chains.get(key), ns.xt_chains.get(key))):
        return message
    for port in flood_ports(ns, bridge, source, message.dmac, vid):
        written = run.suppose(partial(_written_in_copy, run, ns, message, bridge, port))
        if written is not None:
            message = message.but(src=written[0], dst=written[1])
    return message


def _written_in_copy(
    run: Run, ns: NetnsState, message: Packet, bridge: Link, port: Link
) -> tuple[bytes, bytes] | None:
    """Return the addresses that NPT writes into the data of a copy for a port; None where it doesn't."""
    run.memory = run.memory.but(
        rule_scratch={k: v for k, v in run.memory.rule_scratch.items() if k != WRITTEN_IN_PLACE}
    )
    try:
        copy = _ip_hook(run, ns, message, hook=NF_FORWARD, bridge=bridge, physout=port.ifindex)
        copy = _ip_hook(run, ns, copy, hook=NF_POST_ROUTING, bridge=bridge)
    except Ended:
        return None
    return (copy.src, copy.dst) if WRITTEN_IN_PLACE in run.memory.rule_scratch else None


def _calls_arp(ns: NetnsState, bridge: Link) -> bool:
    own = isinstance(bridge.info, BridgeInfo) and bridge.info.nf_call_arptables
    return bool(own or value(ns, "net.bridge.bridge-nf-call-arptables"))


def _ip_hook(run: Run, ns: NetnsState, message: Packet, *, hook: int, bridge: Link, **ports: int) -> Packet:
    """Pass a bridged IPv6 message through an IP hook, where the bridge calls them (`br_netfilter`)."""
    if message.arp or not calls_ip_hooks(ns, bridge, True):
        return message
    message = message.but(**ports)
    iif = None if hook == NF_POST_ROUTING else bridge
    return inet_hook(run, ns, message, hook, iif, None if hook == NF_PRE_ROUTING else bridge)

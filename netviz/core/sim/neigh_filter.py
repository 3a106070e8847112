"""Whether netfilter lets address resolution through: question and answer, from end to end.

    asker: ARP or IPv6 output --> bridges on the way: bridge chains, br_netfilter --> ARP or IPv6 input

Source: net/ipv4/arp.c, arp_xmit, arp_rcv (NFPROTO_ARP); net/ipv6/ndisc.c, ndisc_send_skb, ndisc_rcv;
net/bridge/br_netfilter_hooks.c, br_nf_forward_arp; br_netfilter_ipv6.c, br_nf_pre_routing_ipv6;
net/netfilter/nf_conntrack_proto_icmpv6.c, noct_valid_new (discovery is untracked) (Linux 6.18).

Unmodelled: legacy arptables, and what ARP chains change.
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import BridgeInfo, Link
from netviz.core.model.netfilter import (
    NF_FORWARD,
    NF_LOCAL_IN,
    NF_LOCAL_OUT,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_ARP,
)
from netviz.core.sim.domain import Crossing, Heard
from netviz.core.sim.headers import ARP_REQUEST
from netviz.core.sim.netfilter import arp_hook, bridge_hook, calls_ip_hooks, inet_hook
from netviz.core.sim.nft_context import Tri
from netviz.core.sim.packet import BROADCAST_MAC, IPPROTO_ICMPV6, Packet
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import Disposition, Recorder
from netviz.core.state.node import NetnsState

NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
ARP_REPLY = 2
NF_ARP_IN, NF_ARP_OUT, NF_ARP_FORWARD = range(3)
SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
MESSAGE_LENGTH, ND_HOP_LIMIT = 72, 255


def arp_passes(run: Run, asker: LinkKey, sender: bytes, heard: Heard, target: bytes, mac: bytes) -> Tri:
    """Tell whether an ARP request reaches a link, and its answer from `mac` comes back."""
    if any(_has_legacy_arp(run.netns(key)) for key in _touched(asker, heard)):
        return Tri.UNKNOWN
    own = _link(run, asker).mac
    ask = Packet(sender or bytes(4), target, 0, arp=ARP_REQUEST, smac=own, dmac=BROADCAST_MAC)
    answer = Packet(target, ask.src, 0, arp=ARP_REPLY, smac=mac, dmac=own)
    return _exchange(run, asker, heard, ask, answer)


def ndp_passes(run: Run, asker: LinkKey, sender: bytes, heard: Heard, target: bytes, mac: bytes) -> Tri:
    """Tell whether a solicitation reaches a link, and its answer from `mac` comes back."""
    own = _link(run, asker).mac
    group = SOLICITED_NODE + target[13:]
    ask = Packet(
        sender or bytes(16), group, IPPROTO_ICMPV6, ttl=ND_HOP_LIMIT, length=MESSAGE_LENGTH, untracked=True
    )
    ask = ask.but(icmp_type=NEIGHBOUR_SOLICITATION, smac=own, dmac=b"\x33\x33" + group[12:])
    answer = ask.but(src=target, dst=ask.src, icmp_type=NEIGHBOUR_ADVERTISEMENT, smac=mac, dmac=own)
    return _exchange(run, asker, heard, ask, answer)


def _touched(asker: LinkKey, heard: Heard) -> set[NetnsKey]:
    return {asker.netns, heard.link.netns, *(crossing.bridge.netns for crossing in heard.path)}


def _has_legacy_arp(ns: NetnsState) -> bool:
    return any(table.family == NFPROTO_ARP for table in ns.xt_tables.values())


def _link(run: Run, key: LinkKey) -> Link:
    return run.netns(key.netns).links[key.ifindex]


def _exchange(run: Run, asker: LinkKey, heard: Heard, ask: Packet, answer: Packet) -> Tri:
    """Pass question and answer, without recording steps: they are not the traced packet."""
    back = tuple(Crossing(one.bridge, one.went_out, one.came_in) for one in reversed(heard.path))
    recorder, run.rec = run.rec, Recorder()
    try:
        _travel(run, asker, heard.link, heard.path, ask)
        _travel(run, heard.link, asker, back, answer)
    except Ended as ended:
        return Tri.UNKNOWN if ended.disposition is Disposition.UNKNOWN else Tri.FALSE
    finally:
        run.rec = recorder
    return Tri.TRUE


def _travel(run: Run, start: LinkKey, end: LinkKey, path: tuple[Crossing, ...], packet: Packet) -> None:
    """Pass a message from link to link. Raises: Ended where rules stop it, or spoil its hop limit.

    Source: net/ipv6/ndisc.c, ndisc_rcv (a hop limit of 255 proves that it comes from the link) (Linux 6.18).
    """
    packet = _leave(run, start, packet)
    for crossing in path:
        packet = _cross(run, crossing, packet)
    through = bool(path) and path[-1].bridge == end
    packet = _arrive(run, end, packet if through else packet.but(physin=0))
    if not packet.arp and packet.ttl != ND_HOP_LIMIT:
        raise Ended(Disposition.DROPPED, "IPV6_NDISC_HOP_LIMIT")


def _leave(run: Run, at: LinkKey, packet: Packet) -> Packet:
    ns, link = run.netns(at.netns), _link(run, at)
    if packet.arp:
        arp_hook(run, ns, packet, NF_ARP_OUT, None, link)
        return packet
    sent = packet.but(smac=b"", dmac=b"")
    for hook in (NF_LOCAL_OUT, NF_POST_ROUTING):
        sent = inet_hook(run, ns, sent, hook, None, link)
    return sent.scrubbed(True).but(smac=packet.smac, dmac=packet.dmac, untracked=True)


def _cross(run: Run, crossing: Crossing, packet: Packet) -> Packet:
    """Pass a bridge's own chains and, where it calls them, ARP's and IPv6's."""
    ns, bridge = run.netns(crossing.bridge.netns), _link(run, crossing.bridge)
    port, out = ns.links.get(crossing.came_in), ns.links.get(crossing.went_out)
    inet = not packet.arp and port is not None and calls_ip_hooks(ns, bridge, True)
    if port is not None:
        packet = bridge_hook(run, ns, packet, "pre", port, bridge)
    if inet and port is not None:
        packet = packet.but(physin=port.ifindex)
        packet = inet_hook(run, ns, packet, NF_PRE_ROUTING, bridge, None)
    if out is None:
        return bridge_hook(run, ns, packet, "in", port, bridge)
    if port is not None:
        packet = bridge_hook(run, ns, packet, "forward", port, bridge, out)
        if inet:
            packet = inet_hook(run, ns, packet.but(physout=out.ifindex), NF_FORWARD, bridge, bridge)
        if packet.arp and _calls_arp(ns, bridge):
            arp_hook(run, ns, packet, NF_ARP_FORWARD, port, out)
    else:
        packet = bridge_hook(run, ns, packet, "out", None, bridge, out)
    packet = bridge_hook(run, ns, packet, "post", port, bridge, out)
    if inet:
        packet = inet_hook(run, ns, packet, NF_POST_ROUTING, None, bridge)
    return packet.scrubbed(True).but(untracked=packet.untracked)


def _calls_arp(ns: NetnsState, bridge: Link) -> bool:
    own = isinstance(bridge.info, BridgeInfo) and bridge.info.nf_call_arptables
    return bool(own or value(ns, "net.bridge.bridge-nf-call-arptables"))


def _arrive(run: Run, at: LinkKey, packet: Packet) -> Packet:
    ns, link = run.netns(at.netns), _link(run, at)
    if packet.arp:
        arp_hook(run, ns, packet, NF_ARP_IN, link, None)
        return packet
    if not packet.physin:
        packet = inet_hook(run, ns, packet, NF_PRE_ROUTING, link, None)
    return inet_hook(run, ns, packet, NF_LOCAL_IN, link, None)

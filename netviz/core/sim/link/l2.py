"""Links: how a frame leaves by one and arrives at one. What each kind of device does is in its own module.

Source: net/core/dev.c, __dev_queue_xmit, __netif_receive_skb_core (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.sim.actions import Action, Ended, Rx, Tx, Up
from netviz.core.sim.encap import ethertunnel, iptunnel, vxlan, wireguard
from netviz.core.sim.hook.frame_hooks import Forwarded, netdev_hook
from netviz.core.sim.hook.sent_on import send_on
from netviz.core.sim.link import bond, bridging, ipvlan, macvlan, plain, veth, vlan, vrf, wire
from netviz.core.sim.link.domain import programs_on
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.nft.meta import PACKET_HOST, PACKET_OTHERHOST
from netviz.core.sim.node_index import uppers_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Receive, Transmit
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState

Xmit = Callable[[Run, NetnsState, Link, Packet, bytes], Action]
XMIT: dict[str, Xmit] = {
    "veth": veth.xmit,
    "bridge": bridging.xmit,
    "macvlan": macvlan.xmit,
    "ipvlan": ipvlan.xmit,
    "vlan": vlan.xmit,
    "bond": bond.xmit,
    "vrf": vrf.xmit,
    "vxlan": vxlan.xmit,
    "geneve": ethertunnel.xmit,
    "gretap": ethertunnel.xmit,
    "ip6gretap": ethertunnel.xmit,
    "ipip": iptunnel.xmit,
    "sit": iptunnel.xmit,
    "gre": iptunnel.xmit,
    "ip6tnl": iptunnel.xmit,
    "ip6gre": iptunnel.xmit,
    "wireguard": wireguard.xmit,
    "dummy": plain.swallow,
}
# Devices on top of another that take frames from it: macvlan and ipvlan by MAC or address (VLANs by their tag).
TAKES: dict[str, Callable[[Run, NetnsState, Link, Packet, list[LinkKey]], Action | None]] = {
    "macvlan": macvlan.take,
    "macvtap": macvlan.take,
    "ipvlan": ipvlan.take,
    "ipvtap": ipvlan.take,
}
# What the receive path starts over for without a new tracepoint (another_round in __netif_receive_skb_core).
ANOTHER_ROUND = ("bond", "vlan", "ipvlan")
# What a master does with the frames of its slaves; None: they go up by themselves.
JOINS: dict[str, Callable[[Run, NetnsState, Link, Link, Packet], Action] | None] = {
    "bridge": bridging.receive,
    "bond": bond.receive,
    "vrf": None,
}


def xmit(run: Run, tx: Tx) -> Action:
    """Transmit a frame on a link, and say what becomes of it."""
    ns, packet = run.netns(tx.link.netns), tx.packet
    run.journey = run.journey.but(xmit_depth=run.journey.xmit_depth + 1)
    link = ns.links[tx.link.ifindex]
    if not link.up:
        run.end_dropped(ns, link, packet, "DEV_READY", Transmit("drop", "link down"))
    if not link.carrier and not link.flags & IFF_LOOPBACK:
        run.end_dropped(ns, link, packet, "QDISC_DROP", Transmit("drop", "no carrier"))
    check_programs(run, ns, link, packet, receiving=False)
    passed = netdev_hook(run, ns, link, packet, egress=True)
    if isinstance(passed, Forwarded):
        return send_on(run, ns, link, passed, tx.forwards)
    packet = passed
    if link.flags & IFF_LOOPBACK:
        run.record(ns, link, packet, Transmit("loop back"))
        whose = None if packet.dmac and packet.dmac != link.mac else packet.pkttype  # eth_type_trans
        routed = not tx.forwards and tx.link not in run.journey.routed
        return Rx(tx.link, packet.but(own=False, pkttype=whose), routed=routed)
    family = XMIT.get(link.kind)
    if family is not None:
        return family(run, ns, link, packet, tx.nexthop)
    if is_wire(run.node(ns.key), tx.link, link):
        return wire.xmit(run, ns, link, packet, tx.nexthop)
    plain.opaque(run, ns, link, packet)


def check_programs(run: Run, ns: NetnsState, link: Link, packet: Packet, receiving: bool) -> None:
    """End the walk where a tc or XDP program could do anything with the packet."""
    programs = programs_on(link, receiving=receiving)
    if programs:
        ", ".join(programs)
        run.end_unknown(
            ns,
            link,
            packet,
            Opaque("unknown", "program", names=tuple(programs), receiving=receiving),
        )


def receive(run: Run, rx: Rx) -> Action:
    """Take a frame in at a link: to a device on top of it, to its master, or to the network layer."""
    ns = run.netns(rx.link.netns)
    run.journey = run.journey.but(xmit_depth=0)
    link = ns.links.get(rx.link.ifindex)
    packet = rx.packet
    if link is None:
        run.end_unknown(ns, None, packet, Receive("unknown", "missing device", ifindex=rx.link.ifindex))
    _check_loop(run, ns, rx.link, link, packet)
    if not link.up:
        run.end_dropped(ns, link, packet, "DEV_READY", Receive("drop", "link down"))
    check_programs(run, ns, link, packet, receiving=True)
    passed = netdev_hook(run, ns, link, packet, egress=False)
    if isinstance(passed, Forwarded):
        run.record(ns, link, packet, Receive("receive", "frame"))
        whose = passed.packet.pkttype
        if whose is None:
            whose = PACKET_HOST if _accepts(link, packet) else PACKET_OTHERHOST
        passed = msgspec.structs.replace(passed, packet=passed.packet.but(pkttype=whose))
        return send_on(run, ns, link, passed)
    packet = _for_whom(link, packet, passed)
    stacked = vlan.take(run, ns, link, packet) if packet.tags else None
    stacked = stacked or _handled(run, ns, rx.link, link, packet)
    if stacked is not None:
        return stacked
    if packet.tags:
        vlan.nobody(run, ns, link, packet)
    if not rx.host or packet.pkttype == PACKET_OTHERHOST:
        _check_mac(run, ns, link, packet)
    if not link.flags & IFF_LOOPBACK:
        run.record(ns, link, packet, Receive("receive", again=link.kind in ANOTHER_ROUND))
    return Up(rx.link, packet, rx.routed)


def _for_whom(link: Link, before: Packet, packet: Packet) -> Packet:
    """Keep whom a frame is for, which was found out before its chains could change its MAC."""
    if packet.dmac == before.dmac or packet.pkttype is not None:
        return packet
    return packet.but(pkttype=PACKET_HOST if _accepts(link, before) else PACKET_OTHERHOST)


def _check_loop(run: Run, ns: NetnsState, key: LinkKey, link: Link, packet: Packet) -> None:
    mark = (
        key,
        packet.smac,
        packet.dmac,
        packet.tuple(),
        packet.vni,
        packet.tags,
        packet.payload is not None,
        packet.length,
    )
    if mark in run.journey.visited:
        run.record(ns, link, packet, Receive("loop"), reason="LOOP")
        raise Ended(Disposition.LOOP)
    run.journey = run.journey.but(visited=run.journey.visited | {mark})


def _handled(run: Run, ns: NetnsState, key: LinkKey, link: Link, packet: Packet) -> Action | None:
    """Hand a frame to what has taken over the link (its rx_handler); None: nothing has, or lets it pass."""
    if link.master:
        master = ns.links.get(link.master)
        if master is None or master.kind not in JOINS:
            run.end_unknown(
                ns,
                link,
                packet,
                Receive(
                    "unknown",
                    "master",
                    master=link.master,
                    master_kind=None if master is None else master.kind,
                ),
            )
        joined = JOINS[master.kind]
        if joined is not None:
            return joined(run, ns, master, link, packet)
    above: dict[str, list[LinkKey]] = {}
    for upper in uppers_of(run.node(ns.key).netns).get(key, ()):
        other = run.link(upper)
        if other is not None and other.kind in TAKES:
            above.setdefault(other.kind[:5], []).append(upper)
    for uppers in above.values():
        other = run.link(uppers[0])
        taken = TAKES[other.kind](run, ns, link, packet, uppers) if other is not None else None
        if taken is not None:
            return taken
    return None


def _accepts(link: Link, packet: Packet) -> bool:
    """Tell whether a frame's MAC makes it this host's. Source: net/ethernet/eth.c, eth_type_trans (Linux 6.18)."""
    return not packet.dmac or packet.dmac == link.mac or bool(packet.dmac[0] & 1)


def _check_mac(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    if packet.pkttype != PACKET_OTHERHOST and (packet.pkttype is not None or _accepts(link, packet)):
        return
    run.end_dropped(ns, link, packet, "OTHERHOST", Receive("drop", "for another host", mac=link.mac))

"""The traced packet at links: how it leaves by one and arrives at one.

What each kind of device does with it is in the kind's own module.

Source: net/core/dev.c, __dev_queue_xmit, __netif_receive_skb_core (Linux 6.18).
"""

from __future__ import annotations

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.sim.actions import Action, Ended, Rx, Tx, Up
from netviz.core.sim.heard import LinkHop
from netviz.core.sim.hook.frame_hooks import Forwarded, netdev_hook
from netviz.core.sim.hook.sent_on import send_on
from netviz.core.sim.link import plain, vlan, wire
from netviz.core.sim.link.follow import arrived, follow, is_led, led, through_tunnel
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.nft.meta import PACKET_HOST, PACKET_OTHERHOST
from netviz.core.sim.packet import Packet
from netviz.core.sim.plane import bridging
from netviz.core.sim.plane.kinds import KINDS, TUNNELS, arrivals, departures, programs_on, stacked_on
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Assumption, Opaque, Receive, Transmit
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState

# What the receive path starts over for without a new tracepoint (another_round in __netif_receive_skb_core).
ANOTHER_ROUND = ("bond", "vlan", "ipvlan")
# A traced frame passes a bridge's hooks, and a flooded one is followed to who takes it, as the other driver finds out.
BRIDGE = Kind(xmit=bridging.xmit, receive=bridging.receive)


def _kind(link: Link) -> Kind | None:
    return BRIDGE if link.kind == "bridge" else KINDS.get(link.kind)


def xmit(run: Run, tx: Tx) -> Action:
    """Transmit a frame on a link, and say what becomes of it."""
    ns, packet = run.netns(tx.link.netns), tx.packet
    run.journey = run.journey.but(xmit_depth=run.journey.xmit_depth + 1)
    arrived(run, packet, LinkHop(False, tx.link))
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
        pkttype = None if packet.dmac and packet.dmac != link.mac else packet.pkttype  # eth_type_trans
        routed = not tx.forwards and tx.link not in run.journey.routed
        return Rx(tx.link, packet.but(own=False, pkttype=pkttype), routed=routed)
    if is_led(run, packet) and link.kind != "bridge":
        if link.kind in TUNNELS:
            one = through_tunnel(run, packet)
        else:
            one = led(run, packet, departures(run, tx.link, ns, link, packet, tx.nexthop))
        if one is not None:
            return follow(run, ns, link, packet, tx.nexthop, (one,))
    kind = _kind(link)
    if kind is not None and kind.xmit is not None:
        return kind.xmit(run, ns, link, packet, tx.nexthop)
    if kind is not None and kind.copies is not None:
        return follow(run, ns, link, packet, tx.nexthop, kind.copies(run, ns, link, packet, tx.nexthop))
    if is_wire(run.node(ns.key), tx.link, link):
        return wire.xmit(run, ns, link, packet, tx.nexthop)
    plain.opaque(run, ns, link, packet)


def check_programs(run: Run, ns: NetnsState, link: Link, packet: Packet, receiving: bool) -> None:
    """End the walk where a tc or XDP program could do anything with the packet."""
    if link.programs == ():
        return
    if link.programs is None and not link.flags & IFF_LOOPBACK:
        run.assumed[Assumption(ns.key.node, "no tcx")] = None
    programs = programs_on(link, receiving=receiving)
    if programs:
        run.end_unknown(
            ns,
            link,
            packet,
            Opaque("unknown", "program", names=tuple(programs), receiving=receiving),
        )


def receive(run: Run, rx: Rx) -> Action:
    """Take a frame in at a link: to a device on top of it, to its master, or to the network layer."""
    ns = run.netns(rx.link.netns)
    arrived(run, rx.packet, LinkHop(True, rx.link))
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
        pkttype = passed.packet.pkttype
        if pkttype is None:
            pkttype = PACKET_HOST if _accepts(link, packet) else PACKET_OTHERHOST
        passed = msgspec.structs.replace(passed, packet=passed.packet.but(pkttype=pkttype))
        return send_on(run, ns, link, passed)
    packet = _for_whom(link, packet, passed)
    stacked = _handled(run, ns, rx.link, link, packet)
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
    run.journey = run.journey.but(visited=run.journey.visited | {mark}, xmit_depth=0)


def _handled(run: Run, ns: NetnsState, key: LinkKey, link: Link, packet: Packet) -> Action | None:
    """Hand a frame to what has taken over the link (its rx_handler); None: nothing has, or lets it pass."""
    master = ns.links.get(link.master) if link.master else None
    if is_led(run, packet) and (master is None or master.kind != "bridge"):
        all_copies = arrivals(run, key, ns, link, packet)
        one = led(run, packet, all_copies.copies)
        if one is not None:
            return follow(run, ns, link, packet, b"", (one,))
        if all_copies.stays and run.journey.lead is not None and not run.journey.lead.hops:
            return None
    if packet.tags and (untagged := vlan.untagged(run, key, packet)) is not None:
        return follow(run, ns, link, packet, b"", (untagged,))
    if link.master:
        kind = _kind(master) if master is not None else None
        if master is not None and kind is not None and kind.receive is not None:
            return kind.receive(run, ns, master, link, packet)
        if master is None or kind is None or kind.joins is None:
            what = Receive(
                "unknown",
                "master",
                master=link.master,
                master_kind=None if master is None else master.kind,
            )
            run.end_unknown(ns, link, packet, what)
        joined = kind.joins(run, ns, master, link, packet)
        if joined is not None:
            return follow(run, ns, link, packet, b"", joined)
    for kind, uppers in stacked_on(run, key):
        taken = kind.take(run, ns, link, packet, uppers) if kind.take is not None else None
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

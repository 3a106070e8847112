"""Neighbours: the MAC for a next hop, from an entry, or by asking who has it.

Source: net/core/neighbour.c, __neigh_event_send, neigh_resolve_output (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.l2 import NUD_FAILED, NUD_NOARP, NUD_PERMANENT, NUD_PINNED
from netviz.core.model.link import ARPHRD_ETHER, IFF_LOOPBACK, IFF_NOARP
from netviz.core.sim.actions import Resolve
from netviz.core.sim.neigh_entries import is_usable
from netviz.core.sim.neighbour.gleaning import gleaned_mac
from netviz.core.sim.neighbour.solicit import solicit
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.route.saddr import is_multicast
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Neighbour
from netviz.core.sim.trace import BRANCH, CERTAIN


def resolve(run: Run, action: Resolve) -> Packet:
    """Fill in the frame's MACs for a next hop on a link; ends the walk when there is none."""
    ns, packet, nexthop = run.netns(action.link.netns), action.packet, action.nexthop
    link = ns.links[action.link.ifindex]
    if link.flags & (IFF_NOARP | IFF_LOOPBACK) or link.arptype != ARPHRD_ETHER:
        return packet.but(smac=link.mac, dmac=link.mac if link.flags & IFF_LOOPBACK else b"")
    if is_multicast(nexthop) or nexthop == b"\xff" * 4:
        return packet.but(smac=link.mac, dmac=_group_mac(nexthop))
    run.check_gap(ns, "neighs", Neighbour, link, packet)
    entry = ns.neighs.get((link.ifindex, nexthop, False))
    known = (ns.key, link.ifindex, nexthop)
    overlay = gleaned_mac(run, ns, link, nexthop, entry) or run.memory.neighs.get(known)
    late = overlay is not None and known in run.memory.pending_neighs
    if late and run.choose(("late", *known), 2, None) == 1:
        overlay = None
    if overlay is not None and not (entry is not None and entry.state & NUD_PINNED):
        packet = packet.but(smac=link.mac, dmac=overlay)
        run.record(
            ns,
            link,
            packet,
            Neighbour("resolved", nexthop=nexthop, mac=overlay),
            certainty=BRANCH if late else CERTAIN,
        )
        return packet
    if entry is not None and is_usable(entry):
        state = (
            "permanent" if entry.state & NUD_PERMANENT else "noarp" if entry.state & NUD_NOARP else "learned"
        )
        packet = packet.but(smac=link.mac, dmac=entry.mac)
        run.record(ns, link, packet, Neighbour("entry", nexthop=nexthop, mac=entry.mac, state=state))
        return packet
    failed = entry is not None and bool(entry.state & NUD_FAILED)
    iif = ns.links.get(action.in_ifindex)
    return solicit(run, ns, link, nexthop, packet, failed, iif, action.routed)


def _group_mac(addr: bytes) -> bytes:
    """Map a group address to its MAC. Source: include/net/ip.h, ip_eth_mc_map (Linux 6.18)."""
    if len(addr) == 16:
        return b"\x33\x33" + addr[12:]
    if addr == b"\xff" * 4:
        return BROADCAST_MAC
    return b"\x01\x00\x5e" + bytes((addr[1] & 0x7F, addr[2], addr[3]))

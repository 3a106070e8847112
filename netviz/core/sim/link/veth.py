"""Veth pairs: a frame that one end transmits is received by the other.

Source: drivers/net/veth.c, veth_xmit; net/core/dev.c, __dev_forward_skb (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action
from netviz.core.sim.copies import Copies, Lost, Onward, Unclear
from netviz.core.sim.link import wire
from netviz.core.sim.link.follow import follow
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Transmit
from netviz.core.sim.trace import place_of
from netviz.core.state.node import NetnsState


def copies(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Copies:
    """Hand a frame to the other end, which must be up and have room for it; a veth whose other end nobody sees leads to a wire."""
    node = run.node(ns.key)
    key = LinkKey(ns.key, link.ifindex)
    peer = peer_of(node, key)
    if peer.key is None:
        if is_wire(node, key, link):
            return wire.copies(run, ns, link, packet, nexthop)
        what = Transmit("unknown", "veth peer", state=peer.state, unresolved=peer.reason)
        return (Unclear(what, link.ifname),)
    at, other_ns = peer.key, run.netns(peer.key.netns)
    other = other_ns.links[at.ifindex]
    down = Transmit("drop", "peer down", peer_ifname=other.ifname) if not other.up else None
    return (
        Onward(
            at,
            received=True,
            what=lambda: Transmit(
                "cross veth", peer=at, peer_ifname=other.ifname, where=place_of(other_ns.netns)
            ),
            scrub=True,
            room=(at, "veth"),
            lost=Lost("DEV_READY", down) if down is not None else None,
        ),
    )


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send a traced packet to the other end, or onto the wire."""
    key = LinkKey(ns.key, link.ifindex)
    node = run.node(ns.key)
    if peer_of(node, key).key is None and is_wire(node, key, link):
        return wire.xmit(run, ns, link, packet, nexthop)
    return follow(run, ns, link, packet, nexthop, copies(run, ns, link, packet, nexthop))


KIND = Kind(copies=copies, xmit=xmit)

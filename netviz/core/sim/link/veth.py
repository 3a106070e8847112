"""Veth pairs: a frame that one end transmits is received by the other."""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action, Rx
from netviz.core.sim.link import wire
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.node_index import veth_peer
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Transmit
from netviz.core.sim.trace import place_of
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Hand a frame to the veth's other end.

    Source: drivers/net/veth.c, veth_xmit; net/core/dev.c, __dev_forward_skb (Linux 6.18).
    """
    node = run.node(ns.key)
    key = LinkKey(ns.key, link.ifindex)
    peer = veth_peer(node, key)
    if peer.key is None:
        if is_wire(node, key, link):
            return wire.xmit(run, ns, link, packet, nexthop)
        run.end_unknown(
            ns, link, packet, Transmit("unknown", "veth peer", state=peer.state, unresolved=peer.reason)
        )
    other_ns, other = node.netns[peer.key.netns], node.netns[peer.key.netns].links[peer.key.ifindex]
    run.record(
        ns,
        link,
        packet,
        Transmit("cross veth", peer=peer.key, peer_ifname=other.ifname, where=place_of(other_ns.netns)),
    )
    if not other.up:
        run.end_dropped(
            ns, link, packet, "DEV_READY", Transmit("drop", "peer down", peer_ifname=other.ifname)
        )
    check_frame(run, ns, link, packet, peer.key, "veth")
    return Rx(peer.key, packet.scrubbed(peer.key.netns != ns.key))

"""Veth pairs: a frame that one end transmits is received by the other."""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.link import wire
from netviz.core.sim.link.mtu import fits, too_big
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.node_index import veth_peer
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Action, Run, Rx, place
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
        run.unknown(
            ns,
            "link_tx",
            link.ifname,
            packet,
            f"veth peer {peer.state}",
            f"The other end of {link.ifname} isn't known: {peer.reason}.",
            command=f"ip -d link show dev {link.ifname}",
        )
    other_ns, other = node.netns[peer.key.netns], node.netns[peer.key.netns].links[peer.key.ifindex]
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "cross veth",
        f"{link.ifname} is a veth; its other end is {other.ifname} in {place(other_ns)}.",
        peer=str(peer.key),
        peer_ifname=other.ifname,
        command=f"ip -d link show dev {link.ifname}",
    )
    if not other.up:
        run.drop(ns, "link_tx", link.ifname, packet, "DEV_READY", f"The other end, {other.ifname}, is down.")
    if not fits(other, packet):
        too_big(run, ns, link, packet, other, "a veth")
    return Rx(peer.key, packet.scrubbed(peer.key.netns != ns.key))

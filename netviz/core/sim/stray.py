"""A packet that leaves the known network although its destination is inside: whose address it is."""

from __future__ import annotations

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.node_index import names_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Stray
from netviz.core.sim.trace import place_of


def find_stray(run: Run, leaves: NetnsKey, packet: Packet) -> Stray | None:
    """Find the known namespace that has the address that a packet is for.

    Only people read it: that some namespace has the address doesn't change where the packet goes.
    """
    for node in run.cluster.nodes.values():
        for ns in names_of(node.netns).addrs.get(packet.dst, ()):
            return Stray(packet.dst, place_of(ns.netns), leaves.node)
    return None

"""A packet that leaves the known network although its destination is inside: whose address it is."""

from __future__ import annotations

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.link.cluster_index import having_addr
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Stray
from netviz.core.sim.trace import place_of


def find_stray(run: Run, leaves: NetnsKey, packet: Packet) -> Stray | None:
    """Find the known namespace that has the address that a packet is for.

    Only people read it: that some namespace has the address doesn't change where the packet goes.
    """
    holders = having_addr(run.cluster.nodes, packet.dst)
    return Stray(packet.dst, place_of(holders[0].netns), leaves.node) if holders else None

"""A packet that leaves the known network although its destination is inside: say so."""

from __future__ import annotations

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.node_index import names_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run, pod_name


def stray_note(run: Run, leaves: NetnsKey, packet: Packet) -> str:
    """Return a sentence that names whose address the packet is for, where a known namespace has it; else "".

    Only people read it: that some namespace has the address doesn't change where the packet goes.
    """
    for node in run.cluster.nodes.values():
        for ns in names_of(node.netns).addrs.get(packet.dst, ()):
            owner = pod_name(ns.netns) or ns.netns.name or "a namespace"
            return (
                f" But {format_ip(packet.dst)} is {owner} on {ns.key.node}: "
                f"{leaves.node} has no route that leads there."
            )
    return ""

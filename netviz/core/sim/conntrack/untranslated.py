"""An answer that nobody has translated back: where the packet it answers was translated, and why that place was missed."""

from __future__ import annotations

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.packet import Packet, invert
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Untranslated
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import place_of


def untranslated(run: Run, at: NetnsKey, packet: Packet) -> Untranslated | None:
    """Find the translation that the answer which arrives in a namespace should have gone back through."""
    answer = packet.tuple()
    for (key, _zone, known), (number, reply) in run.memory.conn_tuples.items():
        conn = run.memory.conns[number]
        if not reply or known != answer or conn.reply == invert(conn.orig) or key == at:
            continue
        place = place_of(run.netns(key).netns)
        if key not in run.rec.visited:
            return Untranslated(place, conn.orig, "other path")
        name = f"net.bridge.bridge-nf-call-ip{'6' if packet.ipv6 else ''}tables"
        bridged = not value(run.netns(key), name)
        return Untranslated(place, conn.orig, "bridged" if bridged else "", name if bridged else "")
    return None

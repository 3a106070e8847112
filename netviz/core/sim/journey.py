"""Where the packet that is followed is: its circumstances, and what a course shares with the one before."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.sim.actions import Action
from netviz.core.sim.heard import Lead
from netviz.core.sim.memory import Memory
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.trace import Path, Recorded, Recorder
from netviz.core.state.section import EMPTY


class Journey(msgspec.Struct, frozen=True, gc=False):
    """The circumstances of the packet that is followed, where it is now.

    `visited` are the states in which it was received, which detects loops; `in_ifindex` is the device by which it
    came into the host that sends it on (0: it is the host's own); `xmit_depth` counts the devices and tunnels that
    send it, each from within the other. `routed` has the flow for which what comes in by a device has been routed
    already; `resolving` are the neighbours that are being asked for: (namespace, ifindex, address). `lead` is the rest
    of the path on which a frame is led, of whose copies the one that goes there is followed; None: it isn't led.
    """

    visited: frozenset[Hashable] = frozenset()
    in_ifindex: int = 0
    xmit_depth: int = 0
    routed: Mapping[LinkKey, RouteFlow] = EMPTY
    resolving: frozenset[tuple[NetnsKey, int, bytes]] = frozenset()
    lead: Lead | None = None

    def but(self, **changes: object) -> Journey:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class Stand(msgspec.Struct, frozen=True):
    """All of a run before a move of its packet: a course that has made the same choices by then goes on from here.

    `action` is what is next, after `moves` moves of this path and `choices` choices; `recorded` is how far `rec` was.
    `forward` is the path forward, once the answer is followed.
    """

    action: Action
    moves: int
    choices: int
    memory: Memory
    journey: Journey
    rec: Recorder
    recorded: Recorded
    forward: Path | None

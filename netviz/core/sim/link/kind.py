"""What every kind of device is to the forwarding plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action
from netviz.core.sim.copies import Copies, Taken
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

Upper = tuple[LinkKey, Link]


class Kind(msgspec.Struct, frozen=True):
    """A kind of device. Where it lies over others, under others, or is their master, it says so.

    `copies` says what becomes of a frame that such a device transmits; its last argument is the address that the frame
    is meant for, b"" where nothing tells. `joins`: what becomes of a frame that comes in by one of its slaves (the device
    comes first, then the slave); None: it goes up from the slave by itself. `takes`: what devices of this kind take of a frame that comes in by the link that they
    lie over. `xmit`, `receive` and `take` are the same for the packet that is traced, where it needs more than that
    one copy is followed: hooks between, or a choice.
    """

    copies: Callable[[Run, NetnsState, Link, Packet, bytes], Copies] | None = None
    joins: Callable[[Run, NetnsState, Link, Link, Packet], Copies | None] | None = None
    takes: Callable[[Run, NetnsState, Link, Packet, Sequence[Upper]], Taken] | None = None
    xmit: Callable[[Run, NetnsState, Link, Packet, bytes], Action] | None = None
    receive: Callable[[Run, NetnsState, Link, Link, Packet], Action] | None = None
    take: Callable[[Run, NetnsState, Link, Packet, Sequence[Upper]], Action | None] | None = None

"""What a kind of device says of a frame: all copies that go on, and what becomes of each.

Kinds return them; who follows which is for the driver to decide. A trace follows one, and records the steps; a request
for a neighbour follows all, and collects who hears it (`plane/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.sim.actions import Rx, Tx
from netviz.core.sim.heard import BridgeCrossing, Tags
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import ClosedPort, DropReason, What


class Lost(msgspec.Struct, frozen=True, gc=False):
    """A copy ends here. `closed` is for people: the port where it does."""

    reason: DropReason
    what: What
    closed: ClosedPort | None = None


class Unclear(msgspec.Struct, frozen=True, gc=False):
    """What becomes of the frame here isn't modelled; `name` is what to call the device."""

    what: What
    name: str


class Onward(msgspec.Struct, frozen=True):
    """A copy goes on: `link` receives it, or transmits it (not `received`).

    `what` makes the step of it, `room` is the link whose MTU it must fit, and the kind of device that drops it else, `lost` says that it ends after that nevertheless, or that no more is known. `tags` are the frame's from there on
    (None: as they are). `scrub`: it is scrubbed on its way, as a packet that comes in anew, but for what it `keeps`; `host`: it is for that
    link's host, whatever its MAC. `crossing` is the bridge that it has crossed.
    """

    link: LinkKey
    received: bool
    what: Callable[[], What] | None = None
    tags: Tags | None = None
    scrub: bool = False
    keeps: tuple[Literal["mark", "pkttype"], ...] = ()
    host: bool = False
    crossing: BridgeCrossing | None = None
    room: tuple[LinkKey, str] | None = None
    lost: Lost | Unclear | None = None

    def action(self, packet: Packet, here: NetnsKey, nexthop: bytes) -> Rx | Tx:
        """Say what the walk is to do with the copy, which comes from namespace `here`."""
        if self.tags is not None and self.tags != packet.tags:
            packet = packet.but(tags=self.tags)
        if not self.received:
            return Tx(self.link, packet, nexthop)
        if self.scrub:
            kept = {name: getattr(packet, name) for name in self.keeps}
            packet = packet.scrubbed(self.link.netns != here)
            packet = packet.but(**kept) if kept else packet
        return Rx(self.link, packet, self.host)


class Left(msgspec.Struct, frozen=True, gc=False):
    """The frame is on a wire where others than those known may be; `known`: one of those has the address asked for."""

    known: bool = False


AnyCopy = Onward | Lost | Unclear | Left
Copies = Sequence[AnyCopy]


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What devices that stand on a link take of a frame: their copies, and whether the link's own host gets it too."""

    copies: Copies
    stays: bool = True

"""What becomes of a packet next: what the layers hand back, and the walk carries out."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.sim.packet import Packet
from netviz.core.sim.trace import Disposition


class Rx(msgspec.Struct, frozen=True, gc=False):
    """A frame arrives at a link. `host`: it is for this host, whatever its destination's MAC.

    `routed`: if the link is the loopback, it has been routed when it was sent.
    """

    link: LinkKey
    packet: Packet
    host: bool = False
    routed: bool = True


class Tx(msgspec.Struct, frozen=True, gc=False):
    """A frame is transmitted on a link.

    `nexthop` is the address that it is meant for; `forwards` counts the rules of devices that sent it on.
    """

    link: LinkKey
    packet: Packet
    nexthop: bytes
    forwards: int = 0


class Send(msgspec.Struct, frozen=True, gc=False):
    """The kernel itself sends a packet in a namespace (a tunnel's outer packet). `oif` binds its device.

    `via` is the address that it is routed to, where that isn't its destination. `sourceless`: the socket is
    bound to no address, so the route is looked up before there is a source. `own`: a socket of this namespace
    sends it.
    """

    netns: NetnsKey
    packet: Packet
    oif: int = 0
    via: bytes = b""
    sourceless: bool = False
    own: bool = True


class Up(msgspec.Struct, frozen=True, gc=False):
    """A packet goes up from a link to the network layer. `routed` is as for `Rx`."""

    link: LinkKey
    packet: Packet
    routed: bool = True


class Unwrap(msgspec.Struct, frozen=True, gc=False):
    """A tunnel's packet that came by a link is for this host: the device that it is for takes it apart."""

    link: LinkKey
    packet: Packet


class Resolve(msgspec.Struct, frozen=True):
    """A packet needs the MAC of its next hop on a link. `then` says what becomes of it; None: the link transmits it.

    `in_ifindex` is the link by which the packet came in, 0 for the host's own. The sender of a packet that was never
    `routed` isn't told of a failure: it is the route that tells (net/ipv4/arp.c, arp_error_report).
    """

    link: LinkKey
    packet: Packet
    nexthop: bytes
    in_ifindex: int = 0
    routed: bool = True
    then: Callable[[Packet], Action] | None = None


class Carried(msgspec.Struct, frozen=True):
    """A copy of a frame in a tunnel's packet to `remote`: as it is, and a small frame instead of it that asks the way."""

    remote: bytes
    whole: Send | None
    small: Send | None


class Spread(msgspec.Struct, frozen=True):
    """A tunnel device sends copies of a frame to several remotes; `then` goes on with the number of the one followed."""

    link: LinkKey
    packet: Packet
    copies: tuple[Carried, ...]
    then: Callable[[int], Action]


Action = Rx | Tx | Send | Up | Unwrap | Resolve | Spread


class Ended(Exception):
    """The packet's end. `answer` is what the place where it ended sends back, `at` that namespace.

    `sourceless`: the answer's route is looked up before it has a source; `oif`: it is sent by a socket that is
    bound to this device, or it belongs to this VRF. `back` is how the answer begins its path where no socket sends it:
    as a frame that goes out of a link or comes in by one, or as a packet that is nobody's.
    """

    def __init__(
        self,
        disposition: Disposition,
        reason: str = "",
        answer: Packet | None = None,
        at: NetnsKey | None = None,
        sourceless: bool = False,
        oif: int = 0,
        back: Action | None = None,
    ) -> None:
        super().__init__(disposition, reason)
        self.disposition = disposition
        self.reason = reason
        self.answer = answer
        self.at = at
        self.sourceless = sourceless
        self.oif = oif
        self.back = back


class Diverted(Exception):
    """A hook took the packet out of its path: what becomes of it instead."""

    def __init__(self, action: Action) -> None:
        super().__init__(action)
        self.action = action

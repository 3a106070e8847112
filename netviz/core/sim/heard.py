"""Who hears a flooded frame, as it was found out (plane/domain.py): values that a run's memory can keep."""

from __future__ import annotations

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.sim.steps import ClosedPort

Tags = tuple[tuple[int, int], ...]


class BridgeCrossing(msgspec.Struct, frozen=True, gc=False):
    """A bridge that a frame crossed in VLAN `vid`: ifindexes of the ports it came in by and went out of.

    0 stands for the bridge itself.
    """

    bridge: LinkKey
    in_ifindex: int
    out_ifindex: int
    vid: int = 0


class LinkHop(msgspec.Struct, frozen=True, gc=False):
    """A link on a frame's path, which receives it or transmits it (not `received`)."""

    received: bool
    link: LinkKey


class FramePath(msgspec.Struct, frozen=True, gc=False):
    """How a frame got somewhere: all links on its path, in order, and the bridges that it crossed; its tags there."""

    hops: tuple[LinkHop, ...] = ()
    crossings: tuple[BridgeCrossing, ...] = ()
    tags: Tags = ()


class Lead(msgspec.Struct, frozen=True, gc=False):
    """The rest of a path on which a frame is led, as it was found for a frame to `dmac`."""

    hops: tuple[LinkHop, ...]
    dmac: bytes


class Heard(msgspec.Struct, frozen=True, gc=False):
    """A link with a network layer that hears the frame."""

    link: LinkKey
    path: FramePath


class Exit(msgspec.Struct, frozen=True, gc=False):
    """A link by which the frame leaves what is known, or may."""

    link: LinkKey
    path: FramePath


class Domain(msgspec.Struct, frozen=True, gc=False):
    """Who hears. The frame leaves by the links of `left`; of these, behind `wires` nobody known has the target.

    `unreturned` hear it at a tunnel's other end, but no answer of theirs comes back.
    `opaque` names devices not modelled, `closed` says where copies end:
    at bridge ports that neither take nor pass a frame, at remotes that don't take a tunnel's packets apart.
    `reflecting` are bridge ports by which a copy comes back that went out of them, which the bridge learns from.
    """

    heard: tuple[Heard, ...] = ()
    left: tuple[Exit, ...] = ()
    wires: tuple[Exit, ...] = ()
    unreturned: tuple[Heard, ...] = ()
    opaque: tuple[str, ...] = ()
    closed: tuple[ClosedPort, ...] = ()
    reflecting: tuple[str, ...] = ()

"""The traced packet's copy: what becomes of it is recorded, and carried out by the walk."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.link import Link
from netviz.core.sim.actions import Action
from netviz.core.sim.copies import Copies, Left, Lost, Onward, Unclear
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState


def follow(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes, copies: Copies) -> Action:
    """Follow a frame's one copy from a link; ends the walk where it is lost, or what becomes of it isn't known."""
    one = copies[0]
    assert not isinstance(one, Left)
    if isinstance(one, Onward) and one.what is not None:
        run.record(ns, link, packet, one.what())
    if isinstance(one, Onward) and one.lost is None:
        if one.room is not None:
            check_frame(run, ns, link, packet, *one.room)
        return one.action(packet, ns.key, nexthop)
    end(run, ns, link, packet, one)


def end(run: Run, ns: NetnsState, link: Link, packet: Packet, one: Onward | Lost | Unclear) -> NoReturn:
    """End the walk with a copy that doesn't go on."""
    last = one.lost if isinstance(one, Onward) else one
    if isinstance(last, Unclear):
        run.end_unknown(ns, link, packet, last.what)
    assert last is not None
    run.end_dropped(ns, link, packet, last.reason, last.what)

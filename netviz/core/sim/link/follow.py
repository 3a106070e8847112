"""The copy of a frame that is followed: what becomes of it is recorded, and carried out by the walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from netviz.core.model.link import Link
from netviz.core.sim.actions import Action
from netviz.core.sim.copies import AnyCopy, Copies, Left, Lost, Onward, Unclear
from netviz.core.sim.heard import Lead, LinkHop
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.packet import Packet, is_group
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


def is_led(run: Run, packet: Packet) -> bool:
    """Tell whether a frame is led on a path; what a tunnel wraps it in isn't."""
    return run.journey.lead is not None and packet.payload is None


def arrived(run: Run, packet: Packet, hop: LinkHop) -> None:
    """Note that a frame that is led has come as far as this."""
    lead = run.journey.lead
    if lead is not None and is_led(run, packet) and hop in lead.hops:
        rest = Lead(lead.hops[lead.hops.index(hop) + 1 :], lead.dmac)
        run.journey = run.journey.but(lead=rest)


def led(run: Run, packet: Packet, copies: Sequence[AnyCopy]) -> Onward | None:
    """Return the copy that goes where the frame is led; None where it isn't, or none does.

    What is for all on a wire gets to all that stand there, also those that a request for an address leaves out.
    """
    lead = run.journey.lead
    hops = lead.hops if lead is not None and is_led(run, packet) else ()
    for hop in hops:
        for one in copies:
            if isinstance(one, Onward) and hop == LinkHop(one.received, one.link):
                return one
    if hops and hops[0].received and is_group(packet.dmac) and any(isinstance(one, Left) for one in copies):
        return Onward(hops[0].link, received=True, scrub=True)
    return None


def through_tunnel(run: Run, packet: Packet) -> Onward | None:
    """Take a led frame through a tunnel: the packet with it was sent when the path was found, if it is for the same MAC."""
    lead = run.journey.lead
    if lead is None or not lead.hops or packet.dmac != lead.dmac:
        return None
    return Onward(lead.hops[0].link, received=True, scrub=True)


def end(run: Run, ns: NetnsState, link: Link, packet: Packet, one: Onward | Lost | Unclear) -> NoReturn:
    """End the walk with a copy that doesn't go on."""
    last = one.lost if isinstance(one, Onward) else one
    if isinstance(last, Unclear):
        run.end_unknown(ns, link, packet, last.what)
    assert last is not None
    run.end_dropped(ns, link, packet, last.reason, last.what)

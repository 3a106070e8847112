"""The path of a reply to its requester, and what the exchange leaves behind: entries, and what bridges and tunnels learn.

Source: net/bridge/br_input.c, br_handle_frame_finish; net/core/neighbour.c, neigh_event_ns;
drivers/net/vxlan/vxlan_core.c, vxlan_snoop (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_PINNED
from netviz.core.model.link import Link
from netviz.core.sim.heard import BridgeCrossing, Heard
from netviz.core.sim.link.bridge import (
    learn,
)
from netviz.core.sim.neighbour.responder import Responder
from netviz.core.sim.packet import Packet, is_group
from netviz.core.sim.plane.domain import by_tunnel, hearers
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Neighbour
from netviz.core.state.node import NetnsState


def heard_back(
    run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes, answer: Responder
) -> Heard | None:
    """Find how the requester hears a reply where no rules are, if it does; ends the walk where that isn't known."""
    own = LinkKey(ns.key, link.ifindex)

    def sent() -> tuple[Heard | None, bool]:
        for crossing in answer.heard.path.crossings:
            learn_macs(run, crossing, link.mac, b"")  # by the request
        heard, unclear = hearers(run, answer.heard.link, link.mac, answer.mac, len(nexthop) == 16)
        locked = (one.what for one in unclear)
        back = next((one for one in heard if one.link == own), None)
        return back, any(isinstance(what, Bridge) and what.cause == "locked entry" for what in locked)

    back, locked = run.suppose(sent)
    if locked:
        run.end_unknown(ns, link, packet, Neighbour("unknown", "locked port", nexthop=nexthop))
    return back


def learn_requester(run: Run, link: Link, sender: bytes, answer: Responder) -> None:
    """Keep the entry that a question leaves behind where it is answered."""
    other = answer.heard.link
    known = run.netns(other.netns).neighs.get((other.ifindex, sender, False))
    if known is None or not known.state & NUD_PINNED:
        run.memory = run.memory.with_neigh((other.netns, other.ifindex, sender), link.mac)


def carry_reply(run: Run, answer: Responder, requester: bytes, ipv6: bool) -> None:
    """Send an answer back: where it goes through tunnels, their other ends learn where it comes from."""
    if by_tunnel(run, answer.heard):
        hearers(run, answer.heard.link, requester, answer.mac, ipv6)


def learn_macs(run: Run, crossing: BridgeCrossing, requester: bytes, responder: bytes) -> None:
    """Let a bridge that a question and its answer cross learn where both come from."""
    ns = run.netns(crossing.bridge.netns)
    bridge = ns.links[crossing.bridge.ifindex]
    for ifindex, mac in ((crossing.in_ifindex, requester), (crossing.out_ifindex, responder)):
        port = ns.links.get(ifindex)
        if port is not None and port.master == bridge.ifindex and not is_group(mac):
            learn(run, ns, bridge, port, mac, crossing.vid)

"""Steps that no source shows by themselves, but what follows does: the next frame bears what they made of the packet.

    route, neigh      the frame that goes out next does so by their device, to their next hop's MAC (a route whose lookup was
                      seen is shown by that)
    forward, ttl      it has the TTL that is left; nat: it has the translated addresses
    bridge, vrf       it is seen at the port, or at the device, that was chosen
    mtu, rp_filter    the packet goes on
    decap             the inner packet is seen to go on
    origin            the sender's collector sent the probe; an answer is seen to begin
    local_in, socket  (and the route there) the answer that is seen, or what the sender was told

They are as certain as that frame is, and say nothing against a prediction: where the frame isn't there, or is otherwise,
that is where the difference is. So a step here is either shown or can't be seen.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from netviz.core.sim.steps import (
    Bridge,
    Decap,
    Forward,
    LocalDelivery,
    Mtu,
    Nat,
    Neighbour,
    Origin,
    PolicyRule,
    Receive,
    RouteLookup,
    RpFilter,
    SocketLookup,
    Transmit,
    Ttl,
)
from netviz.core.sim.trace import Path, Step

NEXT_FRAME, ANSWER, TOLD, SENT = (
    "the next frame",
    "the answer",
    "what the sender was told",
    "the sender's collector",
)
_GOES_ON = (Bridge, Decap, Forward, Mtu, Nat, PolicyRule, Receive, RpFilter, Transmit, Ttl)
_TO_NEXT_HOP = (RouteLookup, Neighbour)
_TAKEN = (LocalDelivery, RouteLookup, SocketLookup)
_NEVER = ("drop", "reject", "unknown", "not known", "ignore")


def implied(path: Path, crossed: AbstractSet[int], agreed: AbstractSet[int], end: str) -> dict[int, str]:
    """Map the steps that are shown so to what shows them. By their numbers, `crossed` are the devices' steps that packet
    sockets show, `agreed` those that were seen as predicted. `end` is what shows that the packet was taken at the end of the
    path; "" for nothing.
    """
    found: dict[int, str] = {}
    following: Step | None = None
    hop_of_following = -1
    steps = [(number, step) for number, hop in enumerate(path.hops) for step in hop.steps]
    for number, step in reversed(steps):
        if step.seq in crossed:
            following, hop_of_following = step, number
        elif following is None:
            if isinstance(step.what, _TAKEN) and end and step.action not in _NEVER:
                found[step.seq] = end
        elif following.seq in agreed and _is_shown_by(step, following, number == hop_of_following):
            found[step.seq] = NEXT_FRAME
    return found


def _is_shown_by(step: Step, following: Step, is_in_hop: bool) -> bool:
    what = step.what
    if what.action in _NEVER or what.action.startswith("assume"):
        return False
    if isinstance(what, _TO_NEXT_HOP) and what.action != "local":
        return is_in_hop and not isinstance(following.what, Receive)
    return isinstance(what, (*_GOES_ON, *_TAKEN, Origin))

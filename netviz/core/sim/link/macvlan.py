"""Macvlans: several MACs on one lower device, in the modes private, vepa, bridge, passthru and source.

    a (bridge) --> b (bridge) over the same device: by way of that device's receive path
    a (other)  --> lower device's wire; b gets what comes in there for its MAC
    lower device's own stack --> its wire only

A macvlan over a macvlan stands on the latter's lower device: the kernel says so in IFLA_LINK.

Source: drivers/net/macvlan.c, macvlan_queue_xmit, macvlan_handle_frame, macvlan_forward_source,
macvlan_process_broadcast (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import (
    MACVLAN_BRIDGE,
    MACVLAN_FLAG_NODST,
    MACVLAN_PASSTHRU,
    MACVLAN_PRIVATE,
    MACVLAN_SOURCE,
    MACVLAN_VEPA,
    Link,
    MacvlanInfo,
)
from netviz.core.sim.actions import Action
from netviz.core.sim.copies import Copies, Lost, Onward, Taken, Unclear
from netviz.core.sim.link.follow import follow
from netviz.core.sim.link.kind import Kind, Upper
from netviz.core.sim.node_index import resolve_lower_of, uppers_of
from netviz.core.sim.packet import Packet, is_group
from netviz.core.sim.route.decision import worth_to
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Opaque, Receive, Transmit
from netviz.core.sim.trace import CERTAIN, place_of
from netviz.core.state.node import NetnsState


def mode_of(link: Link) -> int:
    """Return a macvlan's mode, 0 for other devices."""
    return link.info.mode if isinstance(link.info, MacvlanInfo) else 0


def takes_any_mac(link: Link) -> bool:
    """Tell whether a link takes frames for any MAC: a macvlan in mode passthru."""
    return mode_of(link) == MACVLAN_PASSTHRU


def listed(link: Link, smac: bytes) -> bool:
    """Tell whether a macvlan in source mode takes frames from a MAC."""
    return (
        isinstance(link.info, MacvlanInfo) and link.info.mode == MACVLAN_SOURCE and smac in link.info.sources
    )


def keeps(link: Link, smac: bytes) -> bool:
    """Tell whether nobody else gets a frame from a MAC that a macvlan in source mode takes, be it up or down.

    Source: drivers/net/macvlan.c, macvlan_forward_source (MACVLAN_FLAG_NODST) (Linux 6.18).
    """
    return (
        listed(link, smac)
        and isinstance(link.info, MacvlanInfo)
        and bool(link.info.flags & MACVLAN_FLAG_NODST)
    )


def copies(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Copies:
    """Send from a macvlan: to siblings in bridge mode, else out of the lower device; a broadcast goes both ways.

    To the one sibling that a frame is for it goes by way of the lower device, which must be up and have the MTU for it.

    Source: drivers/net/macvlan.c, macvlan_queue_xmit (Linux 6.18).
    """
    node, key = run.node(ns.key), LinkKey(ns.key, link.ifindex)
    lower = resolve_lower_of(node, key)
    if lower is None:
        return (Unclear(Transmit("unknown", "lower device"), link.ifname),)
    below = node.netns[lower.netns].links[lower.ifindex]
    group = is_group(packet.dmac)
    found: list[Onward] = []
    for upper in uppers_of(node.netns).get(lower, ()) if mode_of(link) == MACVLAN_BRIDGE else ():
        other = run.link(upper)
        if upper == key or other is None or mode_of(other) != MACVLAN_BRIDGE:
            continue
        if group:
            found.append(Onward(upper, received=True, scrub=True))
        elif other.up and other.mac == packet.dmac:
            step = partial(_to_sibling, run, below.ifname, upper, other)
            return (Onward(lower, received=True, what=step, scrub=True, room=(lower, "macvlan")),)
    out = Onward(
        lower,
        received=False,
        what=lambda: Transmit("to lower", "macvlan", lower=below.ifname, peer=lower),
    )
    return (*found, out)


def _to_sibling(run: Run, lower: str, upper: LinkKey, other: Link) -> Transmit:
    where = place_of(run.netns(upper.netns).netns)
    return Transmit("to sibling", "macvlan", lower=lower, peer=upper, peer_ifname=other.ifname, where=where)


def takes(_run: Run, _ns: NetnsState, link: Link, packet: Packet, uppers: Sequence[Upper]) -> Taken:
    """Say which macvlans over a link get a frame that comes in there, and whether the link's own host does.

    Those in source mode get copies of what comes from the MACs in their lists. Of the others a broadcast goes to those
    whose mode lets them hear who sent it, a unicast frame to the one in passthru or to the one with its MAC; one that is
    down isn't in the table of MACs.

    Source: drivers/net/macvlan.c, macvlan_handle_frame, macvlan_forward_source, macvlan_process_broadcast (Linux 6.18).
    """
    smac, group = packet.smac, is_group(packet.dmac)
    if group and _sender_mode(uppers, smac) not in (0, MACVLAN_VEPA, MACVLAN_BRIDGE):
        return Taken((), stays=False)  # a macvlan's own question came back to it: nobody else gets it
    listing = [one for one in uppers if one[1].up and listed(one[1], smac)]
    sources = [_up(upper, other, copied=packet.dmac != other.mac) for upper, other in listing]
    if any(keeps(other, smac) for _, other in uppers):
        return Taken(sources, stays=False)
    if group:
        return Taken((*sources, *_hearing(uppers, smac)))
    taker = _taker(uppers, packet.dmac)
    if taker is None or not (taker[1].up or mode_of(taker[1]) == MACVLAN_PASSTHRU):
        return Taken(sources)
    return Taken((*sources, _up(*taker)), stays=False)


def _sender_mode(uppers: Sequence[Upper], smac: bytes) -> int:
    """Return the mode of the macvlan that sent a frame; 0: none of these did."""
    return next((mode for _, other in uppers if other.mac == smac and (mode := mode_of(other))), 0)


def _hearing(uppers: Sequence[Upper], smac: bytes) -> list[Onward | Unclear]:
    """List the macvlans that hear a broadcast by their mode, but for those in source mode."""
    modes: tuple[int, ...] = (MACVLAN_PRIVATE, MACVLAN_VEPA, MACVLAN_BRIDGE, MACVLAN_PASSTHRU)
    own = _sender_mode(uppers, smac)
    if own:
        modes = (MACVLAN_VEPA, MACVLAN_BRIDGE) if own == MACVLAN_VEPA else (MACVLAN_VEPA,)
    return [
        _up(upper, other)
        for upper, other in uppers
        if other.kind == "macvtap" or (mode_of(other) in modes and other.mac != smac)
    ]


def _taker(uppers: Sequence[Upper], dmac: bytes) -> Upper | None:
    """Find the one that a unicast frame is for."""
    passthru = next((pair for pair in uppers if mode_of(pair[1]) == MACVLAN_PASSTHRU), None)
    if passthru is not None:
        return passthru
    return next((pair for pair in uppers if pair[1].mac == dmac and mode_of(pair[1]) != MACVLAN_SOURCE), None)


def _up(upper: LinkKey, other: Link, copied: bool = False) -> Onward | Unclear:
    """Hand a frame up to a macvlan. A copy for one in mode source stays whose it was.

    Source: drivers/net/macvlan.c, macvlan_forward_source_one (Linux 6.18).
    """
    if other.kind == "macvtap":
        return Unclear(Opaque("unknown", "macvtap", upper=other.ifname), f"{other.ifname} (macvtap)")
    down = Lost("NOT_SPECIFIED", Receive("drop", "passthru down", upper=other.ifname))
    return Onward(
        upper,
        received=True,
        what=lambda: Receive("to macvlan", upper=other.ifname, peer=upper),
        scrub=True,
        keeps=("pkttype",) if copied else (),
        host=True,
        lost=None if other.up else down,
    )


def take(run: Run, ns: NetnsState, link: Link, packet: Packet, uppers: Sequence[Upper]) -> Action | None:
    """Follow the frame that is traced, or one of its copies, from the lower device; None: it stays with that."""
    copied = [(upper, other) for upper, other in uppers if other.up and listed(other, packet.smac)]
    taken = takes(run, ns, link, packet, uppers)
    rest = taken.copies[len(copied) :]
    followed = _followed_copy(run, ns, link, packet, copied, not (taken.stays or rest)) if copied else None
    if followed is not None:
        return follow(run, ns, link, packet, b"", (_up(*followed, copied=packet.dmac != followed[1].mac),))
    if rest and not taken.stays:
        one = rest[0]
        if isinstance(one, Onward) and one.lost is not None:
            one = one.lost
        return follow(run, ns, link, packet, b"", (one,))
    if not taken.stays:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Receive("drop", "macvlan keeps"))
    return None


def _followed_copy(
    run: Run, ns: NetnsState, link: Link, packet: Packet, copied: list[tuple[LinkKey, Link]], kept: bool
) -> tuple[LinkKey, Link] | None:
    """Choose among the frame and its copies for macvlans in source mode; None: the frame itself is followed.

    `kept`: there is no frame but the copies.
    A copy is for its taker's host if it has that one's MAC, or if the frame is the lower device's: the copy
    keeps what the kernel found out about the frame. Of several that are, those are followed whose host has
    the destination's address, else those whose host forwards.

    Source: drivers/net/macvlan.c, macvlan_forward_source_one; net/ethernet/eth.c, eth_type_trans (Linux 6.18).
    """
    mine = packet.dmac == link.mac
    takers: list[tuple[LinkKey, Link] | None] = [one for one in copied if mine or one[1].mac == packet.dmac]
    if mine and not kept:
        takers.insert(0, None)
    own = LinkKey(ns.key, link.ifindex)
    worth = [worth_to(run, one[0] if one is not None else own, packet) for one in takers]
    takers = [one for one, rank in zip(takers, worth, strict=True) if rank == max(worth)]
    chosen, certainty = run.pick(("macvlan copies", own, packet.smac), takers) if takers else (None, CERTAIN)
    at = [upper for upper, _ in copied]
    if mine and chosen is not None:
        at.append(own)  # what the lower device does with the frame itself is no part of the copy's path
    run.record(
        ns,
        link,
        packet,
        Bridge("copy", takers=tuple(other.ifname for _, other in copied)),
        certainty=certainty,
        copies=tuple(Copy(key) for key in at),
    )
    return chosen


def hears_late(run: Run, key: LinkKey) -> bool:
    """Tell whether a link hears broadcasts only when a kernel worker gets to them.

    Source: drivers/net/macvlan.c, macvlan_broadcast_enqueue (Linux 6.18).
    """
    link = run.link(key)
    return link is not None and mode_of(link) != 0


KIND = Kind(copies=copies, takes=takes, take=take)
TAP = Kind(takes=takes, take=take)

"""Macvlans: several MACs on one lower device, in the modes private, vepa, bridge, passthru and source.

    a (bridge) --> b (bridge) over the same device: by way of that device's receive path
    a (other)  --> lower device's wire; b gets what comes in there for its MAC
    lower device's own stack --> its wire only

A macvlan over a macvlan stands on the latter's lower device: the kernel says so in IFLA_LINK.

Source: drivers/net/macvlan.c, macvlan_queue_xmit, macvlan_handle_frame, macvlan_forward_source,
macvlan_process_broadcast (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterable

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import (
    MACVLAN_BRIDGE,
    MACVLAN_FLAG_NODST,
    MACVLAN_PASSTHRU,
    MACVLAN_SOURCE,
    Link,
    MacvlanInfo,
)
from netviz.core.sim.actions import Action, Rx, Tx
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.node_index import resolve_lower_of, uppers_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.decision import worth_to
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Opaque, Receive, Transmit
from netviz.core.sim.trace import BRANCH, CERTAIN, place_of
from netviz.core.state.node import NetnsState


def mode_of(link: Link) -> int:
    """Return a macvlan's mode, 0 for other devices."""
    return link.info.mode if isinstance(link.info, MacvlanInfo) else 0


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


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send from a macvlan: to a sibling in bridge mode, else out of the lower device."""
    node = run.node(ns.key)
    key = LinkKey(ns.key, link.ifindex)
    lower = resolve_lower_of(node, key)
    if lower is None:
        run.end_unknown(ns, link, packet, Transmit("unknown", "lower device"))
    lower_link = node.netns[lower.netns].links[lower.ifindex]
    if mode_of(link) == MACVLAN_BRIDGE:
        for upper in uppers_of(node.netns).get(lower, ()):
            other = run.link(upper)
            if (
                other is not None
                and other.up
                and other.mac == packet.dmac
                and mode_of(other) == MACVLAN_BRIDGE
            ):
                return _to_sibling(run, ns, link, packet, lower, lower_link, upper, other)
    run.record(ns, link, packet, Transmit("to lower", "macvlan", lower=lower_link.ifname, peer=lower))
    return Tx(lower, packet, nexthop)


def _to_sibling(
    run: Run,
    ns: NetnsState,
    link: Link,
    packet: Packet,
    lower: LinkKey,
    lower_link: Link,
    upper: LinkKey,
    other: Link,
) -> Action:
    """Send to a sibling by way of the lower device, which must be up and have the MTU for it (dev_forward_skb)."""
    run.record(
        ns,
        link,
        packet,
        Transmit(
            "to sibling",
            "macvlan",
            lower=lower_link.ifname,
            peer=upper,
            peer_ifname=other.ifname,
            where=place_of(run.netns(upper.netns).netns),
        ),
    )
    check_frame(run, ns, link, packet, lower, "macvlan")
    return Rx(lower, packet.scrubbed(lower.netns != ns.key))


def take(run: Run, ns: NetnsState, link: Link, packet: Packet, uppers: list[LinkKey]) -> Action | None:
    """Find the macvlan that takes a unicast frame from its lower device; None: it stays with that.

    Macvlans in source mode get copies: see `_followed_copy`.
    """
    links = [(upper, other) for upper in uppers if (other := run.link(upper)) is not None]
    copied = [(upper, other) for upper, other in links if other.up and listed(other, packet.smac)]
    kept = any(keeps(other, packet.smac) for _, other in links)
    followed = _followed_copy(run, ns, link, packet, copied, kept) if copied else None
    if followed is not None:
        return _up(run, ns, link, packet, *followed)
    if kept:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Receive("drop", "macvlan keeps"))
    passthru = [pair for pair in links if mode_of(pair[1]) == MACVLAN_PASSTHRU]
    for upper, other in passthru or links:
        if passthru or (other.mac == packet.dmac and mode_of(other) != MACVLAN_SOURCE):
            if not other.up:
                if passthru:
                    run.end_dropped(
                        ns,
                        link,
                        packet,
                        "NOT_SPECIFIED",
                        Receive("drop", "passthru down", upper=other.ifname),
                    )
                return None  # a macvlan that is down isn't in the table of MACs
            return _up(run, ns, link, packet, upper, other)
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
    picked = run.choose(("macvlan copies", own, packet.smac), len(takers), None) if len(takers) > 1 else 0
    at = [upper for upper, _ in copied]
    chosen = takers[picked] if takers else None
    if mine and chosen is not None:
        at.append(own)  # what the lower device does with the frame itself is no part of the copy's path
    run.record(
        ns,
        link,
        packet,
        Bridge("copy", takers=tuple(other.ifname for _, other in copied)),
        certainty=BRANCH if len(takers) > 1 else CERTAIN,
        copies=tuple(Copy(key) for key in at),
    )
    return chosen


def _up(run: Run, ns: NetnsState, link: Link, packet: Packet, upper: LinkKey, other: Link) -> Action:
    if other.kind == "macvtap":
        run.end_unknown(ns, link, packet, Opaque("unknown", "macvtap", upper=other.ifname))
    run.record(ns, link, packet, Receive("to macvlan", upper=other.ifname, peer=upper))
    return Rx(upper, packet.scrubbed(upper.netns != ns.key), host=True)


def takes_for_itself(run: Run, lower: LinkKey, dmac: bytes) -> bool:
    """Tell whether a macvlan over a device takes the frames that come in there for a MAC."""
    above = _up_links(run, uppers_of(run.node(lower.netns).netns).get(lower, ()))
    return any(mode_of(link) not in (0, MACVLAN_SOURCE) and link.mac == dmac for link in above)


def hears_late(run: Run, key: LinkKey) -> bool:
    """Tell whether a link hears broadcasts only when a kernel worker gets to them.

    Source: drivers/net/macvlan.c, macvlan_broadcast_enqueue (Linux 6.18).
    """
    link = run.link(key)
    return link is not None and mode_of(link) != 0


def hears_answer(run: Run, key: LinkKey, smac: bytes) -> bool:
    """Tell whether a frame from a MAC, for the link's own, comes to the link and not to a macvlan over it alone."""
    link = run.link(key)
    if link is not None and mode_of(link) == MACVLAN_SOURCE:
        return listed(link, smac)  # everyone whose list has the MAC gets a copy
    node = run.node(key.netns)
    lower = resolve_lower_of(node, key) if link is not None and mode_of(link) else None
    beside, above = (uppers_of(node.netns).get(at, ()) if at is not None else () for at in (lower, key))
    if any(mode_of(other) == MACVLAN_PASSTHRU for other in _up_links(run, above)):
        return False
    keepers = (run.link(key) for key in (*above, *beside))
    return not any(keeps(other, smac) for other in keepers if other is not None and other is not link)


def _up_links(run: Run, keys: Iterable[LinkKey]) -> list[Link]:
    return [link for key in keys if (link := run.link(key)) is not None and link.up]

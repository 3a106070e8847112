"""IPvlans: several namespaces on one lower device and one MAC, told apart by address.

    l2    siblings by address, else out of the lower device; ARP and NDP are asked and answered as on a wire
    l3    siblings by address, else the lower device's namespace routes the packet, by that device alone
    l3s   as l3, but what comes in passes PREROUTING and INPUT of the lower device's namespace

All links of one lower device share mode and flags: in private mode siblings don't reach each other, in
vepa mode only by way of the switch outside.

Source: drivers/net/ipvlan/ipvlan_core.c, ipvlan_xmit_mode_l2, ipvlan_xmit_mode_l3, ipvlan_rcv_frame,
ipvlan_process_v4_outbound, ipvlan_handle_frame; ipvlan_l3s.c, ipvlan_l3_rcv, ipvlan_nf_input (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Sequence

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IpvlanInfo, Link
from netviz.core.sim.actions import Action, Rx, Send, Tx
from netviz.core.sim.copies import Copies, Onward, Taken, Unclear
from netviz.core.sim.link.kind import Kind, Upper
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.node_index import resolve_lower_of, uppers_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.saddr import owned_addrs
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Receive, Transmit
from netviz.core.sim.trace import place_of
from netviz.core.state.node import NetnsState

L2, L3, L3S = 0, 1, 2
PRIVATE, VEPA = 1, 2


def mode_of(link: Link) -> int:
    """Return an ipvlan's mode; -1 for other devices."""
    return link.info.mode if isinstance(link.info, IpvlanInfo) else -1


def flags_of(link: Link) -> int:
    """Return an ipvlan's flags, 0 for other devices."""
    return link.info.flags if isinstance(link.info, IpvlanInfo) else 0


def owner(run: Run, uppers: list[LinkKey], addr: bytes) -> LinkKey | None:
    """Find the ipvlan that has an address: those that are up are in the table (ipvlan_addr_lookup)."""
    for upper in uppers:
        link = run.link(upper)
        if link is None or not link.up or link.kind not in ("ipvlan", "ipvtap"):
            continue
        if any(found.ifindex == upper.ifindex for found in owned_addrs(run.netns(upper.netns), addr)):
            return upper
    return None


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send from an ipvlan."""
    node = run.node(ns.key)
    lower = resolve_lower_of(node, LinkKey(ns.key, link.ifindex))
    if lower is None or mode_of(link) < 0:
        run.end_unknown(ns, link, packet, Transmit("unknown", "ipvlan lower device"))
    lower_link = node.netns[lower.netns].links[lower.ifindex]
    l2 = mode_of(link) == L2
    if not flags_of(link) & VEPA and (not l2 or packet.dmac == packet.smac):
        sibling = owner(run, uppers_of(node.netns).get(lower, []), packet.dst)
        if sibling is not None:
            return _to_sibling(run, ns, link, packet, sibling)
        if l2:
            run.record(ns, link, packet, Transmit("to master", lower=lower_link.ifname, peer=lower))
            return Rx(lower, packet.scrubbed(lower.netns != ns.key))
    if l2:
        run.record(ns, link, packet, Transmit("to lower", "ipvlan", lower=lower_link.ifname, peer=lower))
        return Tx(lower, packet, nexthop)
    packet = packet.scrubbed(lower.netns != ns.key).but(smac=b"", dmac=b"")
    run.record(
        ns,
        link,
        packet,
        Transmit(
            "to the master's routing",
            lower=lower_link.ifname,
            peer=lower,
            where=place_of(node.netns[lower.netns].netns),
        ),
    )
    return Send(lower.netns, packet, lower.ifindex)


def _to_sibling(run: Run, ns: NetnsState, link: Link, packet: Packet, sibling: LinkKey) -> Action:
    other = run.netns(sibling.netns).links[sibling.ifindex]
    if flags_of(link) & PRIVATE:
        run.end_dropped(
            ns, link, packet, "CONSUMED", Transmit("drop", "private ipvlans", peer_ifname=other.ifname)
        )
    run.record(
        ns,
        link,
        packet,
        Transmit(
            "to sibling",
            "ipvlan",
            peer=sibling,
            peer_ifname=other.ifname,
            where=place_of(run.netns(sibling.netns).netns),
        ),
    )
    check_frame(run, ns, link, packet, sibling, "ipvlan")
    return Rx(sibling, packet.scrubbed(sibling.netns != ns.key), host=True)


def copies(run: Run, ns: NetnsState, link: Link, _packet: Packet, _nexthop: bytes) -> Copies:
    """Say who gets a broadcast, or a frame whose owner isn't asked for by address: siblings, and the wire below."""
    node, key = run.node(ns.key), LinkKey(ns.key, link.ifindex)
    lower = resolve_lower_of(node, key)
    if lower is None:
        return (Unclear(Transmit("unknown", "ipvlan lower device"), link.ifname),)
    siblings = []
    if mode_of(link) == L2 and not flags_of(link):
        above = [(upper, run.link(upper)) for upper in uppers_of(node.netns).get(lower, ()) if upper != key]
        siblings = [upper for upper, other in above if other is not None and mode_of(other) == L2]
    return (
        *(Onward(upper, received=True, scrub=True) for upper in siblings),
        Onward(lower, received=False),
    )


def takes(_run: Run, ns: NetnsState, link: Link, packet: Packet, uppers: Sequence[Upper]) -> Taken:
    """Give a broadcast from outside to every ipvlan of mode l2 (ipvlan_handle_mode_l2, ipvlan_multicast_enqueue)."""
    copied: list[Onward | Unclear] = []
    for upper, other in uppers:
        if other.kind == "ipvtap":
            copied.append(
                Unclear(Opaque("unknown", "ipvtap", upper=other.ifname), f"{other.ifname} (ipvtap)")
            )
        elif mode_of(other) == L2 and link.mac != packet.smac:
            copied.append(Onward(upper, received=True))
    return Taken(copied)


def take(run: Run, ns: NetnsState, link: Link, packet: Packet, uppers: Sequence[Upper]) -> Action | None:
    """Find the ipvlan that takes a packet from its lower device; None: it stays with that, or is taken later (l3s)."""
    found = owner(run, [upper for upper, _ in uppers], packet.dst)
    other = run.link(found) if found is not None else None
    if found is None or other is None or mode_of(other) == L3S:
        return None
    if other.kind == "ipvtap":
        run.end_unknown(ns, link, packet, Opaque("unknown", "ipvtap", upper=other.ifname))
    run.record(ns, link, packet, Receive("to ipvlan", upper=other.ifname, peer=found))
    return Rx(found, packet, host=packet.dmac == link.mac)


def l3s_owner(run: Run, ns: NetnsState, link: Link, dst: bytes) -> LinkKey | None:
    """Find the ipvlan in mode l3s over a link that has an address."""
    uppers = uppers_of(run.node(ns.key).netns).get(LinkKey(ns.key, link.ifindex), [])
    found = owner(run, uppers, dst) if uppers else None
    other = run.link(found) if found is not None else None
    return found if other is not None and mode_of(other) == L3S else None


KIND = Kind(copies=copies, xmit=xmit, takes=takes, take=take)
TAP = Kind(takes=takes, take=take)

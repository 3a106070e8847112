"""The wire between nodes: a frame on it reaches the links that a switch would send it to, and maybe unknown ones.

The switch learns from a frame where its source is before it looks up the destination, as a bridge does, and sends no frame
back by the port that it came from: one to the MAC that it comes from reaches nobody.

Source: net/bridge/br_input.c, br_handle_frame_finish; br_forward.c, should_deliver (Linux 6.18).
"""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action, Ended, Rx
from netviz.core.sim.copies import Copies, Left, Lost, Onward
from netviz.core.sim.link.edge import at_edge
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.link.underlay import Member, holders_of_mac, may_own, owners, promiscuous, proxies
from netviz.core.sim.link.underlay_members import members_of
from netviz.core.sim.node_index import peer_not_collected
from netviz.core.sim.packet import Packet, is_group
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Receive, Transmit
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState


def receivers(run: Run, key: LinkKey, packet: Packet, nexthop: bytes) -> list[Member]:
    """List who gets a unicast frame: who has its MAC; else a switch floods it, and who takes any MAC gets it.

    Several that share a wire and a MAC (ipvlans) are one here. Of those that take any MAC the one with the next hop's
    address comes first, and without it none is listed.
    """
    nodes = run.cluster.nodes
    by_mac = list({m.wire: m for m in holders_of_mac(nodes, key, packet.dmac, packet.tags)}.values())
    if by_mac or not nexthop:
        return by_mac
    by_addr = owners(nodes, key, nexthop, packet.tags)
    if not by_addr or not by_addr[0].promiscuous:
        return []
    others = (one for one in promiscuous(nodes, key, packet.tags) if one.inet != by_addr[0].inet)
    return [by_addr[0], *others]


def copies(run: Run, ns: NetnsState, link: Link, packet: Packet, target: bytes) -> Copies:
    """Say who gets a frame. Of the many that get a broadcast, those are listed that could answer for `target`."""
    key = LinkKey(ns.key, link.ifindex)
    nodes, tags = run.cluster.nodes, packet.tags
    if packet.smac == packet.dmac:
        return (Lost("NOT_SPECIFIED", _sent_back(run, key, packet)),)
    if not is_group(packet.dmac):
        found, known = receivers(run, key, packet, target), False
    else:
        found = owners(nodes, key, target, tags)
        known = bool(found)
        if len(target) == 4:
            found = may_own(nodes, key, target, tags)
            found += [member for member in proxies(nodes, key, tags) if member not in found]
    return (*(Onward(member.wire, received=True, scrub=True) for member in found), Left(known))


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Put a frame on the wire between nodes: the link with its MAC takes it, or nobody known does."""
    key = LinkKey(ns.key, link.ifindex)
    nodes = run.cluster.nodes
    found = receivers(run, key, packet, nexthop)
    if found and found[0].mac == packet.dmac:
        _check_sent_back(run, ns, link, packet)
        return _arrive(run, ns, link, packet, found)
    if found:
        return _arrive(run, ns, link, packet, found[:1], tuple(Copy(one.inet) for one in found[1:]))
    by_addr = owners(nodes, key, nexthop, packet.tags)
    if by_addr:
        _not_taken(run, ns, link, packet, by_addr[0])
    node = run.node(ns.key)
    if link.kind == "veth" and not ns.netns.root and not peer_not_collected(node, key):
        run.end_unknown(ns, link, packet, Transmit("unknown", "far end"))
    stray, edge = at_edge(run, ns, link, packet)
    run.record(ns, link, packet, Transmit("leave", stray=stray, edge=edge))
    raise Ended(Disposition.LEFT_NETWORK, link.ifname)


def _copies(run: Run, key: LinkKey, packet: Packet, followed: Member) -> tuple[Copy, ...]:
    """Name the links beside the followed one that get a frame for a MAC that no switch knows."""
    others = promiscuous(run.cluster.nodes, key, packet.tags)
    return tuple(Copy(one.inet) for one in others if one.inet != followed.inet)


def _check_sent_back(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """Drop a frame to the MAC that it comes from: the switch has just learned by which port that is.

    Where another link behind the same port has the destination's MAC, the switch may have it there or elsewhere.
    """
    key = LinkKey(ns.key, link.ifindex)
    own = members_of(run.node(ns.key).netns).by_wire.get(key, ())
    if not any(one.mac == packet.dmac for one in own):
        return
    if packet.smac != packet.dmac and run.choose(("sent back", ns.key, packet.dmac), 2, None) == 0:
        return
    what = _sent_back(run, key, packet)
    run.record(
        ns, link, packet, Transmit("cross wire", "to shared MAC", sent_to=packet.dmac, shared=what.shared)
    )
    run.end_dropped(ns, link, packet, "NOT_SPECIFIED", what)


def _sent_back(run: Run, key: LinkKey, packet: Packet) -> Bridge:
    return Bridge("drop", "sent back", sent_to=packet.dmac, shared=_sharing(run, key, packet))


def _sharing(run: Run, key: LinkKey, packet: Packet) -> tuple[LinkKey, ...]:
    """List the links that have a frame's destination MAC, the sender's own included, if they are more than one."""
    own = members_of(run.node(key.netns).netns).by_wire.get(key, ())
    others = holders_of_mac(run.cluster.nodes, key, packet.dmac, packet.tags)
    found = {one.wire: None for one in (*own, *others) if one.mac == packet.dmac}
    return tuple(found) if len(found) > 1 else ()


def _not_taken(run: Run, ns: NetnsState, link: Link, packet: Packet, member: Member) -> NoReturn:
    """Send a frame to a MAC that nobody has: who has the next hop's address hears it at most, and drops it."""
    copies = _copies(run, LinkKey(ns.key, link.ifindex), packet, member)
    run.record(ns, link, packet, Transmit("cross wire", "to nobody", sent_to=packet.dmac), copies=copies)
    own = members_of(run.node(ns.key).netns).by_wire.get(LinkKey(ns.key, link.ifindex), ())
    if any(one.mac == packet.dmac for one in own):
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Bridge("drop", "sent back", sent_to=packet.dmac))
    far_ns = run.netns(member.wire.netns)
    far = far_ns.links[member.wire.ifindex]
    packet = packet.scrubbed(True)
    run.end_dropped(
        far_ns,
        far,
        packet,
        "OTHERHOST",
        Receive("drop", "another MAC", expected=member.mac, sent_to=packet.dmac),
    )


def _arrive(
    run: Run, ns: NetnsState, link: Link, packet: Packet, members: list[Member], copies: tuple[Copy, ...] = ()
) -> Action:
    member, certainty = run.pick(("wire", link.ifname, ns.key, packet.dmac), members)
    run.record(
        ns,
        link,
        packet,
        Transmit(
            "cross wire",
            peer=member.wire,
            shared=_sharing(run, LinkKey(ns.key, link.ifindex), packet) if len(members) > 1 else (),
        ),
        certainty=certainty,
        copies=copies,
    )
    far_ns = run.netns(member.wire.netns)
    far = far_ns.links[member.wire.ifindex]
    if far.kind == "veth":
        check_frame(run, ns, link, packet, member.wire, "veth")
    return Rx(member.wire, packet.scrubbed(True))


KIND = Kind(copies=copies, xmit=xmit)

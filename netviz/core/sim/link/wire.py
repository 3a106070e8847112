"""The wire between nodes, as the walk crosses it."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action, Ended, Rx
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.link.underlay import Member, holders_of_mac, owners, promiscuous
from netviz.core.sim.link.underlay_members import members_of
from netviz.core.sim.node_index import peer_not_collected
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Receive, Transmit
from netviz.core.sim.stray import find_stray
from netviz.core.sim.trace import BRANCH, CERTAIN, Disposition
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Put a frame on the wire between nodes: the link with its MAC takes it, or nobody known does."""
    key = LinkKey(ns.key, link.ifindex)
    nodes = run.cluster.nodes
    # Several that share a wire and a MAC (ipvlans) are one at this point.
    by_mac = list({m.wire: m for m in holders_of_mac(nodes, key, packet.dmac, packet.tags)}.values())
    by_addr = owners(nodes, key, nexthop, packet.tags)
    if by_mac:
        return _arrive(run, ns, link, packet, by_mac)
    if by_addr and by_addr[0].promiscuous:
        return _arrive(run, ns, link, packet, by_addr[:1], _copies(run, key, packet, by_addr[0]))
    if by_addr:
        _not_taken(run, ns, link, packet, by_addr[0])
    node = run.node(ns.key)
    if link.kind == "veth" and not ns.netns.root and not peer_not_collected(node, key):
        run.end_unknown(ns, link, packet, Transmit("unknown", "far end"))
    run.record(ns, link, packet, Transmit("leave", stray=find_stray(run, ns.key, packet)))
    raise Ended(Disposition.LEFT_NETWORK, link.ifname)


def _copies(run: Run, key: LinkKey, packet: Packet, followed: Member) -> tuple[Copy, ...]:
    """Name the links beside the followed one that get a frame for a MAC that no switch knows."""
    others = promiscuous(run.cluster.nodes, key, packet.tags)
    return tuple(Copy(one.inet) for one in others if one.inet != followed.inet)


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
    picked = 0
    if len(members) > 1:
        picked = run.choose(("wire", link.ifname, ns.key, packet.dmac), len(members), None)
    member = members[picked]
    run.record(
        ns,
        link,
        packet,
        Transmit("cross wire", peer=member.wire),
        certainty=CERTAIN if len(members) == 1 else BRANCH,
        copies=copies,
    )
    far_ns = run.netns(member.wire.netns)
    far = far_ns.links[member.wire.ifindex]
    if far.kind == "veth":
        check_frame(run, ns, link, packet, member.wire, "veth")
    return Rx(member.wire, packet.scrubbed(True))

"""The wire between nodes, as the walk crosses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from netviz.core.model.addr import format_mac
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.link.mtu import fits, too_big
from netviz.core.sim.link.underlay import Member, holders_of_mac, owners, promiscuous
from netviz.core.sim.link.underlay_members import members_of
from netviz.core.sim.node_index import peer_not_collected
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Action, Ended, Run, Rx
from netviz.core.sim.stray import stray_note
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
        run.unknown(ns, "link_tx", link.ifname, packet, "veth peer unresolved", "The other end isn't known.")
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "leave",
        f"The packet goes out of {link.ifname}; no known node has the next hop."
        + stray_note(run, ns.key, packet),
        command=f"ip -s link show dev {link.ifname}",
    )
    raise Ended(Disposition.LEFT_NETWORK, link.ifname)


def _copies(run: Run, key: LinkKey, packet: Packet, followed: Member) -> list[str]:
    """Name the links beside the followed one that get a frame for a MAC that no switch knows."""
    others = promiscuous(run.cluster.nodes, key, packet.tags)
    return [str(one.inet) for one in others if one.inet != followed.inet]


def _not_taken(run: Run, ns: NetnsState, link: Link, packet: Packet, member: Member) -> NoReturn:
    """Send a frame to a MAC that nobody has: who has the next hop's address hears it at most, and drops it."""
    mac = format_mac(packet.dmac)
    command = f"ip neigh show dev {link.ifname}"
    why = f"The packet goes out of {link.ifname} to {mac}, which no known link has."
    copies = _copies(run, LinkKey(ns.key, link.ifindex), packet, member)
    told: dict[str, Any] = {"copied_to": copies} if copies else {}
    run.step(ns, "link_tx", link.ifname, packet, "cross wire", why, command=command, **told)
    own = members_of(run.node(ns.key).netns).by_wire.get(LinkKey(ns.key, link.ifindex), ())
    if any(one.mac == packet.dmac for one in own):
        why = f"{mac} is a MAC behind {link.ifname} itself: a switch sends no frame back by the port that it came from."
        run.drop(ns, "bridge", link.ifname, packet, "NOT_SPECIFIED", why, sent_to=mac, command=command)
    far_ns = run.netns(member.wire.netns)
    far, expected = far_ns.links[member.wire.ifindex].ifname, format_mac(member.mac)
    why = (
        f"The frame goes to {mac}, but {member.wire.netns.node}, which has the next hop's address, has {expected}: "
        "it doesn't take the frame."
    )
    packet = packet.scrubbed(True)
    run.drop(
        far_ns, "link_rx", far, packet, "OTHERHOST", why, expected=expected, sent_to=mac, command=command
    )


def _arrive(
    run: Run, ns: NetnsState, link: Link, packet: Packet, members: list[Member], copied_to: Sequence[str] = ()
) -> Action:
    picked = 0
    if len(members) > 1:
        picked = run.choose(("wire", link.ifname, ns.key, packet.dmac), len(members), None)
    member = members[picked]
    evidence: dict[str, Any] = {"copied_to": list(copied_to)} if copied_to else {}
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "cross wire",
        f"The packet goes out of {link.ifname} to {member.wire.netns.node}, whose link has the frame's MAC "
        "and shares the subnet.",
        peer=str(member.wire),
        **evidence,
        certainty=CERTAIN if len(members) == 1 else BRANCH,
        command=f"ip neigh show dev {link.ifname}",
    )
    far_ns = run.netns(member.wire.netns)
    far = far_ns.links[member.wire.ifindex]
    if far.kind == "veth" and not fits(far, packet):
        too_big(run, ns, link, packet, far, "a veth")
    return Rx(member.wire, packet.scrubbed(True))

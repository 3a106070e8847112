"""The path of a reply to its requester, and what the exchange leaves behind: entries, and what bridges and tunnels learn.

Source: net/bridge/br_input.c, br_handle_frame_finish; net/core/neighbour.c, neigh_event_ns;
drivers/net/vxlan/vxlan_core.c, vxlan_snoop (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_NOARP, NUD_PERMANENT
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.sim.encap import ends
from netviz.core.sim.heard import Crossing
from netviz.core.sim.link.bridge import (
    is_group,
    learn,
    lookup_fdb,
    moves,
    or_backup,
    passes_lock,
    should_deliver,
)
from netviz.core.sim.link.macvlan import hears_answer
from netviz.core.sim.neighbour.responder import Responder
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.node_index import ports_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Neighbour
from netviz.core.state.node import NetnsState


def reply_arrives(
    run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes, answer: Responder
) -> bool:
    """Tell whether an answer comes back; ends the walk where that isn't known."""
    back = _comes_back(run, answer.heard.path, link.mac, answer.mac)
    if back is Tri.UNKNOWN:
        run.end_unknown(ns, link, packet, Neighbour("unknown", "locked port", nexthop=nexthop))
    master = ns.links.get(link.master) if link.master else None
    if master is not None and master.kind != "vrf":
        return False  # it comes in by the bridge or bond, whose entries are others
    return back is Tri.TRUE and hears_answer(run, LinkKey(ns.key, link.ifindex), answer.mac)


def knows_requester(run: Run, answerer: LinkKey, sender: bytes, asker: bytes) -> bool:
    """Tell whether an answer gets the asker's MAC: IPv6 takes it from its neighbour entry, which may be pinned.

    Source: net/ipv6/ndisc.c, ndisc_send_na, ndisc_send_skb (Linux 6.18).
    """
    entry = run.netns(answerer.netns).neighs.get((answerer.ifindex, sender, False))
    pinned = entry is not None and entry.state & (NUD_PERMANENT | NUD_NOARP)
    return len(sender) != 16 or entry is None or not pinned or entry.mac == asker


def _comes_back(run: Run, path: tuple[Crossing, ...], asker: bytes, answerer: bytes) -> Tri:
    """Tell whether the bridges that the question crossed take the answer back to the asker's MAC.

    Source: net/bridge/br_input.c, br_handle_frame_finish (Linux 6.18).
    """
    sure = Tri.TRUE
    for crossing in reversed(path):
        ns = run.netns(crossing.bridge.netns)
        bridge = ns.links[crossing.bridge.ifindex]
        ports = {port.ifindex: port for port in ports_of(ns.links).get(bridge.ifindex, ())}
        entered = ports.get(crossing.went_out)
        if entered is not None:
            passes = passes_lock(run, ns, bridge, entered, answerer, crossing.vid)
            if passes is Tri.FALSE:
                return Tri.FALSE
            sure = Tri.UNKNOWN if passes is Tri.UNKNOWN else sure
        if not crossing.came_in:
            continue
        port = ports.get(crossing.came_in)
        if port is None or not should_deliver(ns, bridge, entered, port, crossing.vid):
            return Tri.FALSE
        how, at = lookup_fdb(run, ns, bridge, asker, crossing.vid)
        if at in ports:
            at = or_backup(ns, ports[at]).ifindex
        learns = port.port is None or port.port.learning
        moved = learns and moves(ns, bridge, asker, crossing.vid)
        if how == "local" or (how and at != port.ifindex and not moved):
            return Tri.FALSE
        if not how and not learns and port.port is not None and not port.port.unicast_flood:
            return Tri.FALSE
    return sure


def learn_requester(run: Run, link: Link, sender: bytes, answer: Responder) -> None:
    """Keep the entry that a question leaves behind where it is answered."""
    other = answer.heard.link
    known = run.netns(other.netns).neighs.get((other.ifindex, sender, False))
    if known is None or not known.state & NUD_PERMANENT:
        run.memory = run.memory.with_neigh((other.netns, other.ifindex, sender), link.mac)


def carry_reply(run: Run, answer: Responder, asker: bytes, ipv6: bool) -> None:
    """Send an answer back by the tunnels that its question came by: their other ends learn where it comes from."""
    for crossing in reversed(answer.heard.path):
        ns = run.netns(crossing.bridge.netns)
        device = ns.links.get(crossing.came_in)
        if device is not None and isinstance(device.info, VxlanInfo):
            copies = ends.copies(run, ns, device, asker, answer.mac, ipv6, not crossing.went_out)
            for outer_ns, outer, oif in copies or ():
                run.carry(outer_ns.key, outer, oif)


def learn_macs(run: Run, crossing: Crossing, asker: bytes, answerer: bytes) -> None:
    """Let a bridge that a question and its answer cross learn where both come from."""
    ns = run.netns(crossing.bridge.netns)
    bridge = ns.links[crossing.bridge.ifindex]
    by_index = {port.ifindex: port for port in ports_of(ns.links).get(bridge.ifindex, ())}
    for ifindex, mac in ((crossing.came_in, asker), (crossing.went_out, answerer)):
        port = by_index.get(ifindex)
        if port is not None and not is_group(mac):
            learn(run, ns, bridge, port, mac, crossing.vid)

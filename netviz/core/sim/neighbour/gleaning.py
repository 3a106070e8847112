"""Gleaning: what a host learns from ARP requests for others, whose requester has shown its address and its MAC.

It makes no entry of it, but brings one up to date that it has. A segment may have thousands of hosts, so the
requests of a run are kept, and looked through when an entry is used.

Source: net/ipv4/arp.c, arp_process (Linux 6.18).

Unmodelled: locktime; an entry that has changed within the last second would stay.
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_PINNED, Neigh
from netviz.core.model.link import Link
from netviz.core.sim.heard import Domain, FramePath, Heard, LinkHop
from netviz.core.sim.link.underlay import on_segment
from netviz.core.sim.memory import ArpRequest
from netviz.core.sim.neighbour.arp_nd_filter import request_passes
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.plane.domain import by_tunnel
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState


def note(run: Run, requester: LinkKey, link: Link, sender: bytes, target: bytes, domain: Domain) -> None:
    """Keep a request, if it is ARP's and says who asks."""
    if len(sender) == 4:
        requests = run.memory.arp_requests
        asked = (*requests.get(sender, ()), ArpRequest(requester, link.mac, target, domain))
        run.memory = run.memory.but(arp_requests={**requests, sender: asked})


def gleaned_mac(run: Run, ns: NetnsState, link: Link, addr: bytes, entry: Neigh | None) -> bytes:
    """Return the MAC that an entry for an address has by now, as the last request of this run shows; b"" for none."""
    if entry is None or entry.state & NUD_PINNED:
        return b""
    here = LinkKey(ns.key, link.ifindex)
    for request in reversed(run.memory.arp_requests.get(addr, ())):
        if request.requester == here or not _is_for_others(ns, link, request.target, addr):
            continue
        heard = _heard(run, here, request.domain)
        if heard is not None and _gets_there(run, request, addr, heard):
            return request.mac
    return b""


def pending_mac(run: Run, here: LinkKey, addr: bytes) -> bytes:
    """Return the MAC that a request of this run shows which comes to a link by a tunnel; b"" for none.

    What a tunnel carries is taken in later than what comes beside it (gro_cells): whether there is an entry by then
    isn't known.
    """
    for request in reversed(run.memory.arp_requests.get(addr, ())):
        for heard in (*request.domain.heard, *request.domain.unreturned):
            if heard.link == here and request.requester != here and by_tunnel(run, heard):
                return request.mac if _gets_there(run, request, addr, heard) else b""
    return b""


def _is_for_others(ns: NetnsState, link: Link, target: bytes, sender: bytes) -> bool:
    """Tell whether a request isn't for this host, which answers it or keeps still then, and learns elsewhere."""
    return not lookup_route(ns, RouteFlow(target, sender, iif=link.ifindex)).local


def _heard(run: Run, here: LinkKey, domain: Domain) -> Heard | None:
    for heard in domain.heard:
        if heard.link == here:
            return heard
    for left in domain.left:
        member = on_segment(run.cluster.nodes, left.link, here, left.path.tags)
        if member is not None:
            hops = (*left.path.hops, *dict.fromkeys(LinkHop(True, link) for link in (member.wire, here)))
            return Heard(here, FramePath(hops, left.path.crossings))
    return None


def _gets_there(run: Run, request: ArpRequest, sender: bytes, heard: Heard) -> bool:
    return request_passes(run, request.requester, sender, heard, request.target).passes is Tri.TRUE

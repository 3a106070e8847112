"""Ethernet tunnels as part of a broadcast domain: the outer packets that carry a frame's copies.

Only where they lead matters here: the frame is a small one that stands for a question and its answer.
"""

from __future__ import annotations

from netviz.core.model.link import Link, TunnelInfo, VxlanInfo
from netviz.core.sim.encap import spec as tunnel_spec
from netviz.core.sim.encap import tunnel
from netviz.core.sim.encap.vxlan_remotes import outer_packet, remotes_for, route_to
from netviz.core.sim.nft.headers import ARP_REQUEST
from netviz.core.sim.node_index import outer_netns
from netviz.core.sim.packet import IPPROTO_ICMPV6, NEIGHBOUR_SOLICITATION, Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

# An ARP message; a neighbour solicitation with its IPv6 header and the sender's MAC.
ARP_BYTES, NDP_BYTES = 28, 72

Outers = list[tuple[NetnsState, Packet, int]]


def small_request(dmac: bytes, smac: bytes, ipv6: bool = False) -> Packet:
    """Make the small frame: an ARP request, or a neighbour solicitation."""
    frame = Packet(bytes(4), bytes(4), 0, length=ARP_BYTES, arp=ARP_REQUEST)
    if ipv6:
        frame = Packet(
            bytes(16), bytes(16), IPPROTO_ICMPV6, icmp_type=NEIGHBOUR_SOLICITATION, length=NDP_BYTES
        )
    return frame.but(smac=smac, dmac=dmac)


def copies(
    run: Run, ns: NetnsState, link: Link, dmac: bytes, smac: bytes, ipv6: bool = False, own: bool = False
) -> Outers | None:
    """List the outer packets (their namespace, the packet, its device) that carry a frame; None: not modelled.

    `own`: the frame belongs to a socket of the device's namespace.
    """
    key = outer_netns(ns, link)
    if key is None or key not in run.node(ns.key).netns:
        return None
    space = run.netns(key)
    frame = small_request(dmac, smac, ipv6).but(own=own and ipv6)
    found: Outers = []
    if isinstance(link.info, VxlanInfo):
        remotes = remotes_for(run, ns, link, link.info, dmac)
        if remotes is None:
            return None
        for remote in remotes:
            if route_to(space, remote, 0).local:
                continue  # it takes a short cut: see `short_cut`
            outer = outer_packet(space, link.info, remote, frame)
            if outer is not None:
                found.append((space, outer, remote.link))
    elif isinstance(link.info, TunnelInfo) and not tunnel_spec.ether_unmodelled(link):
        outer = tunnel.wrap(space, frame, tunnel_spec.ether_outer(link, link.info, frame))
        if outer is not None:
            found.append((space, outer, link.info.link))
    else:
        return None
    return found


def short_cut(run: Run, ns: NetnsState, link: Link, dmac: bytes) -> bool:
    """Tell whether a copy comes back in by a device on its own host, because a remote's address is that host's."""
    key = outer_netns(ns, link)
    if not isinstance(link.info, VxlanInfo) or key is None or key not in run.node(ns.key).netns:
        return False
    remotes = remotes_for(run, ns, link, link.info, dmac) or ()
    return any(route_to(run.netns(key), remote, 0).local for remote in remotes)

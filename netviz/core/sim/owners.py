"""Who has the addresses of a flow: for words, since it changes nothing of where packets go."""

from __future__ import annotations

import msgspec

from netviz.core.model.addr import mask_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RT_TABLE_MAIN
from netviz.core.model.link import Link
from netviz.core.sim.link.cluster_index import EVERYWHERE, having_addr, names_for
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.route.fib import route_index
from netviz.core.sim.services import service_at
from netviz.core.sim.steps import Place, RouteLookup, Transmit
from netviz.core.sim.trace import Disposition, Owner, Trace, place_of
from netviz.core.state.node import ClusterState, NetnsState
from netviz.core.state.resolve import PAIR_KINDS

Down = tuple[tuple[Place, str], ...]


def with_owners(cluster: ClusterState, trace: Trace) -> Trace:
    """Return a trace with who has its addresses, whose service its target is, and the links that are down where it ends."""
    return msgspec.structs.replace(
        trace,
        source=find_owner(cluster, trace.flow.src),
        target=find_owner(cluster, trace.flow.dst),
        down=_down_at_ends(cluster, trace),
        service=service_at(cluster, trace.flow.dst, trace.flow.proto, trace.flow.dport),
    )


def find_owner(cluster: ClusterState, addr: bytes) -> Owner | None:
    """Find the only namespace that has an address; None where none or several do."""
    if names_for(cluster.nodes, addr) == EVERYWHERE:
        return None
    holders = having_addr(cluster.nodes, addr)
    if len(holders) != 1:
        return None
    ns = holders[0]
    record = next(one for one in ns.addrs.values() if one.addr == addr)
    within = record.prefixlen < len(addr) * 8 - 1
    prefix = (mask_ip(addr, record.prefixlen), record.prefixlen) if within else _block(cluster, ns, addr)
    way = _way_into(cluster, ns, record.ifindex)
    down = tuple((place_of(at.netns), link.ifname) for at, link in way if not link.up)
    end = (place_of(way[1][0].netns), way[1][1].ifname) if len(way) > 1 else None
    return Owner(addr, place_of(ns.netns), prefix, down, end, way[0][1].mac if way else b"")


def _block(cluster: ClusterState, ns: NetnsState, addr: bytes) -> tuple[bytes, int] | None:
    """Find the range that an address alone on its link is out of: its node has a route for it that leads nowhere else."""
    root = cluster.nodes[ns.key.node].root
    number, width = int.from_bytes(addr, "big"), len(addr)
    for level in route_index(root.routes).get(RT_TABLE_MAIN, ()) if root is not None else ():
        for route in level.find(number, width):
            if 0 < route.dst_len < width * 8:
                own = not any(hop.gateway for hop in route.nexthops)
                return (route.dst, route.dst_len) if own else None
    return None


def _way_into(cluster: ClusterState, ns: NetnsState, ifindex: int) -> list[tuple[NetnsState, Link]]:
    """List the links by which packets come into a namespace: its own, its veth's other end, that one's master."""
    node, link = cluster.nodes[ns.key.node], ns.links.get(ifindex)
    found = [(ns, link)] if link is not None else []
    peer = (
        peer_of(node, LinkKey(ns.key, ifindex)).key if link is not None and link.kind in PAIR_KINDS else None
    )
    if peer is not None:
        far = node.netns[peer.netns]
        end = far.links[peer.ifindex]
        master = far.links.get(end.master)
        found += [(far, end), *([(far, master)] if master is not None else [])]
    return found


def _down_at_ends(cluster: ClusterState, trace: Trace) -> Down:
    """List the links with addresses that are down in namespaces where a path finds no route."""
    found: dict[tuple[Place, str], None] = {}
    for branch in trace.branches:
        for path in (branch.forward, branch.reply):
            if (
                path is None
                or not path.hops
                or path.disposition in (Disposition.DELIVERED, Disposition.UNKNOWN)
            ):
                continue
            hop = path.hops[-1]
            if not any(isinstance(step.what, RouteLookup | Transmit) for step in hop.steps[-1:]):
                continue
            node = cluster.nodes.get(hop.netns.node)
            ns = node.netns.get(hop.netns) if node is not None else None
            for addr in ns.addrs.values() if ns is not None else ():
                link = ns.links.get(addr.ifindex) if ns is not None else None
                if link is not None and not link.up:
                    found[hop.place, link.ifname] = None
    return tuple(found)

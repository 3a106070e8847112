"""The route that a node lacks to another node's pods: as it reaches other nodes' pods, or as that one reaches its own."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.model.addr import in_prefix
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import RT_TABLE_MAIN, RTN_UNICAST, RTNH_F_ONLINK, Nexthop
from netviz.core.sim.node_index import TUNNEL_KINDS
from netviz.core.sim.trace import Owner
from netviz.core.state.node import ClusterState, NetnsState


def way_to(cluster: ClusterState, place: NetnsKey, owner: Owner) -> Nexthop | None:
    """Return the next hop by which a node's namespace is to reach the pods of an address's node; None if none is known.

    Over a tunnel that is the other end's address, on the link. Where no route shows how nodes reach each other's pods,
    it is the other node's address on a subnet that both have, unless they have tunnels.
    """
    if owner.place.netns.node == place.node:
        return None
    here, there = cluster.nodes[place.node].netns.get(place), cluster.nodes[owner.place.netns.node].root
    if here is None or there is None:
        return None
    size = owner.prefix[1] if owner.prefix is not None else len(owner.addr) * 8
    for name, node in cluster.nodes.items():
        if name in (place.node, owner.place.netns.node) or node.root is None:
            continue
        for by, behind, flags in _ways(here, node.root, size):
            found = _between(here, there, by, behind, flags, len(owner.addr))
            if found is not None:
                return found
    for by, behind, flags in _ways(there, here, size):
        found = _between(here, there, behind, by, flags, len(owner.addr))
        if found is not None:
            return found
    if any(link.kind in TUNNEL_KINDS for ns in (here, there) for link in ns.links.values()):
        return None
    return _on_subnet(here, there, len(owner.addr))


def _ways(here: NetnsState, there: NetnsState, size: int) -> Iterator[tuple[str, str, int]]:
    """List how a node reaches ranges of a size behind another: by which of its links, at which of the other's, flags."""
    at = {
        addr.addr: there.links[addr.ifindex].ifname
        for addr in there.addrs.values()
        if addr.ifindex in there.links
    }
    for route in here.routes.values():
        if route.table_id != RT_TABLE_MAIN or route.type != RTN_UNICAST or route.dst_len != size:
            continue
        for hop in route.nexthops:
            if hop.gateway in at and hop.oif in here.links:
                yield here.links[hop.oif].ifname, at[hop.gateway], hop.flags & RTNH_F_ONLINK


def _between(
    here: NetnsState, there: NetnsState, by: str, behind: str, flags: int, width: int
) -> Nexthop | None:
    oif = next((link.ifindex for link in here.links.values() if link.ifname == by), None)
    ends = {link.ifindex for link in there.links.values() if link.ifname == behind}
    own = {addr.addr for addr in here.addrs.values()}
    for addr in there.addrs.values():
        usable = len(addr.addr) == width and addr.scope == 0 and addr.addr not in own
        if oif is not None and addr.ifindex in ends and usable:
            return Nexthop(oif, addr.addr, flags=flags)
    return None


def _on_subnet(here: NetnsState, there: NetnsState, width: int) -> Nexthop | None:
    for own in here.addrs.values():
        for other in there.addrs.values():
            wide = own.prefixlen < len(own.addr) * 8 - 1 and own.scope == 0 and own.addr != other.addr
            if wide and len(other.addr) == width and in_prefix(other.addr, own.addr, own.prefixlen):
                return Nexthop(own.ifindex, other.addr)
    return None

"""Whether surely nobody has an address: the node that its route leads to is known whole, and has it nowhere."""

from __future__ import annotations

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Look
from netviz.core.check.tables import KNOWN
from netviz.core.check.wiring import global_addr
from netviz.core.model.addr import in_prefix
from netviz.core.model.l3 import Addr, Nexthop
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.state.node import NetnsState

ASKS = (CLAIMS, KNOWN)


def nobody_has(look: Look, root: NetnsState, addr: bytes) -> bool:
    """Tell whether an address that a node sends to is nobody's. False: somebody's, or not known.

    An address beyond what netviz knows (behind a router, on a wire that others share) is never nobody's.
    """
    if not global_addr(Addr(0, addr, 0)) or look.find(CLAIMS, addr):
        return False
    if any(in_prefix(addr, net, length) for net, length in look.wiring.routed_subnets):
        return bool(look.find(KNOWN, root.key.node))
    found = lookup_route(root, RouteFlow(addr))
    if found.unknown or found.route is None:
        return False
    if found.error:  # Calico's blackhole for the node's own block
        return bool(look.find(KNOWN, root.key.node))
    return bool(found.nexthops) and all(_known_there(look, root, hop) for hop in found.nexthops)


def _known_there(look: Look, root: NetnsState, hop: Nexthop) -> bool:
    """Tell whether all that is behind a nexthop is known."""
    if hop.gateway:
        nodes = [
            node for node, mine in look.find(CLAIMS, hop.gateway) for claim in mine if claim.rank == "node"
        ]
        return len(nodes) == 1 and bool(look.find(KNOWN, nodes[0]))
    link = root.links.get(hop.oif)
    if link is None or link.ifindex in look.wiring.wires:
        return False
    leads_on = any(
        port.master == link.ifindex and port.ifindex not in look.wiring.pairs for port in root.links.values()
    )
    local = link.ifindex in look.wiring.pairs or (link.kind == "bridge" and not leads_on)
    return local and bool(look.find(KNOWN, root.key.node))

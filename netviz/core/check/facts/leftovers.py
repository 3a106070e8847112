"""Whether routes to single addresses lead to the pods that have them, and not to where a pod once was.

A node's own pods are behind their host end or their bridge; another node's pods are behind that node, never behind a
veth or a bridge that only pods hang on. A route to an address that no namespace holds any more is harmless until the
address is given out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netviz.core.check.claims import CLAIMS, Claim
from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Edit, Problem
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import name_of
from netviz.core.model.addr import format_ip
from netviz.core.model.l3 import RTN_UNICAST, Nexthop, Route
from netviz.core.model.link import Link
from netviz.core.plain import quoted
from netviz.core.sim.index import Index
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState
from netviz.core.state.resolve import PAIR_KINDS


def _single(routes: Mapping[Any, Route]) -> tuple[tuple[Route, Nexthop], ...]:
    """The routes to one address by one nexthop."""
    long = [route for route in routes.values() if route.dst_len == 32 or route.dst_len == 128]
    return tuple(
        (route, route.nexthops[0])
        for route in long
        if route.dst_len == len(route.dst) * 8 and route.type == RTN_UNICAST and len(route.nexthops) == 1
    )


single_routes: Index[Mapping[Any, Route], tuple[tuple[Route, Nexthop], ...]] = Index(_single)


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    own = {addr.addr for addr in root.addrs.values()}
    for route, hop in single_routes(root.routes):
        link = root.links.get(hop.oif)
        if link is None or route.dst in own:
            continue
        look.judged += 1
        claims = [claim for _, mine in look.find(CLAIMS, route.dst) for claim in mine]
        pods = [
            claim
            for claim in claims
            if claim.rank == "pod" or (claim.rank == "other" and claim.netns.key.node == root.key.node)
        ]
        local = not hop.gateway and _leads_to_pods_alone(look, root, link)
        if not pods:
            pair = look.wiring.pairs.get(link.ifindex)
            held = pair is None or any(addr.addr == route.dst for addr in pair.ns.addrs.values())
            if local and not claims and not held:
                yield _to_nobody(look, root, route, link)
        elif not any(_right(look, root, claim, hop, link, local) for claim in pods):
            yield _elsewhere(look, root, route, link, pods[0])


def _leads_to_pods_alone(look: Look, root: NetnsState, link: Link) -> bool:
    """Tell whether nobody but pods of this node can be behind a link."""
    wiring = look.wiring
    if link.kind in PAIR_KINDS:
        peer = wiring.peers.get(link.ifindex)
        return link.ifindex in wiring.pairs or (peer is not None and peer.netns == root.key)
    return link.kind == "bridge" and not any(
        port.master == link.ifindex and port.ifindex not in wiring.pairs for port in root.links.values()
    )


def _right(look: Look, root: NetnsState, claim: Claim, hop: Nexthop, link: Link, local: bool) -> bool:
    """Tell whether a route leads to who has the address, as far as that can be said."""
    if claim.netns.key.node != root.key.node:
        return not local
    ends = look.wiring.pairs_of.get(claim.netns.key, ())
    at = {index for pair in ends for index in (pair.host.ifindex, pair.host.master)}
    return not local or link.ifindex in at or not ends


def _elsewhere(look: Look, root: NetnsState, route: Route, link: Link, claim: Claim) -> Problem:
    node, addr, dev = root.key.node, format_ip(route.dst), quoted(link.ifname)
    pod, home = name_of(claim.netns), claim.netns.key.node
    at = f"is on {home}" if home != node else "isn't there"
    return Problem(
        kind="leftover-route",
        cause=f"{node}:{addr}:{link.ifname}",
        severity="error",
        harm="breaks traffic",
        headline=f"{node} has a leftover route to {pod} ({addr}) by {link.ifname}, but the pod {at}",
        consequence=f"What {node} and its pods send to {pod}, answers too, never arrives; with rp_filter on,"
        f" what comes from it is dropped.",
        where=place(root.netns, link),
        both=f"{node}:{link.ifname}:{claim.netns.key}",
        affects=affects([pod_name(claim.netns)]),
        check=(command(root.netns, f"ip route get {addr}"),),
        fix=(command(root.netns, f"ip route del {addr} dev {dev}"),),
        rests_on=look.rests_on(home),
        repair=(Edit(root.key, "routes", route.key),),
    )


def _to_nobody(look: Look, root: NetnsState, route: Route, link: Link) -> Problem:
    node, addr, dev = root.key.node, format_ip(route.dst), quoted(link.ifname)
    return Problem(
        kind="leftover-route",
        cause=f"{node}:{addr}:{link.ifname}",
        severity="warning",
        harm="at risk",
        headline=f"{node} has a leftover route to {addr} by {link.ifname}: no pod has that address",
        consequence=f"The pod that is given {addr} next won't be reached from {node} if it is elsewhere.",
        where=place(root.netns, link),
        check=(command(root.netns, f"ip route show {addr}"),),
        fix=(command(root.netns, f"ip route del {addr} dev {dev}"),),
        rests_on=look.rests_on(),
        grace_s=3.0,
    )


FACT = Fact(
    name="leftovers",
    demands="Every route to a single address leads to the pod that has it.",
    unit="routes",
    kinds=("leftover-route",),
    needs=("links", "addrs", "routes"),
    find=_find,
    asks=(CLAIMS,),
)

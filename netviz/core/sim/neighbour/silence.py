"""Why nobody answers: what keeps the links from it that have the address, could have it, or would answer for others.

Only people read it: it is asked after the walk has found out that no answer comes. What is found first is nearest to
the cause: who has the address and hears the request, then a gateway that would answer for others, or whose addresses
are of another range, then who has the address somewhere else.
"""

from __future__ import annotations

from typing import Final, Literal

from netviz.core.model.addr import in_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RTN_UNICAST, Addr
from netviz.core.model.link import MACVLAN_VEPA, Link
from netviz.core.sim import sysctl
from netviz.core.sim.heard import Domain
from netviz.core.sim.link.cluster_index import having_addr
from netviz.core.sim.link.macvlan import mode_of
from netviz.core.sim.node_index import uppers_of
from netviz.core.sim.route.rp_filter import validate_source
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import is_link_local6, link_addrs, owned_addrs
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Silence
from netviz.core.sim.trace import place_of
from netviz.core.state.node import NetnsState

SETTINGS: Final = ("arp_ignore", "arp_filter")


def silent_links(
    run: Run, requester: LinkKey, domain: Domain, target: bytes, sender: bytes
) -> tuple[Silence, ...]:
    """Find what keeps links from answering a request for `target` that comes from `sender`, the nearest cause alone."""
    hearers = [(ns := run.netns(heard.link.netns), ns.links[heard.link.ifindex]) for heard in domain.heard]
    found = [one for ns, link in hearers for one in _of_owner(ns, link, target, sender)]
    if not found:
        own = run.netns(requester.netns)
        subnets = [addr for addr in link_addrs(own, requester.ifindex) if addr.prefixlen < 8 * len(target)]
        of_link = any(in_prefix(target, addr.addr, addr.prefixlen) for addr in subnets)
        gateways = [(ns, link) for ns, link in hearers if ns.key != requester.netns and _routes(link, target)]
        judge = _of_range if of_link else _of_proxy
        found = [one for ns, link in gateways if (one := judge(ns, link, target)) is not None]
    return tuple(found or _elsewhere(run, domain, target))


def beside(run: Run, requester: LinkKey, domain: Domain, target: bytes) -> Silence | None:
    """Find who has the address on the lower device of the macvlan or ipvlan that asks, or over it.

    They exchange nothing, for a switch sends no frame back by the port that it came from; one that macvlans in mode vepa
    are made for does.

    Source: drivers/net/macvlan.c, macvlan_queue_xmit, macvlan_handle_frame (Linux 6.18).
    """
    link = run.link(requester)
    if link is None or mode_of(link) == MACVLAN_VEPA:
        return None
    for wire in (left.link for left in domain.wires):
        lower = run.netns(wire.netns).links[wire.ifindex]
        for key in (wire, *uppers_of(run.node(wire.netns).netns).get(wire, ())):
            ns = run.netns(key.netns)
            owned = [addr for addr in owned_addrs(ns, target) if key == wire or addr.ifindex == key.ifindex]
            if owned and ns.key != requester.netns and key.ifindex in ns.links:
                dev = ns.links[key.ifindex].ifname
                return Silence(place_of(ns.netns), dev, cause="shared device", lower=lower.ifname)
    return None


def _of_owner(ns: NetnsState, link: Link, target: bytes, sender: bytes) -> list[Silence]:
    """Find what keeps a link that hears the request, in a namespace that has the address, from answering."""
    if len(target) == 16:
        off = link.ipv6 is not None and link.ipv6.disable_ipv6
        return [Silence(place_of(ns.netns), link.ifname, "disable_ipv6", 1)] if off else []
    if not owned_addrs(ns, target):
        return []
    found = []
    for name in SETTINGS:
        value = sysctl.ipv4_max(ns, link, name)
        if value:
            found.append(Silence(place_of(ns.netns), link.ifname, name, value))
    refused = validate_source(ns, link, RouteFlow(target, sender), 0) if sender else None
    if refused is not None:
        found.append(Silence(place_of(ns.netns), link.ifname, sender=sender, refusal=refused))
    return found


def _routes(link: Link, target: bytes) -> bool:
    conf = link.ipv6 if len(target) == 16 else link.ipv4
    return conf is not None and bool(conf.forwarding)


def _of_range(ns: NetnsState, link: Link, target: bytes) -> Silence | None:
    """Tell of a router's link whose own addresses are all of other ranges than what is asked for."""
    addrs = _global(link_addrs(ns, link.ifindex), len(target))
    if not addrs or any(in_prefix(target, addr.addr, addr.prefixlen) for addr in addrs):
        return None
    shown = tuple((addr.addr, addr.prefixlen) for addr in addrs)
    return Silence(place_of(ns.netns), link.ifname, cause="another range", addrs=shown)


def _of_proxy(ns: NetnsState, link: Link, target: bytes) -> Silence | None:
    """Tell what a router's link lacks for answering in another's place, as a pod's gateway that nobody has.

    Source: net/ipv4/arp.c, arp_process (Linux 6.18).
    """
    if len(target) == 16:
        return None
    result = lookup_route(ns, RouteFlow(target, iif=link.ifindex))
    leads = not result.error and result.route is not None and result.route.type == RTN_UNICAST
    here = leads and any(way.oif == link.ifindex for way in result.nexthops)
    proxies = bool(sysctl.ipv4_or(ns, link, "proxy_arp"))
    if proxies and not leads:
        return Silence(place_of(ns.netns), link.ifname, cause="proxy without route")
    if proxies and here:
        return Silence(place_of(ns.netns), link.ifname, cause="proxy to itself")
    if leads and not here and not proxies:
        return Silence(place_of(ns.netns), link.ifname, "proxy_arp", 0)
    return None


def _elsewhere(run: Run, domain: Domain, target: bytes) -> list[Silence]:
    """Find who has the address and doesn't hear the request."""
    heard = {one.link.netns for one in domain.heard}
    found = []
    for ns in having_addr(run.cluster.nodes, target):
        for addr in owned_addrs(ns, target):
            link = ns.links.get(addr.ifindex)
            if ns.key not in heard and link is not None:
                found.append(_not_reached(ns, link))
    return found


def _not_reached(ns: NetnsState, link: Link) -> Silence:
    state: Literal["", "down", "without carrier"] = ""
    if not link.up:
        state = "down"
    elif not link.carrier:
        state = "without carrier"
    return Silence(place_of(ns.netns), link.ifname, cause="not reached", state=state)


def _global(addrs: tuple[Addr, ...] | list[Addr], width: int) -> list[Addr]:
    return [addr for addr in addrs if len(addr.addr) == width and not is_link_local6(addr.addr)]

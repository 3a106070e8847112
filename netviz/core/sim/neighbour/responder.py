"""Who answers an ARP request or a neighbour solicitation, and why.

Source: net/ipv4/arp.c, arp_process, arp_ignore, arp_filter, arp_fwd_proxy; net/ipv6/ndisc.c, ndisc_recv_ns
(Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from netviz.core.model.addr import in_prefix
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l2 import NTF_PROXY, Neigh
from netviz.core.model.l3 import RTN_LOCAL, RTN_UNICAST
from netviz.core.model.link import IFF_NOARP, Link
from netviz.core.sim import sysctl
from netviz.core.sim.heard import Domain, Heard
from netviz.core.sim.index import Index
from netviz.core.sim.one_read import one_read
from netviz.core.sim.route.rp_filter import custom_local_routes, validate_source
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import is_multicast, link_addrs, owned_addrs
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import AnswerCause
from netviz.core.state.node import NetnsState, NodeState


class Responder(msgspec.Struct, frozen=True, gc=False):
    """Somebody who answers for an address, and why."""

    heard: Heard
    mac: bytes
    cause: AnswerCause


def responders(run: Run, domain: Domain, own: LinkKey, target: bytes, sender: bytes) -> list[Responder]:
    """List who of all that hear a request of link `own` answers it."""
    found: list[Responder] = []
    hosts: dict[str, frozenset[NetnsKey]] = {}
    for heard in domain.heard:
        at = heard.link.netns
        if at.node not in hosts:
            hosts[at.node] = may_answer(run.node(at), target)
        if at in hosts[at.node] and heard.link != own:
            answer = responder_of(run, heard, target, sender)
            found += [answer] if answer is not None else []
    return found


class _Hosts(NamedTuple):
    """The namespaces of a node by the addresses that they own, and those that may answer for others' too."""

    owners: dict[bytes, list[NetnsKey]]
    others: frozenset[NetnsKey]


MATTER = ("addrs", "links", "sysctls", "routes", "neighs")


def build_hosts(netns: Mapping[NetnsKey, NetnsState]) -> _Hosts:
    owners: dict[bytes, list[NetnsKey]] = {}
    for key, ns in netns.items():
        for addr in {addr.addr for addr in ns.addrs.values()}:
            owners.setdefault(addr, []).append(key)
    return _Hosts(owners, frozenset(key for key, ns in netns.items() if _answers_for_others(ns)))


_hosts: Index[Mapping[NetnsKey, NetnsState], _Hosts] = Index(build_hosts, sections=MATTER)


def _answers_for_others(ns: NetnsState) -> bool:
    confs = (link.ipv4 for link in ns.links.values())
    proxies = any(conf is not None and (conf.proxy_arp or conf.proxy_arp_pvlan) for conf in confs)
    return bool(
        proxies
        or sysctl.conf_all(ns, "proxy_arp")
        or _has_proxy_entries.of_few(ns.neighs)
        or custom_local_routes.of_few(ns.routes)
    )


def _any_proxy_entry(neighs: Mapping[Any, Neigh]) -> bool:
    return any(entry.flags & NTF_PROXY for entry in neighs.values())


_has_proxy_entries: Index[Mapping[Any, Neigh], bool] = Index(_any_proxy_entry)


@one_read(sections=MATTER)
def may_answer(node: NodeState, target: bytes) -> frozenset[NetnsKey]:
    """Find the namespaces of a node in which a link may answer for an address: few of the many who hear a request."""
    if len(target) == 4 and target[0] == 127:
        return frozenset(node.netns)
    hosts = _hosts(node.netns)
    return hosts.others.union(hosts.owners.get(target, ()))


def responder_of(run: Run, heard: Heard, target: bytes, sender: bytes) -> Responder | None:
    ns = run.netns(heard.link.netns)
    link = ns.links[heard.link.ifindex]
    if link.flags & IFF_NOARP:
        return None
    cause = _answers6(ns, link, target) if len(target) == 16 else _answers4(ns, link.ifindex, target, sender)
    return Responder(heard, link.mac, cause) if cause is not None else None


@one_read(sections=("addrs", "links", "sysctls", "rules", "routes", "nexthops", "neighs"))
def _answers4(ns: NetnsState, ifindex: int, target: bytes, sender: bytes) -> AnswerCause | None:
    """Tell why a link answers an ARP request for `target`; None: it doesn't.

    Source: net/ipv4/arp.c, arp_process (Linux 6.18).
    """
    link = ns.links[ifindex]
    if is_multicast(target) or (target[0] == 127 and not sysctl.ipv4_or(ns, link, "route_localnet")):
        return None
    result = lookup_route(ns, RouteFlow(target, sender, iif=link.ifindex))
    if result.error or result.unknown or result.route is None:
        return None
    if result.route.type == RTN_LOCAL:
        if sender and validate_source(ns, link, RouteFlow(target, sender), 0):
            return None
        if not _arp_allowed(ns, link, target, sender):
            return None
        return "address"
    forwarding = link.ipv4 is not None and link.ipv4.forwarding
    if result.route.type != RTN_UNICAST or not forwarding or not result.nexthops:
        return None
    if sender and validate_source(ns, link, RouteFlow(target, sender), result.nexthops[0].oif):
        return None
    elsewhere = result.nexthops[0].oif != link.ifindex
    if elsewhere and sysctl.ipv4_or(ns, link, "proxy_arp"):
        return "proxy_arp"
    if link.ipv4 is not None and link.ipv4.proxy_arp_pvlan and not elsewhere and sender != target:
        return "proxy_arp_pvlan"
    if elsewhere and _proxied(ns, link, target):
        return "proxy entry"
    return None


def _proxied(ns: NetnsState, link: Link, target: bytes) -> bool:
    entry = ns.neighs.get((link.ifindex, target, True)) or ns.neighs.get((0, target, True))
    return entry is not None and bool(entry.flags & NTF_PROXY)


def _arp_allowed(ns: NetnsState, link: Link, target: bytes, sender: bytes) -> bool:
    """Apply arp_ignore and arp_filter.

    Source: net/ipv4/arp.c, arp_ignore, arp_filter (Linux 6.18).
    """
    level = sysctl.ipv4_max(ns, link, "arp_ignore")
    mine = [addr for addr in owned_addrs(ns, target) if addr.ifindex == link.ifindex]
    if level == 1 and not mine:
        return False
    if level == 2 and not any(in_prefix(sender, addr.addr, addr.prefixlen) for addr in mine if sender):
        return False
    if level == 8 or (level == 3 and all(addr.scope >= 254 for addr in owned_addrs(ns, target))):
        return False
    if sysctl.ipv4_or(ns, link, "arp_filter") and sender:
        back = lookup_route(ns, RouteFlow(sender, target))
        return bool(back.nexthops) and back.nexthops[0].oif == link.ifindex
    return True


def _answers6(ns: NetnsState, link: Link, target: bytes) -> AnswerCause | None:
    """Tell why a link answers a neighbour solicitation for `target`; None: it doesn't.

    Source: net/ipv6/ndisc.c, ndisc_recv_ns (Linux 6.18).
    """
    if link.ipv6 is not None and link.ipv6.disable_ipv6:
        return None
    if any(addr.ifindex == link.ifindex for addr in owned_addrs(ns, target)):
        return "address6"
    conf = link.ipv6
    proxies = conf is not None and conf.forwarding and (conf.proxy_ndp or sysctl.conf_all(ns, "proxy_ndp", 6))
    if proxies and _proxied(ns, link, target):
        return "proxy entry"
    return None


def on_link(ns: NetnsState, link: Link, one: bytes, other: bytes) -> bool:
    """Tell whether a subnet of a link holds two addresses. Source: net/ipv4/devinet.c, inet_addr_onlink."""
    return any(
        len(addr.addr) == 4
        and in_prefix(one, addr.addr, addr.prefixlen)
        and in_prefix(other, addr.addr, addr.prefixlen)
        for addr in link_addrs(ns, link.ifindex)
    )

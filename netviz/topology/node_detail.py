"""From one node's state to what only the pages that watch the node are told: namespaces, links, routes, the API's pods.

Given the detail of an earlier state, only suspect links (suspects.py) and changed namespaces are worked
out again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.check.wiring import POD_LINK
from netviz.core.model.addr import format_prefix
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import RT_TABLE_MAIN, RTN_UNICAST, Addr, Nexthop, Route
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.pods import joined, workload_of
from netviz.core.state.resolve import AMBIGUOUS, UNRESOLVED
from netviz.core.state.section import EMPTY
from netviz.topology.graph import KubePodObject, LinkObject, NetnsObject
from netviz.topology.objects import addrs_by_link, project_link, project_netns, project_pod
from netviz.topology.projection import NodePart
from netviz.topology.suspects import changed_netns, suspect_links

TUNNEL_KINDS = frozenset(("vxlan", "geneve", "ipip", "gre", "gretap", "sit", "ip6tnl", "ip6gre", "wireguard"))
MAX_ROUTES = 64


class RoutesOut(msgspec.Struct, frozen=True, gc=False):
    """The routes of a node's main table that lead elsewhere, and what they were worked out from.

    `shown` are the first MAX_ROUTES as (prefix, gateway or nothing, device).
    """

    routes: Mapping[Any, Route] = EMPTY
    devices: Mapping[int, tuple[str, str]] = EMPTY
    shown: tuple[tuple[str, bytes, str], ...] = ()
    left_off: int = 0


class NodeDetail(msgspec.Struct, frozen=True, gc=False):
    """One node's detail. Namespaces beyond the node (NodePart.beyond) are only in `all_links`."""

    state: NodeState
    beyond: frozenset[NetnsKey] = frozenset()
    netns: Mapping[NetnsKey, NetnsObject] = EMPTY
    links: Mapping[LinkKey, LinkObject] = EMPTY
    all_links: Mapping[LinkKey, LinkObject] = EMPTY
    routes: RoutesOut = RoutesOut()
    pods: Mapping[str, KubePodObject] = EMPTY

    def port_of(self, netns: NetnsKey) -> LinkObject | None:
        """The other end of the link by which a pod is known, where that is proved."""
        ns = self.state.netns.get(netns)
        link = None if ns is None or ns.netns.root else _outward_link(ns, self.all_links)
        return None if link is None or link.peer is None else self.links.get(LinkKey.parse(link.peer))


def project_detail(part: NodePart, old: NodeDetail | None = None) -> NodeDetail:
    """Make a node's detail, from scratch or from that of an earlier state."""
    state, beyond = part.state, part.beyond
    if old is None:
        old = NodeDetail(NodeState(state.node))
    changed = changed_netns(old.state, state)
    suspects = suspect_links(old.state, state, changed)
    all_links = _follow_links(state, old.all_links, suspects)
    netns = dict(old.netns)
    looked_at = dict.fromkeys(changed)
    looked_at |= dict.fromkeys(key.netns for key in suspects)
    looked_at |= dict.fromkeys(key for key in beyond ^ old.beyond)
    for key in looked_at:
        ns = state.netns.get(key)
        if ns is None or key in beyond:
            netns.pop(key, None)
        else:
            netns[key] = msgspec.structs.replace(project_netns(ns), health=_health(ns, all_links))
    links = _without(all_links, beyond) if beyond else all_links
    routes = RoutesOut() if state.root is None else _routes_out(state.root, old.routes)
    return NodeDetail(state, beyond, netns, links, all_links, routes, _pods(state, old, netns))


def _pods(
    state: NodeState, old: NodeDetail, netns: Mapping[NetnsKey, NetnsObject]
) -> Mapping[str, KubePodObject]:
    """The API's pods on a node; `old`'s where neither they nor the namespaces are others."""
    if old.state.objects is state.objects and old.state.netns is state.netns:
        return old.pods
    spaces, known = joined(state), old.state.objects.kube_pods
    workloads, found = state.objects.workloads, {}
    same = old.state.objects.workloads == workloads
    for key, pod in state.objects.kube_pods.items():
        space = spaces.get(key)
        at = None if space is None or space not in netns else str(space)
        was = old.pods.get(f"{pod.namespace}/{pod.name}")
        if was is not None and was.netns == at and same and known.get(key) is pod:
            found[was.key] = was
        else:
            made = project_pod(pod, workload_of(pod, workloads), at)
            found[made.key] = made
    return found


def _follow_links(
    state: NodeState, old: Mapping[LinkKey, LinkObject], suspects: Iterable[LinkKey]
) -> dict[LinkKey, LinkObject]:
    links = dict(old)
    grouped: dict[NetnsKey, dict[int, tuple[Addr, ...]]] = {}
    for key in suspects:
        ns = state.netns.get(key.netns)
        link = None if ns is None else ns.links.get(key.ifindex)
        if ns is None or link is None:
            links.pop(key, None)
            continue
        if key.netns not in grouped:
            grouped[key.netns] = addrs_by_link(ns)
        links[key] = project_link(state, ns, link, grouped[key.netns].get(key.ifindex, ()))
    return links


def _without(links: Mapping[LinkKey, LinkObject], beyond: frozenset[NetnsKey]) -> dict[LinkKey, LinkObject]:
    """Links as they look when some namespaces aren't shown: their peers are as good as unresolved,
    and their lower devices aren't known."""
    shown = {key: link for key, link in links.items() if key.netns not in beyond}
    for key, link in links.items():
        if key.netns in beyond and link.peer is not None and (end := LinkKey.parse(link.peer)) in shown:
            shown[end] = msgspec.structs.replace(shown[end], peer=None, peer_state=UNRESOLVED)
    for key, link in shown.items():
        if link.lower is not None and LinkKey.parse(link.lower) not in shown:
            shown[key] = msgspec.structs.replace(link, lower=None)
    return shown


def _health(ns: NetnsState, links: Mapping[LinkKey, LinkObject]) -> str:
    """How a namespace is by itself: whether its link carries packets, and whether everything was read."""
    link = None if ns.netns.root else _outward_link(ns, links)
    if link is not None:
        peer = links.get(LinkKey.parse(link.peer)) if link.peer is not None else None
        if not _carries(link) or (peer is not None and not _carries(peer)):
            return "error"
        if link.peer_state in (UNRESOLVED, AMBIGUOUS):
            return "warning"
    return "warning" if ns.gaps else "ok"


def _outward_link(ns: NetnsState, links: Mapping[LinkKey, LinkObject]) -> LinkObject | None:
    """The link by which a pod, or whatever it is, is known: its `eth0`, else its first."""
    found = [
        link
        for index in sorted(ns.links)
        if (link := links.get(LinkKey(ns.key, index))) is not None and link.kind != "loopback"
    ]
    return next((link for link in found if link.ifname == POD_LINK), found[0] if found else None)


def _carries(link: LinkObject) -> bool:
    return link.up and link.carrier and link.port_state in (None, "forwarding")


def _routes_out(root: NetnsState, old: RoutesOut) -> RoutesOut:
    """Find the routes to elsewhere; `old` itself where neither the routes nor what devices are called changed."""
    devices = {index: (link.ifname, link.kind) for index, link in root.links.items()}
    if old.routes is root.routes and old.devices == devices:
        return old
    tunnels = {index for index, (_, kind) in devices.items() if kind in TUNNEL_KINDS}
    leading = [
        (route, hop)
        for route in root.routes.values()
        if route.table_id == RT_TABLE_MAIN and route.type == RTN_UNICAST
        for hop in route.nexthops
        if hop.gateway or hop.oif in tunnels
    ]
    shown = tuple(
        (format_prefix(route.dst, route.dst_len), hop.gateway, devices.get(hop.oif, ("", ""))[0])
        for route, hop in heapq.nsmallest(MAX_ROUTES, leading, key=_route_order)
    )
    return RoutesOut(root.routes, devices, shown, len(leading) - len(shown))


def _route_order(item: tuple[Route, Nexthop]) -> tuple[int, bytes, int, bytes, int]:
    route, hop = item
    return len(route.dst), route.dst, route.dst_len, hop.gateway, hop.oif

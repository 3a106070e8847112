"""What would mend a cause: as a command for people, and as a change of the state, to see what is in the way beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.check.paths.identity import lacks_default, too_wide
from netviz.core.check.paths.wayto import way_to
from netviz.core.check.wiring import default_gateways, pod_link
from netviz.core.model.addr import format_ip, format_prefix, in_prefix, mask_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import ROUTE_TYPES, RT_TABLE_MAIN, RTNH_F_ONLINK, Nexthop, Route
from netviz.core.model.link import BR_STATE_FORWARDING, IFF_LOWER_UP, IFF_UP, Link
from netviz.core.model.netfilter import NF_ACCEPT, Body, ChainBody, body_digest
from netviz.core.plain import quoted
from netviz.core.sim.headline.cause import Cause, owner_of
from netviz.core.sim.steps import Bridge, Forward, HookVerdict, Neighbour, RouteLookup, RpFilter
from netviz.core.sim.trace import Trace
from netviz.core.state.node import ClusterState, NetnsState

BY_KERNEL = 2  # RTPROT_KERNEL (include/uapi/linux/rtnetlink.h)
REFUSING = ("blackhole", "unreachable", "prohibit")


def fix_of(cluster: ClusterState, trace: Trace, cause: Cause) -> str:
    """Return the command that mends a cause, as it is run in its namespace; "" where there is none to name."""
    what, dev = cause.step.what, quoted(cause.dev)
    match cause.kind:
        case "link-down":
            return f"ip link set {dev} up"
        case "rp-filter" if _filters(cause):
            return f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{dev}.rp_filter=0"
        case "forwarding-off" if isinstance(what, Forward) and what.sysctl:
            return f"sysctl -w {what.sysctl}=1"
        case "wrong-neighbour" if isinstance(what, Neighbour):
            return f"ip neigh del {format_ip(what.nexthop)} dev {dev}"
        case "bridge-port":
            return f"bridge link set dev {quoted(_port(cause))} state {BR_STATE_FORWARDING}"
        case "no-route":
            refusing = _refusing(cause)
            if refusing is not None:
                return _del_route(refusing)
            lacking = lacks_default(cluster, cause)
            return _add_default(cluster, cause) if lacking else _add_route(cluster, trace, cause)
        case "no-neighbour" if (wide := too_wide(cluster, cause)) is not None:
            prefix = format_prefix(wide.dst, wide.dst_len)
            return f"ip route del {prefix} dev {dev}" if wide.protocol != BY_KERNEL else ""
        case "rule-drops" if isinstance(what, HookVerdict) and what.chain is not None and what.hit is None:
            chain = what.chain.chain
            program = "ip6tables" if what.ipv6 else "iptables"
            return (
                f"{program} -t {quoted(chain.table)} -P {quoted(chain.name)} ACCEPT"
                if chain.name.isupper()
                else ""
            )
    return ""


def _port(cause: Cause) -> str:
    what = cause.step.what
    return (what.port if isinstance(what, Bridge) else "") or cause.dev


def _filters(cause: Cause) -> bool:
    """Tell whether it is rp_filter that refuses a source, and not, say, that the source is the namespace's own address."""
    what = cause.step.what
    return isinstance(what, RpFilter) and (what.refusal is None or what.refusal.cause == "reverse path")


def _refusing(cause: Cause) -> Route | None:
    """Return the route that refuses packets (blackhole, unreachable, prohibit), where that is the cause."""
    what = cause.step.what
    refuses = isinstance(what, RouteLookup) and what.cause in REFUSING
    return what.route if isinstance(what, RouteLookup) and refuses else None


def _del_route(route: Route) -> str:
    table = f" table {route.table_id}" if route.table_id != RT_TABLE_MAIN else ""
    metric = f" metric {route.metric}" if route.metric else ""
    return f"ip route del {ROUTE_TYPES[route.type]} {format_prefix(route.dst, route.dst_len)}{table}{metric}"


def _add_route(cluster: ClusterState, trace: Trace, cause: Cause) -> str:
    owner = owner_of(trace, cause)
    found = way_to(cluster, cause.place.netns, owner) if owner is not None else None
    if owner is None or owner.prefix is None or found is None:
        return ""
    text = f"ip route add {format_prefix(*owner.prefix)} via {format_ip(found.gateway)}"
    if not found.flags & RTNH_F_ONLINK:
        return text
    link = cluster.nodes[cause.place.netns.node].netns[cause.place.netns].links[found.oif]
    return f"{text} dev {quoted(link.ifname)} onlink"


def _add_default(cluster: ClusterState, cause: Cause) -> str:
    """Give a pod the gateway that its node's other pods have, else its bridge's address, if it is on the pod's link."""
    node = cluster.nodes[cause.place.netns.node]
    pod, width = node.netns[cause.place.netns], len(cause.step.packet.dst)
    link = pod_link(pod)
    if link is None:
        return ""
    on_link = [
        route
        for route in pod.routes.values()
        if route.dst_len and any(hop.oif == link.ifindex and not hop.gateway for hop in route.nexthops)
    ]
    others = [ns for key, ns in sorted(node.netns.items()) if ns.netns.pod is not None and key != pod.key]
    used = [one for ns in others if (inner := pod_link(ns)) for one in default_gateways(ns, inner)]
    used += [addr.addr for addr in node.root.addrs.values()] if node.root is not None else []
    for gateway in used:
        if len(gateway) == width and any(in_prefix(gateway, one.dst, one.dst_len) for one in on_link):
            return f"ip route add default via {format_ip(gateway)} dev {quoted(link.ifname)}"
    return ""


def _netns(cluster: ClusterState, key: NetnsKey) -> NetnsState | None:
    node = cluster.nodes.get(key.node)
    return node.netns.get(key) if node is not None else None


def without(cluster: ClusterState, trace: Trace, cause: Cause) -> ClusterState | None:
    """Return the state as it would be without a cause; None where that can't be said."""
    ns = _netns(cluster, cause.place.netns)
    if ns is None:
        return None
    what = cause.step.what
    match cause.kind:
        case "link-down":
            link = next((one for one in ns.links.values() if one.ifname == cause.dev), None)
            return _with_link_up(cluster, ns, link) if link is not None else None
        case "bridge-port":
            link = next((one for one in ns.links.values() if one.ifname == _port(cause)), None)
            port = (
                msgspec.structs.replace(link.port, state=BR_STATE_FORWARDING) if link and link.port else None
            )
            return _with_link(cluster, ns, link, port=port) if link is not None else None
        case "rp-filter" if _filters(cause):
            return _without_rp_filter(cluster, ns, cause)
        case "forwarding-off" if isinstance(what, Forward):
            return _forwarding(cluster, ns)
        case "wrong-neighbour" if isinstance(what, Neighbour):
            found = {key: one for key, one in ns.neighs.items() if one.dst != what.nexthop}
            return _put(cluster, msgspec.structs.replace(ns, neighs=found))
        case "no-route":
            return _with_route(cluster, ns, trace, cause)
        case "rule-drops" if isinstance(what, HookVerdict):
            return _without_rule(cluster, ns, what)
    return None


def _put(cluster: ClusterState, ns: NetnsState, bodies: Mapping[bytes, Body] | None = None) -> ClusterState:
    node = cluster.nodes[ns.key.node]
    node = msgspec.structs.replace(node, netns={**node.netns, ns.key: ns})
    return ClusterState({**cluster.nodes, node.node: node}, cluster.bodies if bodies is None else bodies)


def _with_link(cluster: ClusterState, ns: NetnsState, link: Link, **changes: Any) -> ClusterState:
    changed = msgspec.structs.replace(link, **changes)
    return _put(cluster, msgspec.structs.replace(ns, links={**ns.links, link.ifindex: changed}))


def _with_link_up(cluster: ClusterState, ns: NetnsState, link: Link) -> ClusterState:
    """Set a link up: the kernel makes the routes of its subnets then, and no other."""
    routes = {}
    for addr in ns.addrs.values():
        if addr.ifindex == link.ifindex and addr.prefixlen < len(addr.addr) * 8:
            own = b"" if len(addr.addr) == 16 else addr.addr
            net = mask_ip(addr.addr, addr.prefixlen)
            route = Route(RT_TABLE_MAIN, net, addr.prefixlen, prefsrc=own, nexthops=(Nexthop(link.ifindex),))
            routes[route.key] = route
    ns = msgspec.structs.replace(ns, routes={**routes, **ns.routes})
    return _with_link(cluster, ns, link, flags=link.flags | IFF_UP | IFF_LOWER_UP)


def _without_rp_filter(cluster: ClusterState, ns: NetnsState, cause: Cause) -> ClusterState | None:
    link = ns.links.get(cause.step.at.ifindex) if isinstance(cause.step.at, LinkKey) else None
    if link is None or link.ipv4 is None:
        return None
    name = "net.ipv4.conf.all.rp_filter"
    ns = msgspec.structs.replace(ns, sysctls={key: one for key, one in ns.sysctls.items() if key != name})
    return _with_link(cluster, ns, link, ipv4=msgspec.structs.replace(link.ipv4, rp_filter=0))


def _forwarding(cluster: ClusterState, ns: NetnsState) -> ClusterState:
    links = {}
    for ifindex, link in ns.links.items():
        conf4 = msgspec.structs.replace(link.ipv4, forwarding=1) if link.ipv4 is not None else None
        conf6 = msgspec.structs.replace(link.ipv6, forwarding=1) if link.ipv6 is not None else None
        links[ifindex] = msgspec.structs.replace(link, ipv4=conf4, ipv6=conf6)
    sysctls = {
        key: msgspec.structs.replace(one, value=1) if key.endswith(("ip_forward", ".forwarding")) else one
        for key, one in ns.sysctls.items()
    }
    return _put(cluster, msgspec.structs.replace(ns, links=links, sysctls=sysctls))


def _with_route(cluster: ClusterState, ns: NetnsState, trace: Trace, cause: Cause) -> ClusterState | None:
    owner = owner_of(trace, cause)
    refusing = _refusing(cause)
    if refusing is not None:
        left = {key: one for key, one in ns.routes.items() if key != refusing.key}
        return _put(cluster, msgspec.structs.replace(ns, routes=left))
    found = way_to(cluster, ns.key, owner) if owner is not None else None
    if found is None or owner is None:
        return None
    prefix = owner.prefix or (owner.addr, len(owner.addr) * 8)
    route = Route(RT_TABLE_MAIN, prefix[0], prefix[1], nexthops=(found,))
    return _put(cluster, msgspec.structs.replace(ns, routes={**ns.routes, route.key: route}))


def _without_rule(cluster: ClusterState, ns: NetnsState, what: HookVerdict) -> ClusterState | None:
    if what.chain is None:
        return None
    section = "xt_chains" if what.chain.legacy else "nft_chains"
    chains = getattr(ns, section)
    base = what.chain.chain
    name = what.hit.within if what.hit is not None else base.name
    chain = chains.get((base.family, base.table, name))
    if chain is None:
        return None
    if what.hit is None:
        changed = msgspec.structs.replace(chain, policy=NF_ACCEPT)
        return _put(cluster, msgspec.structs.replace(ns, **{section: {**chains, chain.key: changed}}))
    body = cluster.bodies.get(chain.body)
    if not isinstance(body, ChainBody) or what.hit.body not in body.rules:
        return None
    at = body.rules.index(what.hit.body)
    left = ChainBody((*body.rules[:at], *body.rules[at + 1 :]))
    digest = body_digest(left)
    handles = (*chain.handles[:at], *chain.handles[at + 1 :])
    changed = msgspec.structs.replace(chain, body=digest, handles=handles)
    put = msgspec.structs.replace(ns, **{section: {**chains, chain.key: changed}})
    return _put(cluster, put, {**cluster.bodies, digest: left} if digest else None)

"""From what a person types to a flow: pods, namespaces, nodes and addresses, and sensible ports."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netviz.core.model.addr import AF_INET, AF_INET6, format_ip, format_prefix, in_prefix, mask_ip, pack_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import RT_SCOPE_HOST
from netviz.core.model.link import IFF_LOOPBACK, IFF_UP
from netviz.core.sim.link.cluster_index import candidates, having_addr
from netviz.core.sim.node_index import names_of
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import is_link_local6, open_source
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.trace import Flow, pod_name
from netviz.core.state.node import ClusterState, NetnsState
from netviz.core.state.uplink import leads_outside

AUTO = "auto"
PROTOS = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP, "icmp": IPPROTO_ICMP}
DEFAULT_SPORT = 40000
DEFAULT_ECHO_ID = 1
DEFAULT_DPORT = 80
# A bare SYN with the usual options, a datagram of 32 bytes, a ping: whole IP packets, by IP version.
DEFAULT_LENGTHS = {
    ("tcp", 4): 60,
    ("tcp", 6): 80,
    ("udp", 4): 60,
    ("udp", 6): 80,
    ("icmp", 4): 84,
    ("icmp", 6): 104,
}
MIN_LENGTHS = {
    ("tcp", 4): 40,
    ("tcp", 6): 60,
    ("udp", 4): 28,
    ("udp", 6): 48,
    ("icmp", 4): 28,
    ("icmp", 6): 48,
}
MAX_LENGTH = 65535


class EndpointError(ValueError):
    """What was asked for can't be traced; the message is one clear sentence."""


class Endpoint(msgspec.Struct, frozen=True):
    """What a name or an address stands for: a namespace, an address, or both; an address alone is somebody's outside."""

    ns: NetnsState | None = None
    addr: bytes = b""


def _describe(ns: NetnsState) -> str:
    name = pod_name(ns.netns) or ns.netns.name or ("its root namespace" if ns.netns.root else str(ns.key))
    return f"{name} on {ns.key.node}"


def _only(found: list[NetnsState], what: str) -> NetnsState | None:
    if len(found) > 1:
        names = ", ".join(sorted(_describe(ns) for ns in found))
        raise EndpointError(f"{what} is ambiguous: {names}")
    return found[0] if found else None


def _by_name(cluster: ClusterState, text: str) -> NetnsState | None:
    """Find a namespace by pod name, `namespace/name`, key, its own name, or its node's name, in this order."""
    nodes = list(candidates(cluster.nodes, text))
    pods = [node.netns[key] for node in nodes for key in names_of(node.netns).full_pods.get(text, ())]
    found = _only(pods, f"the pod {text!r}")
    if found is None:
        named = [node.netns[key] for node in nodes for key in names_of(node.netns).pods.get(text, ())]
        found = _only(named, f"the pod name {text!r}")
    if found is not None:
        return found
    try:
        key = NetnsKey.parse(text)
    except ValueError:
        key = None
    if key is not None and key.node in cluster.nodes and key in cluster.nodes[key.node].netns:
        return cluster.nodes[key.node].netns[key]
    named = [node.netns[key] for node in nodes for key in names_of(node.netns).names.get(text, ())]
    found = _only(named, f"the namespace name {text!r}")
    if found is not None:
        return found
    node = cluster.nodes.get(text)
    if node is not None:
        if node.root is None:
            raise EndpointError(f"the state of node {text!r} lacks its own namespace")
        return node.root
    return None


def _parse_ip(text: str) -> bytes | None:
    try:
        return pack_ip(text)
    except ValueError:
        return None


def find_source(cluster: ClusterState, text: str) -> Endpoint:
    """Find where a flow starts. Raises: EndpointError."""
    found = _by_name(cluster, text)
    if found is not None:
        return Endpoint(found)
    addr = _parse_ip(text)
    if addr is None:
        raise EndpointError(f"no pod, namespace or node is called {text!r}")
    owners = having_addr(cluster.nodes, addr)
    ns = _only(owners, f"the address {text}")
    if ns is None and (inside := _inside(cluster, addr)) is not None:
        raise EndpointError(
            f"no namespace has the address {text}, and it isn't outside: it is in {format_prefix(*inside)}"
        )
    return Endpoint(ns, addr)


def _entrance(cluster: ClusterState, src: bytes, target: Endpoint, to: str) -> LinkKey:
    """Find by which link a packet from outside comes in: of the node that has the target, else of the first.

    Raises: EndpointError when the source belongs to a pods' range, or no link is known to lead outside.
    """
    names = [target.ns.key.node] if target.ns is not None else sorted(cluster.nodes)
    for name in names:
        root = cluster.nodes[name].root
        for ifindex, link in sorted(root.links.items()) if root is not None else ():
            assert root is not None
            here = [one for one in root.addrs.values() if one.ifindex == ifindex]
            of_family = any(len(one.addr) == len(src) for one in here)
            if of_family and link.flags & IFF_UP and leads_outside(link, here):
                return LinkKey(root.key, ifindex)
    where = names[0] if len(names) == 1 else "any node"
    raise EndpointError(
        f"no namespace has the address {format_ip(src)}, and no link of {where} is known by which it could reach {to} from outside"
    )


def _inside(cluster: ClusterState, addr: bytes) -> tuple[bytes, int] | None:
    """Find the range of a node's bridge, or of its pods by the API, that an address is in; None of one outside."""
    for node in cluster.nodes.values():
        known = node.objects.kube_nodes.get(node.node)
        ranges = [(one.addr, one.prefixlen) for one in known.pod_cidrs] if known is not None else []
        root = node.root
        for one in root.addrs.values() if root is not None else ():
            link = root.links.get(one.ifindex) if root is not None else None
            if link is not None and link.kind == "bridge" and one.prefixlen < len(one.addr) * 8 - 1:
                ranges.append((one.addr, one.prefixlen))
        for prefix, length in ranges:
            if length and in_prefix(addr, mask_ip(prefix, length), length):
                return mask_ip(prefix, length), length
    return None


def find_target(cluster: ClusterState, text: str) -> Endpoint:
    """Find where a flow goes. An address needs no owner. Raises: EndpointError."""
    addr = _parse_ip(text)
    if addr is not None:
        owners = having_addr(cluster.nodes, addr)
        return Endpoint(owners[0] if len(owners) == 1 else None, addr)
    found = _by_name(cluster, text)
    if found is None:
        raise EndpointError(f"no pod is called {text!r}, and it is not an address")
    return Endpoint(found)


def usable_addrs(ns: NetnsState) -> list[bytes]:
    """List a namespace's addresses that others can reach: by link, IPv4 first, loopback and link-local left out."""
    rows: list[tuple[int, int, int, bytes]] = []
    for addr in ns.addrs.values():
        link = ns.links.get(addr.ifindex)
        if link is not None and link.flags & IFF_LOOPBACK:
            continue
        if addr.scope == RT_SCOPE_HOST or is_link_local6(addr.addr):
            continue
        rows.append((len(addr.addr), addr.ifindex, len(rows), addr.addr))
    return [row[-1] for row in sorted(rows)]


def _families(addrs: Iterable[bytes]) -> set[int]:
    return {AF_INET6 if len(addr) == 16 else AF_INET for addr in addrs}


def _target_addr(source: Endpoint, target: Endpoint, to: str) -> bytes:
    if target.addr:
        return target.addr
    assert target.ns is not None
    theirs = usable_addrs(target.ns)
    if not theirs:
        raise EndpointError(f"{to} has no address")
    if source.addr:
        ours = _families([source.addr])
    else:
        assert source.ns is not None
        ours = _families(usable_addrs(source.ns))
    for addr in theirs:
        if _families([addr]) <= ours:
            return addr
    if not ours:
        return theirs[0]
    raise EndpointError(f"the source and {to} have no address family in common")


def _source_addr(ns: NetnsState, flow: RouteFlow, from_: str) -> bytes:
    """Choose the source address as the kernel would; where there is no route, the first of the family."""
    dst = flow.dst
    result = lookup_route(ns, flow)
    if chosen := open_source(ns, result, flow.oif, dst):
        return chosen
    for addr in usable_addrs(ns):
        if len(addr) == len(dst):
            return addr
    name = "IPv6" if len(dst) == 16 else "IPv4"
    raise EndpointError(f"{from_} has no {name} address, and {format_ip(dst)} is one")


def lowest_port(target: NetnsState, proto: int) -> int | None:
    """Take the lowest port on which others can reach the target; None when it listens on none."""
    ports = (
        socket.sport
        for socket in target.sockets.values()
        if socket.proto == proto
        and socket.takes_new
        and not (any(socket.src) and (socket.src[0] == 127 or socket.src == bytes(15) + b"\x01"))
    )
    return min(ports, default=None)


def _likely_proto(target: NetnsState | None) -> str:
    """Choose the protocol for "auto": the one that the target listens to, TCP first; an echo request without any."""
    if target is None or lowest_port(target, IPPROTO_TCP) is not None:
        return "tcp"
    return "udp" if lowest_port(target, IPPROTO_UDP) is not None else "icmp"


def _check_port(name: str, port: int | None) -> None:
    if port is not None and not 0 < port <= 65535:
        raise EndpointError(f"{name} {port} is not a port (1 to 65535)")


def resolve_flow(
    cluster: ClusterState,
    from_: str,
    to: str,
    proto: str = "tcp",
    sport: int | None = None,
    dport: int | None = None,
    length: int | None = None,
    df: bool = False,
) -> Flow:
    """Make a flow of what was asked for.

    `from_` is a pod (`name` or `namespace/name`), a namespace's key or name, a node's name, or an IP
    that one namespace has, or that is outside of the cluster; `to` is the same, or any IP. `length` is the whole IP packet in bytes.
    `proto` "auto" is TCP or UDP, whichever the target listens to, else an ICMP echo; with `dport` it is TCP.
    Without `dport`, TCP and UDP go to the lowest port on which the target listens, else to 80; the
    default source port is 40000, and an echo request's identifier is `sport` or 1.

    Raises: EndpointError.
    """
    if proto != AUTO and proto not in PROTOS:
        raise EndpointError(f"unknown protocol {proto!r}: use tcp, udp, icmp or auto")
    _check_port("source port", sport)
    _check_port("destination port", dport)
    source = find_source(cluster, from_)
    target = find_target(cluster, to)
    if proto == AUTO:
        proto = "tcp" if dport is not None else _likely_proto(target.ns)
    number = PROTOS[proto]
    dst = _target_addr(source, target, to)
    version = 6 if len(dst) == 16 else 4
    least = MIN_LENGTHS[proto, version]
    if length is not None and not least <= length <= MAX_LENGTH:
        raise EndpointError(f"length {length} is not between {least} and {MAX_LENGTH} bytes")
    own_sport = sport is not None
    if number == IPPROTO_ICMP:
        number = IPPROTO_ICMPV6 if version == 6 else IPPROTO_ICMP
        sport, dport = sport or DEFAULT_ECHO_ID, None
    else:
        sport = sport or DEFAULT_SPORT
        dport = dport or (target.ns and lowest_port(target.ns, number)) or DEFAULT_DPORT
    ports = dport is not None
    route = RouteFlow(dst, proto=number, sport=sport if ports else 0, dport=dport or 0)
    if source.ns is not None:
        src, by, start = source.addr or _source_addr(source.ns, route, from_), None, source.ns.key
    else:
        src = source.addr
        by = _entrance(cluster, src, target, to)
        start = by.netns
    if len(src) != len(dst):
        raise EndpointError(f"{from_} and {to} are addresses of different families")
    length = length or DEFAULT_LENGTHS[proto, version]
    bound = bool(source.addr)
    return Flow(start, src, dst, number, sport, dport, length, df, bound=bound, own_sport=own_sport, by=by)

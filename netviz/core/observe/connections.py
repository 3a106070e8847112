"""The connections that a namespace has now, by connection tracking and by its sockets, each as a flow that can be traced.

A connection between pods stands in up to two nodes' tables. That of the client's node has what the client asked for; of a
connection that comes from another node, the table of the pod's own node has only what that one left of it. So of each the
client's view is sought.

Source: include/uapi/linux/netfilter/nf_conntrack_tcp.h, enum tcp_conntrack (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.conntrack import IPS_SEEN_REPLY, CtEntry, CtTuple
from netviz.core.model.ids import NetnsKey
from netviz.core.model.socket import TCP_ESTABLISHED, Socket
from netviz.core.sim.conntrack.ct_index import entry_key, others
from netviz.core.sim.endpoints import DEFAULT_LENGTHS, usable_addrs
from netviz.core.sim.known import left_out, why_missing
from netviz.core.sim.link.cluster_index import EVERYWHERE, having_addr, names_for
from netviz.core.sim.listeners import plain
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, invert
from netviz.core.sim.trace import Flow, pod_name
from netviz.core.state.node import ClusterState, NetnsState

Side = Literal["client", "server"]
TCP_STATES = (
    *("none", "SYN sent", "SYN received", "established", "FIN wait", "close wait", "last ACK", "time wait"),
    *("closed", "SYN sent twice"),
)
_CLOSING = frozenset({4, 5, 6, 7, 8})
_PROTOS = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp", IPPROTO_ICMP: "icmp", IPPROTO_ICMPV6: "icmp"}


class Connection(msgspec.Struct, frozen=True, gc=False):
    """A connection: `orig` as its client asks for it, `reply` as it is answered to the client's node.

    `side` is that of the namespace that was looked at. `entry` is the connection tracking entry by which the client's node
    treats it, in the namespace `at`, None of one that is known by its socket alone. `state` is in words.
    """

    side: Side
    orig: CtTuple
    reply: CtTuple
    state: str
    entry: CtEntry | None = None
    at: NetnsKey | None = None
    has_socket: bool = False

    @property
    def is_closing(self) -> bool:
        """Whether either end has begun to close it, so that no more of its packets decide anything."""
        entry = self.entry
        return entry is not None and entry.proto == IPPROTO_TCP and entry.tcp_state in _CLOSING

    @property
    def target(self) -> tuple[bytes, int]:
        """Address and port at which it is answered, after translation."""
        return self.reply.src, self.reply.sport

    @property
    def is_redirected(self) -> bool:
        """Whether its destination is translated."""
        return self.target != (self.orig.dst, self.orig.dport) and self.orig.proto in (
            IPPROTO_TCP,
            IPPROTO_UDP,
        )

    @property
    def is_masked(self) -> bool:
        """Whether its source is translated."""
        return self.reply.dst != self.orig.src

    @property
    def sort(self) -> tuple[object, ...]:
        """What it has in common with others that the rules treat alike, whose source port alone differs."""
        entry = self.entry
        kept = (entry.status, entry.mark, entry.zone, entry.tcp_state) if entry is not None else None
        return (
            self.orig.proto,
            self.orig.src,
            self.orig.dst,
            self.orig.dport,
            self.target,
            self.reply.dst,
            kept,
        )


def connections_of(cluster: ClusterState, ns: NetnsState) -> list[Connection]:
    """List a namespace's connections with others, by protocol and target; those over its loopback are left out."""
    own = frozenset(usable_addrs(ns))
    node = cluster.nodes[ns.key.node]
    spaces = [ns] if node.root is None or node.root.key == ns.key else [ns, node.root]
    found: dict[CtTuple, Connection] = {}
    for space in spaces:
        for entry in space.conntrack.values():
            one = _of_entry(cluster, own, space, entry)
            if one is not None:
                found[one.orig] = one
    _add_sockets(found, own, ns)
    return sorted(
        found.values(),
        key=lambda one: (one.orig.proto, one.orig.dst, one.orig.dport, one.orig.src, one.orig.sport),
    )


def _of_entry(
    cluster: ClusterState, own: frozenset[bytes], space: NetnsState, entry: CtEntry
) -> Connection | None:
    if entry.osrc in own:
        return _connection("client", entry, space)
    if entry.rsrc not in own:
        return None
    far = _client_entry(cluster, space, entry)
    return _connection("server", *(far or (entry, space)))


def _connection(side: Side, entry: CtEntry, space: NetnsState) -> Connection:
    state = "" if entry.status & IPS_SEEN_REPLY else "not answered"
    if entry.proto == IPPROTO_TCP:
        state = TCP_STATES[entry.tcp_state] if entry.tcp_state < len(TCP_STATES) else "unknown"
    return Connection(side, entry.orig, entry.reply, state or "answered", entry, space.key)


def _client_entry(
    cluster: ClusterState, space: NetnsState, entry: CtEntry
) -> tuple[CtEntry, NetnsState] | None:
    """Find what the client's node has of a connection that came from there; None where that isn't known."""
    client = owner_of(cluster, entry.osrc)
    root = cluster.nodes[client.key.node].root if client is not None else None
    if root is None or root.key == space.key:
        return None
    found = others(root.conntrack).replies.get((0, entry.reply)) or root.conntrack.get(
        entry_key(entry.orig, 0)
    )
    return (found, root) if found is not None else None


def owner_of(cluster: ClusterState, addr: bytes) -> NetnsState | None:
    """Find the only namespace that has an address; None where none or several do."""
    if names_for(cluster.nodes, addr) == EVERYWHERE:
        return None
    holders = having_addr(cluster.nodes, addr)
    return holders[0] if len(holders) == 1 else None


def _add_sockets(found: dict[CtTuple, Connection], own: frozenset[bytes], ns: NetnsState) -> None:
    """Note which connections have a socket here, and add those that no table has."""
    answered = {one.reply: one for one in found.values()}
    listening = {(one.proto, one.sport) for one in ns.sockets.values() if one.takes_new}
    for socket in ns.sockets.values():
        if not _is_connected(socket) or plain(socket.src) not in own:
            continue
        sent = CtTuple(plain(socket.src), plain(socket.dst), socket.proto, socket.sport, socket.dport)
        known = found.get(sent) or answered.get(sent)
        if known is not None:
            found[known.orig] = msgspec.structs.replace(known, has_socket=True)
            continue
        side: Side = "server" if (socket.proto, socket.sport) in listening else "client"
        orig = invert(sent) if side == "server" else sent
        state = "established" if socket.proto == IPPROTO_TCP else "connected"
        found[orig] = Connection(side, orig, invert(orig), state, has_socket=True)


def _is_connected(socket: Socket) -> bool:
    if socket.proto == IPPROTO_TCP:
        return socket.state == TCP_ESTABLISHED
    return socket.proto == IPPROTO_UDP and bool(socket.dport)


def untold(cluster: ClusterState, ns: NetnsState) -> list[str]:
    """Say in sentences which connections of a namespace may be missing."""
    node = cluster.nodes[ns.key.node]
    found = []
    if why := why_missing(node, ns.key, "sockets"):
        found.append(f"its sockets aren't all known: {why}")
    for space in {one.key: one for one in (ns, node.root) if one is not None}.values():
        where = "its own" if space.key == ns.key else f"{ns.key.node}'s"
        if why := why_missing(node, space.key, "conntrack"):
            found.append(f"{where} connection tracking isn't all known: {why}")
    if shed := left_out(node, "conntrack"):
        found.append(f"{shed} changes of {ns.key.node}'s connection tracking were left out under load")
    return found


def flow_of(cluster: ClusterState, one: Connection) -> Flow | None:
    """Make the flow that a connection's own packets are; None where its client isn't known."""
    client = owner_of(cluster, one.orig.src)
    proto = _PROTOS.get(one.orig.proto)
    if client is None or proto is None:
        return None
    icmp = proto == "icmp"
    return Flow(
        client.key,
        one.orig.src,
        one.orig.dst,
        one.orig.proto,
        one.orig.sport,
        None if icmp else one.orig.dport,
        DEFAULT_LENGTHS[proto, 6 if len(one.orig.src) == 16 else 4],
        own_sport=True,
    )


def request_of(cluster: ClusterState, one: Connection) -> dict[str, object] | None:
    """Give the request for a trace of a connection's own packets; None where its client isn't known."""
    client = owner_of(cluster, one.orig.src)
    proto = _PROTOS.get(one.orig.proto)
    if client is None or proto is None:
        return None
    mine = [addr for addr in usable_addrs(client) if len(addr) == len(one.orig.src)]
    name = pod_name(client.netns)
    request: dict[str, object] = {
        "from": name if name and mine == [one.orig.src] else format_ip(one.orig.src),
        "to": format_ip(one.orig.dst),
        "proto": proto,
        "sport": one.orig.sport,
    }
    return request if proto == "icmp" else request | {"dport": one.orig.dport}


def free_port(known: Iterable[Connection]) -> int:
    """Choose a source port that none of some connections has."""
    used = {one.orig.sport for one in known}
    return next(port for port in _ports() if port not in used)


def _ports() -> Iterator[int]:
    yield from range(40_000, 61_000)
    yield from range(1024, 40_000)
    yield 61_000

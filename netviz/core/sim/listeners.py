"""Which socket takes a packet, among those in the state.

Source: net/ipv4/inet_hashtables.c, compute_score, __inet_lookup_established; net/ipv4/udp.c,
__udp4_lib_lookup; net/ipv6/inet6_hashtables.c (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netviz.core.model.conntrack import CtTuple
from netviz.core.model.socket import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, Socket
from netviz.core.sim.index import Index
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, PROTO_NAMES, Packet
from netviz.core.sim.sysctl import value
from netviz.core.state.node import NetnsState


def build_listeners(sockets: Mapping[Any, Socket]) -> dict[tuple[int, int], list[Socket]]:
    """Index sockets that can take a new packet by (protocol, port): TCP listeners, UDP sockets."""
    index: dict[tuple[int, int], list[Socket]] = {}
    for socket in sockets.values():
        if socket.proto == IPPROTO_TCP and socket.state != TCP_LISTEN:
            continue
        index.setdefault((socket.proto, socket.sport), []).append(socket)
    for found in index.values():
        found.sort(key=lambda s: s.cookie)
    return index


listeners: Index[Mapping[Any, Socket], dict[tuple[int, int], list[Socket]]] = Index(build_listeners)


def build_connected(sockets: Mapping[Any, Socket]) -> dict[CtTuple, Socket]:
    """Index connected TCP sockets by the tuple of the packets that they take."""
    return {
        CtTuple(plain(one.dst), plain(one.src), one.proto, one.dport, one.sport): one
        for one in sockets.values()
        if one.proto == IPPROTO_TCP and one.state == TCP_ESTABLISHED
    }


connected: Index[Mapping[Any, Socket], dict[CtTuple, Socket]] = Index(build_connected)


def _score(ns: NetnsState, socket: Socket, packet: Packet, ifindex: int) -> int:
    """Score how well a socket fits; -1: it doesn't. Higher is more specific.

    A socket bound to a VRF or to its slave takes what came in there; one that is bound to no device takes
    a VRF's packets only where l3mdev_accept says so.

    Source: include/net/inet_sock.h, inet_bound_dev_eq; net/ipv6/af_inet6.c, __inet6_bind; net/ipv4/inet_hashtables.c, compute_score;
    net/ipv4/udp.c, compute_score (Linux 6.18).
    """
    score = 0
    if socket.ifindex:
        if socket.ifindex not in (ifindex, packet.sdif):
            return -1
        score += 4
    elif packet.sdif and not value(ns, f"net.ipv4.{PROTO_NAMES[packet.proto]}_l3mdev_accept"):
        return -1
    # An IPv6 socket bound to ::ffff:0.0.0.0 takes all of IPv4, and IPv4 alone.
    bound = plain(socket.src)
    if any(bound):
        if bound != packet.dst:
            return -1
        score += 2
    elif (len(bound) == 16 and not packet.ipv6 and socket.v6only) or (len(bound) == 4 and packet.ipv6):
        return -1
    if socket.state == TCP_ESTABLISHED or socket.dport:
        same = socket.dport == packet.sport and socket.dst in (packet.src, mapped(packet.src))
        if not same:
            return -1
        score += 8
    return score * 2 + (len(socket.src) == len(packet.dst))


def mapped(addr: bytes) -> bytes:
    """Write an IPv4 address as IPv6 sockets have it."""
    return bytes(10) + b"\xff\xff" + addr if len(addr) == 4 else addr


def plain(addr: bytes) -> bytes:
    """Write an address that an IPv6 socket has for IPv4 as packets have it."""
    return addr[12:] if len(addr) == 16 and addr[:12] == mapped(bytes(4))[:12] else addr


def lookup_socket(ns: NetnsState, packet: Packet, ifindex: int) -> Socket | None:
    """Find the socket that takes a packet, the most specific first."""
    best, found = -1, None
    for socket in listeners(ns.sockets).get((packet.proto, packet.dport), ()):
        score = _score(ns, socket, packet, ifindex)
        if score > best and (packet.proto != IPPROTO_UDP or socket.state in (TCP_CLOSE, TCP_ESTABLISHED)):
            best, found = score, socket
    return found

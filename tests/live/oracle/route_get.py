"""Routing alone: the kernel's answer to RTM_GETROUTE beside the simulator's, over random tables and rules.

Source: net/ipv4/route.c, inet_rtm_getroute; net/ipv6/route.c, inet6_rtm_getroute (Linux 6.18).
"""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import msgspec

from lab import netns
from lab.randomnet.generate import generate
from netviz.core.model.addr import AF_INET, AF_INET6, format_ip, pack_ip
from netviz.core.model.l3 import RTN_LOCAL, RTN_UNICAST
from netviz.core.model.link import IFF_LOOPBACK
from netviz.core.sim.route.rp_filter import validate_source
from netviz.core.sim.route.rules import RouteResult, lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.state.node import NetnsState
from tests.live.oracle.build import built
from tests.live.oracle.collect import collect

RTM_GETROUTE, RTM_NEWROUTE, NLMSG_ERROR = 26, 24, 2
NLM_F_REQUEST = 1
RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY = 1, 2, 3, 4, 5
RTA_TABLE, RTA_MARK, RTA_VIA, RTA_UID = 15, 16, 18, 25
RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 27, 28, 29
RTM_F_LOOKUP_TABLE = 0x1000
ERRNO = {101: "ENETUNREACH", 113: "EHOSTUNREACH", 13: "EACCES", 22: "EINVAL"}
IPPROTO_UDP = 17
LOOPBACK_IFINDEX = 1


class Lookup(msgspec.Struct, frozen=True):
    """One question."""

    place: str
    dst: str
    src: str = ""
    iif: int = 0
    oif: int = 0
    mark: int = 0
    tos: int = 0
    proto: int = 0
    sport: int = 0
    dport: int = 0
    uid: int = 0


def _attr(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def _request(lookup: Lookup, seq: int) -> bytes:
    dst = pack_ip(lookup.dst)
    src = pack_ip(lookup.src) if lookup.src else b""
    family, bits = (AF_INET6, 128) if len(dst) == 16 else (AF_INET, 32)
    body = struct.pack(
        "=BBBBBBBBI", family, bits, bits if src else 0, lookup.tos, 0, 0, 0, 0, RTM_F_LOOKUP_TABLE
    )
    body += _attr(RTA_DST, dst) + (_attr(RTA_SRC, src) if src else b"")
    for kind, number in ((RTA_IIF, lookup.iif), (RTA_OIF, lookup.oif), (RTA_MARK, lookup.mark)):
        if number:
            body += _attr(kind, struct.pack("=I", number))
    body += _attr(RTA_UID, struct.pack("=I", lookup.uid))
    if lookup.proto:
        body += _attr(RTA_IP_PROTO, bytes([lookup.proto]))
    for kind, port in ((RTA_SPORT, lookup.sport), (RTA_DPORT, lookup.dport)):
        if port:
            body += _attr(kind, struct.pack("!H", port))
    return struct.pack("=IHHII", 16 + len(body), RTM_GETROUTE, NLM_F_REQUEST, seq, 0) + body


def _answer(data: bytes) -> str:
    """Read one answer: an error's name, or type, table, device and gateway."""
    kind = struct.unpack_from("=H", data, 4)[0]
    if kind == NLMSG_ERROR:
        number = -struct.unpack_from("=i", data, 16)[0]
        return ERRNO.get(number, str(number))
    rtype = data[16 + 7]
    found: dict[int, bytes] = {}
    at = 16 + 12
    while at + 4 <= len(data):
        length, attr = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[attr] = data[at + 4 : at + length]
        at += length + 3 & ~3
    table = struct.unpack("=I", found[RTA_TABLE])[0] if RTA_TABLE in found else 0
    oif = struct.unpack("=I", found[RTA_OIF])[0] if RTA_OIF in found else 0
    via = found.get(RTA_GATEWAY, found.get(RTA_VIA, b"")[2:])
    if rtype == RTN_LOCAL:
        return "local"
    return f"type {rtype} table {table} oif {oif} via {format_ip(via) if any(via) else ''}"


def ask_kernel(path: Path, lookups: list[Lookup]) -> list[str]:
    """Put questions to the kernel inside a namespace."""
    answers: list[str] = []
    with netns.open_socket(path, socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.settimeout(5)
        for lookup in lookups:
            sock.send(_request(lookup, len(answers) + 1))
            answers.append(_answer(sock.recv(8192)))
    return answers


def ask_simulator(ns: NetnsState, lookup: Lookup) -> set[str]:
    """Say what the simulator answers: one text, or one for each nexthop that a hash may choose."""
    dst, src = pack_ip(lookup.dst), pack_ip(lookup.src) if lookup.src else b""
    proto = lookup.proto or (0 if ":" in lookup.dst else IPPROTO_UDP)  # what IPv4 takes when it isn't told
    flow = RouteFlow(
        dst,
        src,
        lookup.iif,
        lookup.oif,
        lookup.mark,
        lookup.tos,
        proto,
        lookup.sport,
        lookup.dport,
        0 if lookup.iif and len(dst) == 4 else lookup.uid,  # an arriving IPv4 packet is nobody's
        strict=not src,
    )
    result = lookup_route(ns, flow)
    if result.unknown:
        return {f"UNKNOWN {result.unknown}"}
    if lookup.iif and len(dst) == 4 and (refused := _refused(ns, flow, result)):
        return {refused}
    if result.error or result.route is None:
        if lookup.oif and len(dst) == 4:
            return {f"type {RTN_UNICAST} table 0 oif {lookup.oif} via "}  # taken to be on the device's link
        return {result.error or "ENETUNREACH"}
    route = result.route
    if result.local:
        return {"local"}
    if route.type != RTN_UNICAST:
        oif = LOOPBACK_IFINDEX if len(dst) == 16 else 0
        return {f"type {route.type} table {route.table_id} oif {oif} via "}
    return {
        f"type {route.type} table {route.table_id} oif {nexthop.oif} via "
        f"{format_ip(nexthop.gateway) if nexthop.gateway else ''}"
        for nexthop in result.nexthops
    }


def _refused(ns: NetnsState, flow: RouteFlow, result: RouteResult) -> str:
    """Say why an arriving IPv4 packet goes nowhere: forwarding, or its source; "" where it goes on.

    Source: net/ipv4/route.c, ip_route_input_slow; what is dropped there is EINVAL to who asked.
    """
    link = ns.links[flow.iif]
    forwards = link.ipv4 is not None and link.ipv4.forwarding
    if not result.local and not forwards:
        return "EHOSTUNREACH"
    if result.error or result.route is None:
        return ""
    oif = 0 if result.local or not result.nexthops else result.nexthops[0].oif
    return "EINVAL" if validate_source(ns, link, flow, oif) is not None else ""


def random_lookups(
    rng: random.Random, ns: NetnsState, place: str, addrs: list[str], count: int
) -> list[Lookup]:
    """Make questions with every selector. What is refused before any table is looked at isn't asked."""
    own = [format_ip(addr.addr) for addr in ns.addrs.values()]
    devices = [link.ifindex for link in ns.links.values() if link.up and not link.flags & IFF_LOOPBACK]
    made = []
    for _ in range(count):
        dst = rng.choice(addrs)
        v6 = ":" in dst
        same = [addr for addr in own if (":" in addr) == v6 and not addr.startswith(("fe80", "127."))]
        ports = rng.random() < 0.5
        proto = rng.choice([6, 17]) if ports else rng.choice([0, 0, 1 if not v6 else 58])
        asked = rng.choice(["", "", "iif", "oif"]) if devices else ""
        src = rng.choice(same) if same and rng.random() < 0.5 else ""
        if asked == "iif":
            src = rng.choice([addr for addr in addrs if (":" in addr) == v6])
        made.append(
            Lookup(
                place,
                dst,
                src,
                rng.choice(devices) if asked == "iif" else 0,
                rng.choice(devices) if asked == "oif" else 0,
                mark=rng.choice([0, 0, 1, 0x10, 0x4000, 0x11]),
                tos=rng.choice([0, 0, 0x10, 0x08]),
                proto=proto,
                sport=rng.choice([0, 20001, 20011, 30000]) if ports else 0,
                dport=rng.choice([0, 8080, 81, 8500]) if ports else 0,
                uid=rng.choice([0, 0, 1000, 1500, 3000]),
            )
        )
    return made


def compare_lookups(seed: int, count: int) -> tuple[int, list[str]]:
    """Ask both about a random network. Returns how many questions and what differed."""
    network = generate(seed, 0)
    rng = random.Random(seed)
    differences: list[str] = []
    asked = 0
    with built(network) as up:
        state = collect(up)
        for node in state.nodes.values():
            for ns in node.netns.values():
                place = ns.netns.pod.name if ns.netns.pod is not None else node.node
                if place not in up.paths:
                    continue
                addrs = [
                    format_ip(a.addr)
                    for n in state.nodes.values()
                    for o in n.netns.values()
                    for a in o.addrs.values()
                ]
                addrs = [a for a in addrs if not a.startswith(("fe80", "127.")) and a != "::1"]
                addrs += ["10.244.1.222", "203.0.113.7", "2001:db8:9::7", "fd44:1::222"]
                lookups = random_lookups(rng, ns, place, addrs, count)
                for lookup, kernel in zip(lookups, ask_kernel(up.paths[place], lookups), strict=True):
                    asked += 1
                    mine = ask_simulator(ns, lookup)
                    if kernel not in mine:
                        differences.append(
                            f"seed {seed}: {lookup}: kernel {kernel}, simulator {sorted(mine)}"
                        )
    return asked, differences

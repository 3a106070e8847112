"""Policy rules that iproute2 may be too old to write: DSCP, masks of DSCP and ports, IPv6 flow labels.

The rules are made with netlink messages of the test's own, read with the collector's codec, and looked up
by the kernel and by the simulator.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.collectors import rtnl
from lab import netns
from netviz.core.model.addr import AF_INET, AF_INET6
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Rule
from netviz.core.model.netns import Netns
from netviz.core.sim.route.rules import LABEL_UNKNOWN, lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.words.iproute import rule_text
from netviz.core.state.node import NetnsState
from tests.live.oracle.route_get import Lookup, ask_kernel, ask_simulator

pytestmark = pytest.mark.live

RTM_NEWROUTE, RTM_NEWRULE, NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 24, 32, 1, 4, 0x400
FRA_PRIORITY, FRA_TABLE = 6, 15
FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_DSCP = 22, 23, 24, 25
FRA_FLOWLABEL, FRA_FLOWLABEL_MASK, FRA_SPORT_MASK, FRA_DPORT_MASK, FRA_DSCP_MASK = 26, 27, 28, 29, 30
RTA_TABLE, RTN_UNREACHABLE, RTN_PROHIBIT = 15, 7, 8
NAMED = {RTN_UNREACHABLE: "EHOSTUNREACH", RTN_PROHIBIT: "EACCES"}
DST = "198.51.100.1"


def _attr(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _tell(sock: socket.socket, kind: int, body: bytes) -> None:
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
    sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    error = -struct.unpack_from("=i", sock.recv(8192), 16)[0]
    assert error == 0, os.strerror(error)


def _rule(sock: socket.socket, family: int, priority: int, table: int, *attrs: bytes) -> None:
    header = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 1, 0)
    own = _attr(FRA_PRIORITY, struct.pack("=I", priority)) + _attr(FRA_TABLE, struct.pack("=I", table))
    _tell(sock, RTM_NEWRULE, header + own + b"".join(attrs))


def _default(sock: socket.socket, table: int, rtype: int) -> None:
    """Give a table a default route that says by its error which table it was."""
    header = struct.pack("=BBBBBBBBI", AF_INET, 0, 0, 0, 0, 4, 0, rtype, 0)
    _tell(sock, RTM_NEWROUTE, header + _attr(RTA_TABLE, struct.pack("=I", table)))


def _ports(low: int, high: int) -> bytes:
    return struct.pack("=HH", low, high)


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    path = tmp_path / "rules"
    netns.create(path)
    try:
        with netns.open_socket(path, socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.bind((0, 0))
            sock.settimeout(5)
            yield path, sock
    finally:
        netns.unbind(path)


def _state(sock: socket.socket) -> NetnsState:
    return NetnsState(
        Netns(NetnsKey("n", 4, 1), root=True),
        links={link.ifindex: link for link in rtnl.read_links(sock)},
        routes={route.key: route for route in rtnl.read_routes(sock)},
        rules={rule.key: rule for rule in rtnl.read_rules(sock)},
    )


def _by_priority(state: NetnsState, family: int) -> dict[int, Rule]:
    return {rule.priority: rule for rule in state.rules.values() if rule.family == family}


def test_masks_are_read_and_matched_as_the_kernel_does(namespace: tuple[Path, socket.socket]) -> None:
    path, sock = namespace
    for table, rtype in ((101, RTN_UNREACHABLE), (102, RTN_PROHIBIT)):
        _default(sock, table, rtype)
    udp = _attr(FRA_IP_PROTO, b"\x11")
    _rule(sock, AF_INET, 10, 101, _attr(FRA_DSCP, b"\x04"))
    _rule(sock, AF_INET, 20, 102, _attr(FRA_DSCP, b"\x02"), _attr(FRA_DSCP_MASK, b"\x06"))
    _rule(
        sock,
        AF_INET,
        30,
        101,
        udp,
        _attr(FRA_SPORT_RANGE, _ports(0x10, 0x10)),
        _attr(FRA_SPORT_MASK, struct.pack("=H", 0xFFF0)),
    )
    _rule(
        sock,
        AF_INET,
        40,
        102,
        udp,
        _attr(FRA_DPORT_RANGE, _ports(0x01, 0x01)),
        _attr(FRA_DPORT_MASK, struct.pack("=H", 0x0003)),
    )
    _rule(sock, AF_INET, 50, 101, udp, _attr(FRA_DPORT_RANGE, _ports(200, 300)))
    state = _state(sock)
    rules = _by_priority(state, AF_INET)
    assert (rules[10].dscp, rules[10].dscp_mask, rules[20].dscp, rules[20].dscp_mask) == (4, 0, 2, 6)
    assert (rules[30].sport_mask, rules[40].dport_mask, rules[50].dport_mask) == (0xFFF0, 3, 0)
    assert "sport 0x10/0xfff0" in rule_text(rules[30])
    assert "dscp 0x2/0x6" in rule_text(rules[20])
    lookups = [
        Lookup("n", DST, tos=tos, proto=17, sport=sport, dport=dport)
        for tos, sport, dport in itertools.product(
            (0, 0x08, 0x10, 0x18), (0, 0x0F, 0x10, 0x1F, 0x20), (2, 4, 5, 250, 400)
        )
    ]
    kernel = ask_kernel(path, lookups)
    different = [
        f"{lookup}: kernel {said}, simulator {mine}"
        for lookup, said in zip(lookups, kernel, strict=True)
        if said not in (mine := ask_simulator(state, lookup))
    ]
    assert not different, "\n".join(different)
    assert set(NAMED.values()) <= set(kernel), "every table decided something"
    assert "ENETUNREACH" in kernel


def test_a_rule_that_looks_at_the_flow_label_is_not_guessed(namespace: tuple[Path, socket.socket]) -> None:
    _, sock = namespace
    label = (
        _attr(FRA_FLOWLABEL, struct.pack(">I", 0x12345)),
        _attr(FRA_FLOWLABEL_MASK, struct.pack(">I", 0xFFFFF)),
    )
    _rule(sock, AF_INET6, 10, 101, *label)
    state = _state(sock)
    rule = _by_priority(state, AF_INET6)[10]
    assert (rule.flowlabel, rule.flowlabel_mask) == (0x12345, 0xFFFFF)
    assert lookup_route(state, RouteFlow(b"\x20\x01" + bytes(14))).unknown == LABEL_UNKNOWN

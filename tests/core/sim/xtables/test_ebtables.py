"""Matches and targets of ebtables: frames with IP packets and ARP messages, by their payloads as C lays them out."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NFPROTO_BRIDGE, NftExpr
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.compat.ebtables import NF_BR_PRE_ROUTING, PACKET_HOST
from netviz.core.sim.nft.context import Context, Result, Stop, Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from tests.core.sim.xtables.recorded import context, echo, tcp, udp

T, F, U = Tri.TRUE, Tri.FALSE, Tri.UNKNOWN
MAC, OTHER = bytes.fromhex("0a5800000001"), bytes.fromhex("0a5800000002")
ACCEPT, DROP, CONTINUE, RETURN = Verdict(1), Verdict(0), Verdict(-1), Verdict(-5)


def frame(packet: Packet, **where: Any) -> Context:
    """Stand a packet at a bridge's hook."""
    ctx = context(packet, iif="veth1", **where)
    ctx.family = ctx.table_family = NFPROTO_BRIDGE
    return ctx


def ask(packet: Packet, name: str, info: bytes, kind: str = "match") -> Result:
    """Evaluate a match or target."""
    return evaluate(frame(packet), NftExpr(kind, {"name": name, "rev": 0, "info": info}))


def ip(
    wanted: int,
    invert: int = 0,
    *,
    dst: str = "0.0.0.0",
    tos: int = 0,
    proto: int = 0,
    ports: bytes = bytes(8),
) -> bytes:
    """Make an ebt_ip_info with a whole destination address."""
    return bytes(4) + pack_ip(dst) + bytes(4) + b"\xff" * 4 + bytes([tos, proto, wanted, invert]) + ports


PORTS = struct.pack("<4H", 0, 65535, 80, 90)
ECHO = bytes([8, 8, 0, 0, 0, 255, 0, 0])
IP_CASES: list[tuple[Packet, bytes, Tri]] = [
    (tcp(), ip(2, dst="10.1.2.3"), T),
    (tcp(), ip(2, dst="10.1.2.4"), F),
    (tcp(), ip(2, 2, dst="10.1.2.4"), T),
    (tcp(tos=0x10), ip(4, tos=0x10), T),
    (tcp(), ip(8, proto=6), T),
    (udp(), ip(8, proto=6), F),
    (tcp(dport=85), ip(0x28, proto=6, ports=PORTS), T),
    (tcp(dport=91), ip(0x28, proto=6, ports=PORTS), F),
    (tcp(dport=91), ip(0x28, 0x20, proto=6, ports=PORTS), T),
    (tcp(dport_unsure=True), ip(0x28, proto=6, ports=PORTS), U),
    (echo(), ip(0x48, proto=1, ports=ECHO), T),
    (echo(icmp_type=0), ip(0x48, proto=1, ports=ECHO), F),
    (tcp("fd00::1", "fd00::2"), ip(2), U),
]


@pytest.mark.parametrize(("packet", "info", "expected"), IP_CASES)
def test_ip(packet: Packet, info: bytes, expected: Tri) -> None:
    """Source: net/bridge/netfilter/ebt_ip.c, ebt_ip_mt."""
    assert ask(packet, "ip", info) is expected


def test_ip6() -> None:
    """Source: net/bridge/netfilter/ebt_ip6.c, ebt_ip6_mt."""
    info = bytes(16) + pack_ip("fd00::2") + bytes(16) + b"\xff" * 16 + bytes([0, 17, 0x2A, 0])
    info += struct.pack("<4H", 0, 0, 53, 53)
    assert ask(udp("fd00::1", "fd00::2"), "ip6", info) is T
    assert ask(udp("fd00::1", "fd00::3"), "ip6", info) is F
    assert ask(udp("fd00::1", "fd00::2", dport=54), "ip6", info) is F


def arp(opcode: int, **more: Any) -> Packet:
    """Make an ARP message from 10.1.0.2 about 10.1.0.3."""
    return Packet(pack_ip("10.1.0.2"), pack_ip("10.1.0.3"), 0, arp=opcode, smac=MAC, dmac=OTHER, **more)


def test_arp() -> None:
    """Operation, addresses and MACs. Source: net/bridge/netfilter/ebt_arp.c, ebt_arp_mt."""

    def info(wanted: int, invert: int = 0) -> bytes:
        fixed = struct.pack(">3H2x", 1, 0x0800, 1) + pack_ip("10.1.0.2") + b"\xff" * 4
        fixed += pack_ip("10.1.0.3") + b"\xff" * 4 + MAC + b"\xff" * 6 + bytes(6) + b"\xff" * 6
        return fixed + bytes([wanted, invert])

    every = 0x7F
    assert ask(arp(1), "arp", info(every)) is T
    assert ask(arp(2), "arp", info(every)) is F
    assert ask(arp(2), "arp", info(1, 1)) is T
    assert ask(arp(1), "arp", info(0x80)) is F
    assert ask(tcp(), "arp", info(0)) is F


def test_among() -> None:
    """A MAC, or a MAC with its address, in a table. Source: net/bridge/netfilter/ebt_among.c, ebt_among_mt."""
    pool = b"\0\0" + MAC + bytes(4) + b"\0\0" + OTHER + pack_ip("10.0.0.1")
    table = bytes(257 * 4) + (2).to_bytes(4, "little") + pool
    for smac, src, expected in ((MAC, "10.0.0.7", T), (OTHER, "10.0.0.1", T), (OTHER, "10.0.0.7", F)):
        packet = tcp(src, smac=smac, dmac=MAC)
        assert ask(packet, "among", struct.pack("<iii", 0, 12, 0) + table) is expected
        assert ask(packet, "among", struct.pack("<iii", 0, 12, 2) + table) is not expected


def test_marks_and_kinds_of_frames() -> None:
    """mark_m under a mask or by any bit; pkttype by the bridge's MAC; tags and other protocols aren't there."""
    masked = struct.pack("<QQBB6x", 5, 0xF, 0, 1)
    assert (ask(tcp(mark=0x25), "mark_m", masked), ask(tcp(mark=6), "mark_m", masked)) == (T, F)
    any_bit = struct.pack("<QQBB6x", 0, 0xF0, 0, 2)
    assert (ask(tcp(mark=0x10), "mark_m", any_bit), ask(tcp(mark=1), "mark_m", any_bit)) == (T, F)
    bridge = next(link for link in frame(tcp()).ns.links.values() if link.ifname == "br0")
    for dmac, kind in ((bridge.mac, 0), (BROADCAST_MAC, 1), (b"\x33\x33" + bytes(4), 2), (OTHER, 3)):
        answers = [ask(tcp(dmac=dmac), "pkttype", bytes([wanted, 0])) for wanted in range(4)]
        assert answers == [T if wanted == kind else F for wanted in range(4)]
    was_ours = tcp(dmac=OTHER, pkttype=0)
    assert (ask(was_ours, "pkttype", bytes(2)), ask(was_ours, "pkttype", bytes([3, 0]))) == (T, F)
    assert ask(tcp(), "vlan", bytes(8)) is F
    assert ask(tcp(), "stp", bytes(72)) is F
    assert ask(tcp(), "802_3", bytes(8)) is F
    assert ask(tcp(), "limit", bytes(32)) is U
    assert ask(tcp(), "ip", bytes(3)) is U


@pytest.mark.parametrize(
    ("target", "mark", "verdict"),
    [
        (0xFFFFFFFF, 0x12, ACCEPT),
        (0xFFFFFFED, 0x33, CONTINUE),
        (0xFFFFFFDC, 0x02, RETURN),
        (0xFFFFFFCE, 0x31, DROP),
    ],
)
def test_setting_the_mark(target: int, mark: int, verdict: Verdict) -> None:
    """Set, or, and, xor with 0x12, each with another verdict. Source: net/bridge/netfilter/ebt_mark.c."""
    ctx = frame(tcp(mark=0x23))
    expr = NftExpr("target", {"name": "mark", "rev": 0, "info": struct.pack("<QI4x", 0x12, target)})
    assert evaluate(ctx, expr) == verdict
    assert ctx.packet.mark == mark


def test_changing_macs() -> None:
    """dnat, snat, and redirect to the bridge itself; arpreply answers requests alone."""
    ctx = frame(tcp(smac=MAC, dmac=MAC))
    evaluate(
        ctx, NftExpr("target", {"name": "dnat", "rev": 0, "info": OTHER + struct.pack("<2xI", 0xFFFFFFFF)})
    )
    evaluate(
        ctx, NftExpr("target", {"name": "snat", "rev": 0, "info": OTHER + struct.pack("<2xI", 0xFFFFFFEF)})
    )
    assert (ctx.packet.smac, ctx.packet.dmac, ctx.packet.pkttype) == (OTHER, OTHER, 3)
    done = evaluate(
        ctx, NftExpr("target", {"name": "redirect", "rev": 0, "info": struct.pack("<I", 0xFFFFFFFD)})
    )
    bridge = next(link for link in ctx.ns.links.values() if link.ifname == "br0")
    assert (done, ctx.packet.dmac, ctx.packet.pkttype) == (CONTINUE, bridge.mac, 0)
    reply = MAC + struct.pack("<2xI", 0xFFFFFFFE)
    assert ask(arp(1), "arpreply", reply, "target") == Stop("target arpreply")
    assert ask(arp(2), "arpreply", reply, "target") == CONTINUE
    assert ask(tcp(), "log", bytes(40), "target") is T
    assert ask(tcp(), "dnat", bytes(3), "target") == Stop("target dnat")


@pytest.mark.parametrize(
    ("mac", "kind"), [(b"\xff" * 6, 1), (b"\x01\x00\x5e" + bytes(3), 2), (OTHER, 3), (None, PACKET_HOST)]
)
def test_a_new_destination_says_whom_a_frame_is_for(mac: bytes | None, kind: int) -> None:
    """None stands for the bridge's own. Source: net/bridge/netfilter/ebt_dnat.c, ebt_dnat_tg."""
    ctx = frame(tcp(smac=MAC, dmac=MAC))
    ctx.hook = NF_BR_PRE_ROUTING
    bridge = next(link for link in ctx.ns.links.values() if link.ifname == "br0")
    info = (mac or bridge.mac) + struct.pack("<2xI", 0xFFFFFFFF)
    evaluate(ctx, NftExpr("target", {"name": "dnat", "rev": 0, "info": info}))
    assert ctx.packet.pkttype == kind

"""Rules of ebtables in words, as `ebtables-save` writes them: payloads as C lays them out."""

from __future__ import annotations

import struct

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NFT_GOTO, NFT_JUMP, NFT_RETURN, NftExpr, NftRuleBody
from netviz.core.sim.xtables.text_ebtables import eb_rule_text

MAC = bytes.fromhex("0a5800000001")
ACCEPT, DROP = 1, 0


def written(*exprs: NftExpr) -> str:
    return eb_rule_text(NftRuleBody(exprs))


def match(name: str, info: bytes) -> NftExpr:
    return NftExpr("match", {"name": name, "rev": 0, "info": info})


def target(name: str, info: bytes = b"") -> NftExpr:
    return NftExpr("target", {"name": name, "rev": 0, "info": info})


def verdict(code: int, chain: str = "") -> NftExpr:
    return NftExpr("immediate", {"dreg": 0, "data": {"code": code, "chain": chain}})


def load(name: str, **attrs: int) -> NftExpr:
    return NftExpr(name, {"dreg": 1, **attrs})


def compare(data: bytes, op: int = 0) -> NftExpr:
    return NftExpr("cmp", {"sreg": 1, "op": op, "data": data})


def ip(wanted: int, invert: int = 0, *, mask: str = "255.255.255.255", ports: bytes = bytes(8)) -> bytes:
    """struct ebt_ip_info from 10.0.0.1 to 10.0.0.2, with TOS 0x10 and TCP."""
    addrs = pack_ip("10.0.0.1") + pack_ip("10.0.0.2") + pack_ip(mask) * 2
    return addrs + bytes([0x10, 6, wanted, invert]) + ports


def ip6(wanted: int, ports: bytes = bytes(8)) -> bytes:
    """struct ebt_ip6_info from fd00::1 to fd00::2, with ICMPv6."""
    addrs = pack_ip("fd00::1") + pack_ip("fd00::2") + b"\xff" * 16 + b"\xff" * 8 + bytes(8)
    return addrs + bytes([2, 58, wanted, 0]) + ports


def arp(wanted: int, invert: int = 0) -> bytes:
    """struct ebt_arp_info: a request from 10.0.0.1 for 10.0.0.0/24."""
    fixed = struct.pack(">3H2x", 1, 0x0800, 1) + pack_ip("10.0.0.1") + b"\xff" * 4
    fixed += pack_ip("10.0.0.0") + pack_ip("255.255.255.0") + MAC + b"\xff" * 6 + MAC + b"\xff" * 6
    return fixed + bytes([wanted, invert])


@pytest.mark.parametrize(
    ("exprs", "text"),
    [
        ((load("meta", key=6), compare(b"veth1\0")), "-i veth1 -j CONTINUE"),
        ((load("meta", key=7), compare(b"veth1", 1)), "-o ! veth1+ -j CONTINUE"),
        ((load("payload", base=0, offset=12), compare(b"\x08\x00")), "-p IPv4 -j CONTINUE"),
        ((load("payload", base=0, offset=12), compare(b"\x88\xcc", 1)), "-p ! 0x88cc -j CONTINUE"),
        ((load("payload", base=0, offset=12), compare(b"\x06\x00", 2)), "-p Length -j CONTINUE"),
        (
            (
                load("payload", base=0, offset=6),
                compare(MAC),
                load("payload", base=0, offset=0),
                compare(MAC, 1),
            ),
            "-s 0a:58:00:00:00:01 -d ! 0a:58:00:00:00:01 -j CONTINUE",
        ),
        ((load("payload", base=0, offset=0), compare(bytes.fromhex("0180c2000000"))), "-d BGA -j CONTINUE"),
        ((load("payload", base=1, offset=9), compare(b"\x06")), "[payload 06] -j CONTINUE"),
        ((compare(b"\x06"),), "[? 06] -j CONTINUE"),
        ((NftExpr("counter", {}), NftExpr("limit", {}), verdict(DROP)), "[limit] -j DROP"),
        ((verdict(ACCEPT),), "-j ACCEPT"),
        ((verdict(NFT_RETURN),), "-j RETURN"),
        ((verdict(NFT_JUMP, "pods"),), "-j pods"),
        ((verdict(NFT_GOTO, "pods"),), "-j pods"),
        ((verdict(9),), "-j verdict 9"),
        ((NftExpr("immediate", {"dreg": 0, "data": b"\1"}),), "-j ?"),
    ],
)
def test_what_a_frame_is_compared_with_and_what_becomes_of_it(exprs: tuple[NftExpr, ...], text: str) -> None:
    assert written(*exprs) == text


@pytest.mark.parametrize(
    ("name", "info", "text"),
    [
        ("ip", ip(1), "--ip-src 10.0.0.1"),
        ("ip", ip(3, 2, mask="255.255.255.0"), "--ip-src 10.0.0.1/24 --ip-dst ! 10.0.0.2/24"),
        ("ip", ip(0xC, 8), "--ip-tos 0x10 --ip-proto ! tcp"),
        ("ip", ip(0x30, 0x20, ports=struct.pack("<4H", 1, 9, 80, 80)), "--ip-sport 1:9 --ip-dport ! 80"),
        ("ip", ip(0x40, ports=bytes([8, 8, 0, 0, 0, 255, 0, 0])), "--ip-icmp-type 8"),
        ("ip", ip(0x40, ports=bytes([3, 3, 0, 0, 4, 4, 0, 0])), "--ip-icmp-type 3/4"),
        ("ip6", ip6(0xF), "--ip6-src fd00::1 --ip6-dst fd00::2/64 --ip6-tclass 0x02 --ip6-proto ipv6-icmp"),
        ("ip6", ip6(0x40, bytes([128, 129, 0, 0, 0, 255, 0, 0])), "--ip6-icmp6-type 128:129"),
        (
            "arp",
            arp(0x1F, 1),
            "--arp-op ! Request --arp-htype 1 --arp-ptype 0x800 --arp-ip-src 10.0.0.1 --arp-ip-dst 10.0.0.0/24",
        ),
        (
            "arp",
            arp(0xE0, 0x80),
            "--arp-mac-src 0a:58:00:00:00:01 --arp-mac-dst 0a:58:00:00:00:01 ! --arp-gratuitous",
        ),
        ("vlan", struct.pack("<HBxHBB", 7, 0, 0, 0, 1), "--vlan-id ! 7"),
        ("mark_m", struct.pack("<QQBB6x", 5, 0xFFFFFFFF, 0, 1), "--mark 0x5"),
        ("mark_m", struct.pack("<QQBB6x", 5, 0xF, 1, 1), "--mark ! 0x5/0xf"),
        ("mark_m", struct.pack("<QQBB6x", 0, 0xF0, 0, 2), "--mark /0xf0"),
        ("pkttype", bytes([3, 1]), "--pkttype-type ! otherhost"),
        ("stp", bytes([1]), "--stp-type 1"),
        ("802_3", bytes([0x42, 0, 0, 0, 0, 0]), "--802_3-sap 0x42"),
        ("limit", bytes(32), "[limit revision 0]"),
        ("ip", bytes(3), "[ip revision 0]"),
    ],
)
def test_matches(name: str, info: bytes, text: str) -> None:
    assert written(match(name, info), verdict(DROP)) == f"{text} -j DROP"


@pytest.mark.parametrize(
    ("name", "info", "text"),
    [
        ("mark", struct.pack("<QI4x", 0x12, 0xFFFFFFFF), "-j mark --mark-set 0x12 --mark-target ACCEPT"),
        ("mark", struct.pack("<QI4x", 0x12, 0xFFFFFFED), "-j mark --mark-or 0x12 --mark-target CONTINUE"),
        (
            "dnat",
            MAC + struct.pack("<2xI", 0xFFFFFFFE),
            "-j dnat --to-dst 0a:58:00:00:00:01 --dnat-target DROP",
        ),
        (
            "snat",
            MAC + struct.pack("<2xI", 0xFFFFFFEF),
            "-j snat --to-src 0a:58:00:00:00:01 --snat-arp --snat-target ACCEPT",
        ),
        ("redirect", struct.pack("<I", 0xFFFFFFFF), "-j redirect"),
        ("redirect", struct.pack("<I", 0xFFFFFFFD), "-j redirect --redirect-target CONTINUE"),
        ("arpreply", MAC + struct.pack("<2xI", 0xFFFFFFFE), "-j arpreply --arpreply-mac 0a:58:00:00:00:01"),
        (
            "arpreply",
            MAC + struct.pack("<2xI", 0xFFFFFFFF),
            "-j arpreply --arpreply-mac 0a:58:00:00:00:01 --arpreply-target ACCEPT",
        ),
    ],
)
def test_targets(name: str, info: bytes, text: str) -> None:
    assert written(target(name, info)) == text


def test_who_only_looks_on_stands_before_the_verdict() -> None:
    log = target("log", bytes([6]) + b"pods".ljust(30, b"\0") + bytes(8))
    assert written(log, verdict(ACCEPT)) == '--log-level info --log-prefix "pods" -j ACCEPT'

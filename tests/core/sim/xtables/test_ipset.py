"""The `set` match, by type of set."""

from __future__ import annotations

from typing import Any

import pytest

from netviz.core.model.netfilter import IpSet, IpSetElem, NftExpr
from netviz.core.sim.nft.compat.ipset import match_set
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.packet import Packet
from netviz.core.sim.xtables.payloads import SetRef
from tests.core.sim.xtables.recorded import context, echo, elem, tcp, udp

T, F, U = Tri.TRUE, Tri.FALSE, Tri.UNKNOWN
SRC, DST = (1, 2), (1, 0)


def ask(
    record: IpSet,
    elems: list[IpSetElem],
    packet: Packet,
    dim: int,
    flags: int,
    *more: tuple[IpSet, list[IpSetElem]],
) -> Tri:
    """Match a packet against the set with index 1."""
    return match_set(context(packet, sets=[(record, elems), *more]), SetRef(1, dim, flags))


CASES: list[tuple[str, dict[str, Any], list[IpSetElem], Packet, tuple[int, int], Tri]] = [
    ("hash:ip", {}, [elem(ip="10.0.0.1")], tcp(), SRC, T),
    ("hash:ip", {}, [elem(ip="10.0.0.1")], tcp(), DST, F),
    ("hash:ip", {}, [elem(ip="10.0.0.1")], tcp(), (1, 3), F),
    ("hash:ip", {}, [], tcp(), (1, 1), T),
    ("hash:ip", {"netmask": 24}, [elem(ip="10.0.0.0")], tcp(), SRC, T),
    ("hash:ip", {"bitmask": b"\xff\xff\0\xff"}, [elem(ip="10.0.0.1")], tcp("10.0.9.1"), SRC, T),
    ("hash:net", {}, [elem(ip="10.0.0.0", cidr=8)], tcp(), SRC, T),
    (
        "hash:net",
        {},
        [elem(ip="10.0.0.0", cidr=8), elem(ip="10.0.0.0", cidr=24, nomatch=True)],
        tcp(),
        SRC,
        F,
    ),
    (
        "hash:net",
        {},
        [elem(ip="10.0.0.0", cidr=8), elem(ip="10.9.0.0", cidr=24, nomatch=True)],
        tcp(),
        SRC,
        T,
    ),
    ("hash:net", {}, [elem(ip="0.0.0.0", cidr=0)], tcp(), SRC, T),
    ("hash:ip,port", {}, [elem(ip="10.1.2.3", proto=6, port=80)], tcp(), (2, 0), T),
    ("hash:ip,port", {}, [elem(ip="10.1.2.3", proto=17, port=80)], tcp(), (2, 0), F),
    ("hash:ip,port", {}, [elem(ip="10.1.2.3", proto=6, port=80)], tcp(), (1, 0), F),
    ("hash:ip,port", {}, [elem(ip="10.1.2.3", proto=1, port=0x800)], echo(), (2, 0), T),
    ("hash:ip,port", {}, [elem(ip="10.1.2.3", proto=6, port=80)], tcp(dport_unsure=True), (2, 0), U),
    ("hash:net,port", {}, [elem(ip="10.1.0.0", cidr=16, proto=6, port=80)], tcp(), (2, 0), T),
    ("hash:ip,port,ip", {}, [elem(ip="10.1.2.3", proto=6, port=80, ip2="10.0.0.1")], tcp(), (3, 8), T),
    (
        "hash:ip,port,net",
        {},
        [elem(ip="10.1.2.3", proto=6, port=80, ip2="10.0.0.0", cidr2=8)],
        tcp(),
        (3, 8),
        T,
    ),
    ("hash:net,iface", {}, [elem(ip="10.0.0.0", cidr=8, name="eth0")], tcp(), (2, 6), T),
    ("hash:net,iface", {}, [elem(ip="10.0.0.0", cidr=8, name="eth1")], tcp(), (2, 6), F),
    ("hash:net,iface", {}, [elem(ip="10.0.0.0", cidr=8, name="eth0", physdev=True)], tcp(), (2, 6), F),
    ("hash:net,iface", {}, [elem(ip="10.0.0.0", cidr=8, name="et", wildcard=True)], tcp(), (2, 6), T),
    ("hash:net,iface", {}, [elem(ip="10.0.0.0", cidr=8, name="br", wildcard=True)], tcp(), (2, 6), F),
    ("hash:ip,port", {}, [elem(ip="10.1.2.3", proto=47, port=0)], tcp(proto=47), (2, 0), T),
    ("bitmap:port", {"family": 0}, [elem(port=0x800)], echo(), DST, F),
    ("bitmap:ip", {}, [elem(ip="10.0.0.1")], tcp(), SRC, T),
    ("bitmap:port", {"family": 0}, [elem(port=80)], tcp(), DST, T),
    ("bitmap:port", {"family": 0}, [elem(port=80)], udp(dport=81), DST, F),
    ("hash:mac", {"family": 0}, [IpSetElem(mac=bytes(6))], tcp(smac=bytes(6)), SRC, T),
    ("hash:ip", {"family": 10}, [elem(ip="fd00::1")], tcp(), SRC, F),
    ("bitmap:ip,mac", {}, [elem(ip="10.0.0.1")], tcp(), (2, 6), U),
    ("bitmap:ip,mac", {}, [elem(ip="10.0.0.1")], tcp(smac=b"123456"), (2, 6), T),
    ("bitmap:ip,mac", {}, [elem(ip="10.0.0.1", mac=b"123456")], tcp(smac=b"123456"), (2, 6), T),
    ("bitmap:ip,mac", {}, [elem(ip="10.0.0.1", mac=b"654321")], tcp(smac=b"123456"), (2, 6), F),
    # What this kernel is built without: net/netfilter/ipset/ip_set_hash_{netnet,netportnet,ipmark,mac,ipmac}.c
    ("hash:net,net", {}, [elem(ip="10.0.0.0", cidr=8, ip2="10.1.0.0", cidr2=16)], tcp(), (2, 2), T),
    ("hash:net,net", {}, [elem(ip="10.0.0.0", cidr=8, ip2="10.2.0.0", cidr2=16)], tcp(), (2, 2), F),
    (
        "hash:net,port,net",
        {},
        [elem(ip="10.1.0.0", cidr=16, proto=6, port=80, ip2="10.0.0.0", cidr2=24)],
        tcp(),
        (3, 8),
        T,
    ),
    ("hash:ip,mark", {"markmask": 0xFF}, [elem(ip="10.0.0.1", mark=5)], tcp(mark=0x105), (2, 2), T),
    ("hash:ip,mark", {}, [elem(ip="10.0.0.1", mark=5)], tcp(mark=0x105), (2, 2), F),
    ("hash:ip,mac", {}, [elem(ip="10.0.0.1", mac=b"123456")], tcp(smac=b"123456"), (2, 6), T),
]


@pytest.mark.parametrize(
    ("kind", "made", "elems", "packet", "ref", "expected"),
    CASES,
    ids=[f"{n} {c[0]}" for n, c in enumerate(CASES)],
)
def test_types(
    kind: str,
    made: dict[str, Any],
    elems: list[IpSetElem],
    packet: Packet,
    ref: tuple[int, int],
    expected: Tri,
) -> None:
    """Each type by source and destination."""
    record = IpSet("a", kind, made.pop("family", 2) if "family" in made else 2, 1, **made)
    assert ask(record, elems, packet, *ref) is expected


def test_a_list_of_sets() -> None:
    """Members in order; one that isn't there leaves it open, unless another has the packet."""
    members = IpSet("all", "list:set", 0, 1)
    one = (IpSet("one", "hash:ip", 2, 2), [elem(ip="10.0.0.1")])
    assert ask(members, [IpSetElem(name="one")], tcp(), *SRC, one) is T
    assert ask(members, [IpSetElem(name="one")], tcp("10.0.0.2"), *SRC, one) is F
    assert ask(members, [IpSetElem(name="gone"), IpSetElem(name="one")], tcp(), *SRC, one) is T
    assert ask(members, [IpSetElem(name="gone"), IpSetElem(name="one")], tcp("10.0.0.2"), *SRC, one) is U


def test_what_is_not_known() -> None:
    """No such set; counters that an element has; a list that contains itself."""
    assert match_set(context(tcp()), SetRef(1, 1, 2)) is U
    counted = IpSet("a", "hash:ip", 2, 1, counters=True)
    ref = SetRef(1, 1, 2, packets=(4, 5))
    assert match_set(context(tcp(), sets=[(counted, [elem(ip="10.0.0.1")])]), ref) is U
    assert match_set(context(tcp(), sets=[(counted, [])]), ref) is F
    plain = IpSet("a", "hash:ip", 2, 1)
    assert match_set(context(tcp(), sets=[(plain, [elem(ip="10.0.0.1")])]), ref) is T
    assert ask(IpSet("a", "list:set", 0, 1), [IpSetElem(name="a")], tcp(), *SRC) is U


def change(add: int, delete: int, side: int = 2) -> NftExpr:
    """Make a SET target that adds to and deletes from sets by one dimension."""
    refs = b"".join(index.to_bytes(2, "little") + bytes([1, side]) for index in (add, delete, 0xFFFF))
    return NftExpr("target", {"name": "SET", "rev": 3, "info": refs + bytes(8)})


def test_what_the_packet_changed_is_remembered() -> None:
    """An address that it was added by is in the set, one that it was deleted by isn't; of networks it isn't known."""
    record = IpSet("a", "hash:ip", 2, 1)
    ctx = context(tcp(), sets=[(record, [elem(ip="10.1.2.3")])])
    assert match_set(ctx, SetRef(1, 1, 2)) is F
    assert evaluate(ctx, change(1, 0xFFFF)) is T
    assert match_set(ctx, SetRef(1, 1, 2)) is T
    assert match_set(ctx, SetRef(1, 1, 0)) is T
    assert evaluate(ctx, change(0xFFFF, 1, side=0)) is T
    assert match_set(ctx, SetRef(1, 1, 0)) is F
    nets = context(tcp(), sets=[(IpSet("a", "hash:net", 2, 1), [])])
    assert evaluate(nets, change(1, 0xFFFF)) is T
    assert match_set(nets, SetRef(1, 1, 2)) is U
    members = [(IpSet("l", "list:set", 0, 1), [IpSetElem(name="m")]), (IpSet("m", "hash:ip", 2, 2), [])]
    listed = context(tcp(), sets=members)
    assert evaluate(listed, change(1, 0xFFFF)) is T
    assert match_set(listed, SetRef(1, 1, 2)) is U
    assert match_set(listed, SetRef(1, 1, 0)) is F


def test_only_sets_of_networks_return_nomatch() -> None:
    """--return-nomatch turns the exceptions of a set of networks around; other types have none."""
    nomatch = 1 << 7
    nets = (IpSet("a", "hash:net", 2, 1), [elem(ip="10.0.0.0", cidr=8), elem(ip="10.0.0.1", nomatch=True)])
    for options, src, expected in ((0, "10.0.0.1", F), (nomatch, "10.0.0.1", T), (nomatch, "10.0.0.2", F)):
        assert match_set(context(tcp(src), sets=[nets]), SetRef(1, 1, 2, options)) is expected
    plain = (IpSet("a", "hash:ip", 2, 1), [elem(ip="10.0.0.1")])
    assert match_set(context(tcp(), sets=[plain]), SetRef(1, 1, 2, nomatch)) is T


def test_a_mark_comes_from_the_element() -> None:
    """SET --map-set --map-mark; nothing where the packet is in no element."""
    record = IpSet("a", "hash:ip", 2, 1)
    none = (0xFFFF).to_bytes(2, "little") + bytes(2)
    info = none * 2 + (1).to_bytes(2, "little") + bytes([1, 2]) + (1 << 8).to_bytes(4, "little") + bytes(4)
    expr = NftExpr("target", {"name": "SET", "rev": 3, "info": info})
    for src, mark in (("10.0.0.1", 0xF30), ("10.0.0.2", 0xFFF)):
        packet = tcp(src, mark=0xFFF)
        ctx = context(packet, sets=[(record, [elem(ip="10.0.0.1", skbmark=(0x30, 0xFF))])])
        assert evaluate(ctx, expr) is T
        assert ctx.packet.mark == mark

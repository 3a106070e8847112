"""The `set` match, by type of set."""

from __future__ import annotations

from typing import Any

import pytest

from netviz.core.model.netfilter import IpSet, IpSetElem, NftExpr
from netviz.core.sim.nft_context import Tri
from netviz.core.sim.nft_eval import evaluate
from netviz.core.sim.packet import Packet
from netviz.core.sim.xtables.decode import SetRef
from netviz.core.sim.xtables.ipset import match_set
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
    ("hash:net,iface", {}, [elem(ip="10.0.0.0", cidr=8, name="eth1", physdev=True)], tcp(), (2, 6), U),
    ("bitmap:ip", {}, [elem(ip="10.0.0.1")], tcp(), SRC, T),
    ("bitmap:port", {"family": 0}, [elem(port=80)], tcp(), DST, T),
    ("bitmap:port", {"family": 0}, [elem(port=80)], udp(dport=81), DST, F),
    ("hash:mac", {"family": 0}, [IpSetElem(mac=bytes(6))], tcp(smac=bytes(6)), SRC, T),
    ("hash:ip", {"family": 10}, [elem(ip="fd00::1")], tcp(), SRC, F),
    ("bitmap:ip,mac", {}, [elem(ip="10.0.0.1")], tcp(), (2, 6), U),
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
    """No such set; one that the packet itself changed; counters decide; a list that contains itself."""
    assert match_set(context(tcp()), SetRef(1, 1, 2)) is U
    record = IpSet("a", "hash:ip", 2, 1)
    ctx = context(tcp(), sets=[(record, [])])
    assert match_set(ctx, SetRef(1, 1, 2)) is F
    add = (1).to_bytes(2, "little") + bytes([1, 2]) + (b"\xff\xff" + bytes(2)) * 2 + bytes(12)
    assert evaluate(ctx, NftExpr("target", {"name": "SET", "rev": 3, "info": add})) is T
    assert match_set(ctx, SetRef(1, 1, 2)) is U
    assert match_set(context(tcp(), sets=[(record, [])]), SetRef(1, 1, 2, counted=True)) is U
    assert ask(IpSet("a", "list:set", 0, 1), [IpSetElem(name="a")], tcp(), *SRC) is U

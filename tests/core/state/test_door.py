"""The door: records that break a bound are left out, named, and end when they are told right."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.base import Record
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.model.ipvs import IpvsServer, IpvsService
from netviz.core.model.l2 import Fdb, Neigh
from netviz.core.model.l3 import Addr, Nexthop, NexthopObject, Route, Rule
from netviz.core.model.link import Link, VxlanInfo, WireguardInfo, WireguardPeer
from netviz.core.model.netfilter import (
    Body,
    ChainBody,
    IpSetBody,
    IpSetElem,
    NftChain,
    NftExpr,
    NftRuleBody,
    NftTable,
)
from netviz.core.model.netns import Gap, Holder, Netns, Refused, Sysctl
from netviz.core.model.socket import Socket
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply, diff
from netviz.core.state.door import MAX_NAMED, MAX_REFUSED, MAX_STATUS, fold, read_body, read_delta, sift
from netviz.core.state.node import SECTIONS, NetnsState, NodeState, SectionStatus
from tests.core.strategies import node_states

KEY = NetnsKey("n1", 4, 1)
EMPTY = NodeState("n1")
A4, B4, A6 = pack_ip("10.0.0.1"), pack_ip("10.0.0.2"), pack_ip("fd00::1")
encode = msgspec.msgpack.Encoder().encode


def put(section: str, *records: Record) -> NodeDelta:
    return NodeDelta((NetnsDelta(KEY, Netns(KEY, root=True), **{section: Change(records)}),))


def read(delta: NodeDelta, state: NodeState = EMPTY) -> NetnsState:
    """Take a delta through the door and into a state."""
    return fold(state, read_delta(encode(delta))).netns[KEY]


WRONG: list[tuple[str, Record]] = [
    ("addrs", Addr(2, b"", 24)),
    ("addrs", Addr(2, A4, 33)),
    ("addrs", Addr(2, b"\x0a\0\0", 8)),
    ("addrs", Addr(2, A4, 24, A6)),
    ("addrs", Addr(2, A4, 24, label="x" * 61)),
    ("neighs", Neigh(2, b"")),
    ("neighs", Neigh(2, A4, bytes(33))),
    ("fdb", Fdb(2, bytes(5))),
    ("fdb", Fdb(2, bytes(6), vlan=4096)),
    ("links", Link(0, "eth0")),
    ("links", Link(2, "e" * 61)),
    ("links", Link(2, "eth0", mac=bytes(7))),
    ("links", Link(2, "eth0", mtu=-1)),
    ("links", Link(2, "v", "vxlan", info=VxlanInfo(remote=A4, local=A6))),
    ("links", Link(2, "v", "vxlan", info=VxlanInfo(vni=1 << 24))),
    ("links", Link(2, "w", info=WireguardInfo(peers=(WireguardPeer(bytes(32), allowed=((A4, 33),)),)))),
    ("routes", Route(254, A4, 33)),
    ("routes", Route(254, A4, -1)),
    ("routes", Route(254, b"", 0)),
    ("routes", Route(254, A4, 24, type=11)),
    ("routes", Route(254, A4, 24, nexthops=(Nexthop(2), Nexthop(3, bytes(3))))),
    ("routes", Route(254, A4, 24, nexthops=(Nexthop(2, weight=0),))),
    ("routes", Route(254, A4, 24, prefsrc=A6)),
    ("rules", Rule(3, 0)),
    ("rules", Rule(2, 0, dport=(0, 65536))),
    ("rules", Rule(2, 0, src=A4, src_len=64)),
    ("nexthops", NexthopObject(1, family=4)),
    ("nexthops", NexthopObject(1, group=((2, 0),))),
    ("sysctls", Sysctl("net.a", 1 << 63)),
    ("sockets", Socket(6, b"", 80)),
    ("sockets", Socket(6, A4, 65536)),
    ("sockets", Socket(6, A4, 80, A6, 81)),
    ("conntrack", CtEntry(6, A4, B4, 1, 2, A6, B4, 2, 1)),
    ("conntrack", CtEntry(6, A4, B4, 1, 2, B4, A4, 2, -1)),
    ("conntrack", CtEntry(256, A4, B4, 1, 2, B4, A4, 2, 1)),
    ("nft_tables", NftTable(4, "t")),
    ("nft_chains", NftChain(2, "t", "c", hook=6)),
    ("nft_chains", NftChain(5, "t", "c", hook=2)),
    ("nft_chains", NftChain(2, "t", "c", body=bytes(15))),
    ("ipvs", IpvsService(6, A4, 80, servers=(IpvsServer(B4, 80, "drop"),))),
]


@pytest.mark.parametrize(("section", "record"), WRONG, ids=lambda one: "" if isinstance(one, Record) else one)
def test_a_wrong_record_is_left_out_and_named_and_the_rest_is_used(section: str, record: Any) -> None:
    delta = put(section, record)
    delta = msgspec.structs.replace(
        delta, netns=(msgspec.structs.replace(delta.netns[0], nfaccts=put_nfacct()),)
    )
    ns = read(delta)
    assert not getattr(ns, section)
    assert list(ns.nfaccts) == ["a"]
    ((named, _),) = ns.refused
    assert named == section
    (gap,) = ns.gaps
    assert gap.section == section
    assert gap.reason


def put_nfacct() -> Change[Any, Any]:
    from netviz.core.model.netfilter import NfAcct

    return Change((NfAcct("a"),))


def test_real_oddities_are_right() -> None:
    """IP over InfiniBand, tunnels of both families, a prefix of nothing, a route of one family through the other."""
    links = (
        Link(1, "ib0", arptype=32, mac=bytes(20)),
        Link(2, "sit0", "sit", arptype=776, mac=bytes(4)),
        Link(3, "ip6tnl0", "ip6tnl", arptype=769, mac=bytes(16)),
        Link(4, "tun0", "tun", arptype=0xFFFE),
        Link(5, "\\xff" * 15),
    )
    assert len(read(put("links", *links)).links) == len(links)
    routes = (Route(254, bytes(4), 0, nexthops=(Nexthop(2, A6),)), Route(254, bytes(16), 0, type=7))
    assert len(read(put("routes", *routes)).routes) == 2
    counters = read(put("sockets", Socket(6, A4, 80, cookie=(1 << 64) - 1))).sockets
    assert list(counters) == [(1 << 64) - 1]


@given(node_states())
def test_what_is_right_passes_unchanged(state: NodeState) -> None:
    delta = diff(NodeState(state.node), state)
    assert sift(delta) is delta
    assert read_delta(encode(delta)) == delta


def test_what_was_held_under_the_key_is_no_longer_held() -> None:
    """The node says that it is something else now: the old record isn't the truth."""
    state = fold(EMPTY, put("routes", Route(254, A4, 32, prefsrc=B4)))
    for wrong in (Route(254, A4, 32, prefsrc=A6), Route(254, A4, 32, scope=256)):
        assert not read(put("routes", wrong), state).routes


@pytest.mark.parametrize("wrong", [Addr(2, A4, 24, scope=300), Addr(2, A4, 24, A6)])
def test_it_ends_when_the_record_is_told_right_or_dropped(wrong: Addr) -> None:
    state = fold(EMPTY, read_delta(encode(put("addrs", wrong, Addr(3, A4, 24)))))
    assert state.gaps
    other = NodeDelta((NetnsDelta(KEY, addrs=Change((Addr(4, A4, 24),))),))
    assert fold(state, read_delta(encode(other))).gaps, "another record ends nothing"
    right = Addr(2, A4, 24, wrong.peer and B4)
    mended = NodeDelta((NetnsDelta(KEY, addrs=Change((right,), (wrong.key,))),))
    gone = NodeDelta((NetnsDelta(KEY, addrs=Change((), (wrong.key,))),))
    for told in (mended, gone):
        after = fold(state, read_delta(encode(told)))
        assert not after.gaps
        assert not after.netns[KEY].refused
        assert Addr(3, A4, 24).key in after.netns[KEY].addrs


def test_a_namespaces_own_record_that_is_wrong_leaves_nothing_of_it_certain() -> None:
    wrong = Netns(KEY, root=True, holders=(Holder("ghost"),))
    state = fold(EMPTY, read_delta(encode(NodeDelta((NetnsDelta(KEY, wrong),)))))
    ns = state.netns[KEY]
    assert ns.netns == Netns(KEY, root=True)
    assert {gap.section for gap in ns.gaps} == set(SECTIONS)
    right = NodeDelta((NetnsDelta(KEY, Netns(KEY, root=True)),))
    assert not fold(state, read_delta(encode(right))).netns[KEY].gaps


def test_a_gap_is_said_in_words() -> None:
    """On the page and in traces, where nobody knows a decoder's own language."""
    wrong = [Addr(2, b"", 24), Addr(3, b"\1\2\3\4", 99)]
    assert sorted(one.words for one in read(put("addrs", *wrong)).refused.values()) == [
        "the collector's record 2,,24, cannot be used: addr: expected bytes of length >= 4",
        "the collector's record 3,01020304,99, cannot be used: prefixlen: 99 bits of an address of 4 bytes",
    ]
    raw = {"netns": [{"key": ["n1", 4, 1, 0], "netns": 7, "routes": [[{}], []]}]}
    refused = fold(EMPTY, read_delta(encode(raw))).netns[KEY].refused.values()
    assert [one.words for one in refused] == [
        "the namespace's own record cannot be used: expected object, got int",
        "the collector's record without a key cannot be used: lacks the required field table_id",
    ]
    many = read(put("addrs", *(Addr(index, b"", 0) for index in range(MAX_NAMED + 3))))
    assert many.refused["addrs", "more"].words == "3 more records cannot be used"


def test_a_collectors_own_gap_stays_beside() -> None:
    delta = NodeDelta(
        (NetnsDelta(KEY, Netns(KEY, gaps=(Gap("addrs", "why"),)), neighs=Change((Neigh(1, b""),))),)
    )
    assert {gap.section: gap.reason for gap in read(delta).gaps}.keys() == {"addrs", "neighs"}


def test_what_is_no_record_at_all_is_left_out_alone() -> None:
    """Of the wrong type, without its key's fields, or a section that is no list."""
    raw = {
        "netns": [
            {
                "key": ["n1", 4, 1, 0],
                "netns": {"key": ["n1", 4, 1, 0]},
                "addrs": [[{"ifindex": "x"}, 7, {"ifindex": 3, "addr": A4, "prefixlen": 8}], []],
                "links": [[{"ifindex": 2, "ifname": 5}], [["never"]]],
                "routes": 9,
            }
        ],
        "status": {"links": {"read_at_s": float("nan")}, "addrs": {"read_at_s": 1.0}},
    }
    state = fold(EMPTY, read_delta(encode(raw)))
    ns = state.netns[KEY]
    assert list(ns.addrs) == [(3, A4, 8, b"")]
    assert {one.section for one in ns.refused.values()} == {"addrs", "links", "routes"}
    assert ("links", "2") in ns.refused
    assert not state.status["links"].whole
    assert state.status["addrs"].whole
    assert set(state.gaps) == {"addrs", "links", "routes"}


def test_names_of_what_is_refused_are_bounded() -> None:
    state = EMPTY
    for start in range(0, 20 * MAX_NAMED * 2, MAX_NAMED * 2):
        wrong = [Addr(index, b"", 0) for index in range(start, start + MAX_NAMED * 2)]
        state = fold(state, read_delta(encode(put("addrs", *wrong))))
    assert len(state.netns[KEY].refused) <= MAX_REFUSED + 1
    assert not state.netns[KEY].addrs


@pytest.mark.parametrize(
    "told",
    [
        {"kernel": "x" * 4097},
        {"boot_id": "x" * 129},
        {"kernel": 6},
        {"status": {"x" * 129: {"whole": False}}},
        {"netns": [{"key": ["n1", 4, -1, 0]}]},
    ],
)
def test_what_is_said_of_the_node_itself_has_its_bounds_where_records_are_left_out_too(
    told: dict[str, Any],
) -> None:
    """Also beside something wrong that is left out: nothing is read by looser rules then."""
    for beside in ({}, {"status": {"links": {"read_at_s": -1}, **told.get("status", {})}}):
        with pytest.raises(ValueError, match=r"length <= |Expected `str|`int` >= 0"):
            read_delta(encode({**told, **beside}))


def test_a_node_names_so_many_sections_and_no_more() -> None:
    state = EMPTY
    for start in range(0, 3 * MAX_STATUS, MAX_STATUS // 2):
        names = [f"s{number}" for number in range(start, start + MAX_STATUS // 2)]
        state = fold(state, read_delta(encode(NodeDelta(status=dict.fromkeys(names, SectionStatus(1.0))))))
    assert len(state.status) == MAX_STATUS + 1
    assert state.gaps == {"more": f"more than {MAX_STATUS} sections"}
    told = fold(state, NodeDelta(status={"s0": SectionStatus(2.0)}))
    assert told.status["s0"].read_at_s == 2.0, "those that are held go on"
    assert fold(EMPTY, diff(EMPTY, state)) == state, "and what is kept is read back whole"


def test_a_collectors_own_refusals_are_bounded_too() -> None:
    told = tuple(Refused("addrs", str(number), "x") for number in range(3 * MAX_REFUSED))
    state = fold(EMPTY, read_delta(encode(put("refused", *told))))
    assert len(state.netns[KEY].refused) == MAX_REFUSED + 1
    assert fold(EMPTY, diff(EMPTY, state)) == state, "and what is kept is read back whole"
    more = tuple(Refused(f"s{number}", "more", "x") for number in range(3 * MAX_REFUSED))
    assert len(read(put("refused", *more)).refused) <= MAX_REFUSED


def test_a_refusal_is_part_of_the_state_and_survives_it() -> None:
    """A snapshot of what a server holds, in its journal or a file, says it too."""
    state = fold(EMPTY, read_delta(encode(put("addrs", Addr(2, b"", 24)))))
    again = fold(EMPTY, read_delta(encode(diff(EMPTY, state))))
    assert again == state == apply(EMPTY, diff(EMPTY, state))


BODIES: list[Body] = [
    ChainBody((NftRuleBody((NftExpr("cmp", {"data": None}),)),)),
    ChainBody((NftRuleBody((NftExpr("immediate", {"data": {"code": 1.5}}),)),)),
    ChainBody((NftRuleBody((NftExpr("dynset", {"expressions": [{"name": "x", "attrs": {1: 2}}]}),)),)),
    IpSetBody((IpSetElem(A4, cidr=33),)),
    IpSetBody((IpSetElem(bytes(5)),)),
]


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_breaks_a_bound_is_refused(body: Body) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_body(encode(body))


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_by_name(data: bytes) -> None:
    for reader in (read_delta, read_body):
        try:
            reader(data)
        except (ValueError, RecursionError):
            continue


def test_a_record_of_another_namespace_is_not_taken_for_this_one() -> None:
    state = fold(EMPTY, read_delta(encode(NodeDelta((NetnsDelta(KEY, Netns(NetnsKey("n1", 4, 2))),)))))
    assert state.netns[KEY].key == KEY
    assert ("netns", str(KEY)) in state.netns[KEY].refused

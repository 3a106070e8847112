"""The codec on bytes made by hand: kinds that this kernel lacks, and bytes that are not netlink.

No kernel here has these devices to compare with: the bytes follow include/uapi/linux/if_link.h and
if_tunnel.h, and are not recorded from a kernel.
"""

from __future__ import annotations

import struct

import msgspec
import pytest

from agents.netlink.kind import parse_kind
from agents.netlink.link import IFINFOMSG, parse_bridge_port, parse_link
from agents.netlink.route import RTM_NEWROUTE, RTMSG, parse_route, parse_routes
from agents.netlink.vlan import parse_vlans
from agents.netlink.wire import HEADER, BadMessage, Message, attr, attr_list, attrs, parse_messages, text
from netviz.core.model.addr import pack_ip
from netviz.core.model.l2 import BridgeVlan
from netviz.core.model.l3 import Encap, Nexthop
from netviz.core.model.link import (
    BR_STATE_BLOCKING,
    BondInfo,
    BondSlave,
    BridgeInfo,
    IpvlanInfo,
    MacvlanInfo,
    NetkitInfo,
    TunnelInfo,
    VlanInfo,
    VrfInfo,
)

A, B = pack_ip("192.0.2.1"), pack_ip("192.0.2.2")
A6, B6 = pack_ip("2001:db8::1"), pack_ip("2001:db8::2")


def u8(value: int) -> bytes:
    return struct.pack("=B", value)


def u16(value: int) -> bytes:
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


CASES = {
    "vlan": (
        attr(1, u16(100)) + attr(5, struct.pack("!H", 0x88A8)),
        VlanInfo(vid=100, protocol=0x88A8),
    ),
    "ipvlan": (attr(1, u16(2)) + attr(2, u16(1)), IpvlanInfo(mode=2, flags=1)),
    "netkit": (
        attr(2, u8(1))
        + attr(3, u32(2))
        + attr(5, u32(0))
        + attr(6, u32(0))
        + attr(4, u32(0))
        + attr(7, u32(1))
        + attr(8, u16(32)),
        NetkitInfo(mode=0, primary=True, policy=2, peer_policy=0, scrub=0, peer_scrub=1),
    ),
    "bond": (
        attr(1, u8(4)) + attr(2, u32(7)) + attr(14, u8(1)),
        BondInfo(mode=4, active_slave=7, xmit_hash_policy=1),
    ),
    "vrf": (attr(1, u32(1001)), VrfInfo(table_id=1001)),
    "dummy": (b"", None),
    "ipip": (
        attr(1, u32(3)) + attr(2, A) + attr(3, B) + attr(4, u8(64)) + attr(10, u8(0)),
        TunnelInfo(local=A, remote=B, link=3, ttl=64, pmtudisc=False),
    ),
    "sit": (
        attr(2, A) + attr(3, bytes(4)) + attr(10, u8(1)),
        TunnelInfo(local=A, remote=bytes(4), pmtudisc=True),
    ),
    "ip6tnl": (
        attr(2, A6) + attr(3, B6) + attr(6, u8(4)) + attr(9, u8(41)) + attr(19, b""),
        TunnelInfo(local=A6, remote=B6, proto=41, encap_limit=4, collect_metadata=True),
    ),
    "gre": (
        attr(1, u32(0))
        + attr(2, struct.pack("!H", 0x2000))
        + attr(3, struct.pack("!H", 0x2000))
        + attr(4, struct.pack("!I", 77))
        + attr(5, struct.pack("!I", 78))
        + attr(6, A)
        + attr(7, B)
        + attr(8, u8(12))
        + attr(10, u8(1)),
        TunnelInfo(local=A, remote=B, ttl=12, iflags=0x2000, oflags=0x2000, ikey=77, okey=78),
    ),
    "ip6gretap": (attr(6, A6) + attr(7, B6) + attr(13, u32(1)), TunnelInfo(local=A6, remote=B6)),
    "ip6gre": (
        attr(6, A6) + attr(7, B6) + attr(11, u8(4)),
        TunnelInfo(local=A6, remote=B6, encap_limit=4),
    ),
    "gretap": (
        attr(6, A) + attr(7, B) + attr(9, u8(1)) + attr(14, u16(2)) + attr(19, u8(1)) + attr(20, u32(9)),
        TunnelInfo(local=A, remote=B, tos=1, encap_type=2, ignore_df=True, fwmark=9),
    ),
    "macvlan": (
        attr(1, u32(16)) + attr(2, u16(2)) + attr(5, attr(4, b"\2" * 6) + attr(4, b"\1" * 6)),
        MacvlanInfo(16, 2, (b"\1" * 6, b"\2" * 6)),
    ),
    "geneve": (
        attr(1, u32(5))
        + attr(7, B6)
        + attr(3, u8(9))
        + attr(5, struct.pack("!H", 6081))
        + attr(12, u8(1))
        + attr(13, u8(2)),
        TunnelInfo(remote=B6, vni=5, port=6081, ttl=9, ttl_inherit=True, df=2),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_constructed_kind(kind: str) -> None:
    data, expected = CASES[kind]
    info = attr(18, attr(1, kind.encode() + b"\0") + attr(2, data))
    link = parse_link(IFINFOMSG.pack(0, 1, 9, 1, 0) + attr(3, b"x0\0") + info)
    assert (link.kind, link.info) == (kind, expected)


def test_constructed_unknown_kind_is_named_without_details() -> None:
    assert parse_kind("vcan", attr(1, u32(1))) is None


def test_constructed_vlans_of_a_filtering_bridge_with_a_range() -> None:
    first = attr(1, struct.pack("=HH", 0x6, 1)) + attr(3, u8(3))
    range_ = attr(1, struct.pack("=HH", 0, 10)) + attr(2, u16(12)) + attr(3, u8(4))
    body = struct.pack("=BBHI", 7, 0, 0, 4) + attr(1, first) + attr(1, range_)
    assert list(parse_vlans([Message(112, 0, body)])) == [
        BridgeVlan(4, 1, pvid=True, untagged=True),
        *(BridgeVlan(4, vid, state=BR_STATE_BLOCKING) for vid in (10, 11, 12)),
    ]


def test_constructed_bond_slave_and_bridge_port() -> None:
    info = attr(18, attr(4, b"bond\0") + attr(5, attr(1, u8(1)) + attr(2, u8(0))))
    link = parse_link(IFINFOMSG.pack(0, 1, 9, 1, 0) + attr(3, b"p1\0") + info)
    assert link.bond_slave == BondSlave(active=False)
    port = parse_bridge_port(attr(1, u8(3)) + attr(34, u32(7)) + attr(43, u8(1)))
    assert (port.backup_port, port.neigh_vlan_suppress) == (7, True)


def test_constructed_bridge_that_hears_a_querier_and_has_mst() -> None:
    querier = attr(5, A6) + attr(7, struct.pack("=Q", 9))
    data = attr(23, u8(1)) + attr(25, u8(1)) + attr(46, u32(4) + u32(4)) + attr(47, querier)
    info = parse_kind("bridge", data)
    assert isinstance(info, BridgeInfo)
    assert (info.mcast_querier, info.other_querier6, info.mst) == (True, True, True)


def test_constructed_multipath_with_encap_and_dead_nexthop() -> None:
    def hop(flags: int, hops: int, oif: int, rest: bytes) -> bytes:
        return struct.pack("=HBBi", 8 + len(rest), flags, hops, oif) + rest

    paths = hop(0x11, 0, 3, attr(5, A)) + hop(0, 9, 4, attr(18, u16(10) + A6) + attr(21, u16(2)))
    route = parse_route(RTMSG.pack(2, 16, 0, 0, 254, 3, 0, 1, 0) + attr(1, A) + attr(9, paths))
    assert route is not None
    assert route.nexthops == (
        Nexthop(3, A, 1, 0x11, None),
        Nexthop(4, A6, 10, 0, Encap("ip")),
    )


def test_a_dump_is_decoded_as_its_messages_are() -> None:
    """Routes that differ in their destination only are decoded together; what else differs must show."""
    head = RTMSG.pack(2, 32, 0, 0, 254, 3, 0, 1, 0) + attr(15, u32(254))
    head6 = RTMSG.pack(10, 128, 0, 0, 254, 3, 0, 1, 0) + attr(15, u32(254))
    cloned = RTMSG.pack(2, 32, 0, 0, 254, 3, 0, 1, 0x200) + attr(15, u32(254))
    bodies = [
        head + attr(1, A) + attr(4, u32(3)),
        head + attr(1, B) + attr(4, u32(3)),
        head + attr(1, B) + attr(6, u32(9)) + attr(4, u32(3)),
        head + attr(1, A) + attr(4, u32(4)),
        head + attr(1, A),
        head + attr(4, u32(3)),
        attr(15, u32(254)).join((head[:12], attr(1, A))),
        cloned + attr(1, A),
        cloned + attr(1, B),
        head6 + attr(1, A6) + attr(4, u32(3)),
        head6 + attr(1, B6) + attr(4, u32(3)),
        head6 + attr(1, B6) + attr(7, A6) + attr(4, u32(3)),
    ]
    one_by_one = [route for body in bodies if (route := parse_route(body)) is not None]
    together = list(parse_routes(Message(RTM_NEWROUTE, 0, body) for body in bodies))
    assert [msgspec.structs.replace(route, pos=0) for route in together] == one_by_one
    assert len({route.key for route in together}) == len(together) == 10


def test_a_route_cut_within_its_destination_is_refused_in_a_dump_too() -> None:
    whole = RTMSG.pack(2, 32, 0, 0, 254, 3, 0, 1, 0) + attr(15, u32(254)) + attr(1, A)
    with pytest.raises(BadMessage):
        list(parse_routes(Message(RTM_NEWROUTE, 0, body) for body in (whole, whole[:-2])))


def test_cloned_and_foreign_routes_are_no_state() -> None:
    assert parse_route(RTMSG.pack(2, 32, 0, 0, 254, 3, 0, 1, 0x200)) is None
    assert parse_route(RTMSG.pack(28, 20, 0, 0, 254, 3, 0, 1, 0)) is None


def test_attributes_that_repeat_and_carry_flag_bits() -> None:
    data = attr(1, b"a") + attr(0x8001, b"bc")
    assert attrs(data) == {1: b"bc"}
    assert attr_list(data) == [(1, b"a"), (1, b"bc")]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=HH", 3, 1),
        struct.pack("=HH", 8, 1) + b"abc",
        attr(1, b"abcd") + struct.pack("=HH", 200, 2) + bytes(8),
    ],
)
def test_bad_attributes_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        attrs(data)
    with pytest.raises(BadMessage):
        attr_list(data)


@pytest.mark.parametrize("cut", [1, 15, 17, 19])
def test_cut_messages_are_refused(cut: int) -> None:
    whole = HEADER.pack(20, 16, 0, 1, 0) + b"abcd"
    assert list(parse_messages(whole)) == [(16, 0, 1, b"abcd")]
    with pytest.raises(BadMessage):
        list(parse_messages(whole[:cut]))


def test_a_name_that_is_not_utf8_stays_readable() -> None:
    assert text(b"a\xffb\0junk") == "a\\xffb"

"""Matches of xtables by their payloads, where no recorded rule asks in that way. The packet came in by eth0.

eth0 10.0.0.9/24 fd00::9/64    br0 10.1.0.1/24 with its port veth1    lo
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.socket import Socket
from netviz.core.sim.nft.compat import match_headers as headers
from netviz.core.sim.nft.compat import match_place as place
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.packet import Packet
from netviz.core.sim.xtables import payloads
from netviz.core.sim.xtables.decode_matches import MATCHES
from tests.core.sim.nft import FORWARD, INPUT, PREROUTING
from tests.core.sim.xtables.recorded import context, echo, tcp, tracked, udp

T, F, U = Tri.TRUE, Tri.FALSE, Tri.UNKNOWN
UNSPEC, UNICAST, LOCAL, BROADCAST, MULTICAST, UNREACHABLE = (1 << n for n in (0, 1, 2, 3, 5, 7))
NOT_SRC, NOT_DST, BY_IIF, BY_OIF = 1, 2, 4, 8
SIX = ("fd00::1", "fd00::2")


@pytest.mark.parametrize(
    ("dst", "mask", "flags", "expected"),
    [
        ("10.0.0.9", LOCAL, 0, T),
        ("10.0.0.9", LOCAL, NOT_DST, F),
        ("10.0.0.9", LOCAL, BY_IIF, T),
        ("10.1.0.1", LOCAL, BY_IIF, F),
        ("10.0.0.7", UNICAST, 0, T),
        ("224.0.0.5", MULTICAST, 0, T),
        ("255.255.255.255", BROADCAST, 0, T),
        ("fd00::9", LOCAL, 0, T),
        ("fd00::9", LOCAL, BY_IIF, T),
        ("fd00::7", LOCAL, BY_IIF, F),
        ("fd00::7", UNICAST, 0, T),
        ("ff02::5", UNICAST, 0, F),
        ("ff02::5", MULTICAST, 0, T),
        ("fd00::7", MULTICAST, 0, F),
        ("::", UNSPEC, 0, T),
        ("fd00::7", UNSPEC, 0, F),
        ("::", UNICAST, 0, F),
        ("fd77::1", UNREACHABLE, 0, T),
        ("fd00::7", UNREACHABLE, 0, F),
    ],
)
def test_addrtype(dst: str, mask: int, flags: int, expected: Tri) -> None:
    """Source: net/netfilter/xt_addrtype.c, addrtype_mt_v1, match_type6, match_lookup_rt6."""
    ctx = context(tcp("fd00::1" if ":" in dst else "10.0.0.1", dst), hook=PREROUTING)
    assert place.addrtype(ctx, payloads.Addrtype(0, mask, flags)) is expected


EXACT, PREFIX = (b"veth1\0", 6), (b"veth", 4)
IN, OUT, BRIDGED, IS_IN, IS_OUT = 1, 2, 4, 8, 16


@pytest.mark.parametrize(
    ("ports", "indev", "outdev", "invert", "flags", "expected"),
    [
        ({"physin": "veth1"}, EXACT, EXACT, 0, IN, T),
        ({"physin": "veth1"}, PREFIX, EXACT, 0, IN, T),
        ({"physin": "veth1"}, EXACT, EXACT, IN, IN, F),
        ({"physin": "veth1"}, (b"other\0", 6), EXACT, 0, IN, F),
        ({"physin": "veth1"}, EXACT, EXACT, 0, IS_IN, T),
        ({"physin": "veth1"}, EXACT, EXACT, IS_IN, IS_IN, F),
        ({"physin": "veth1"}, EXACT, EXACT, 0, IS_OUT, F),
        ({"physin": "veth1"}, EXACT, EXACT, 0, BRIDGED, F),
        ({"physin": "veth1"}, EXACT, EXACT, 0, OUT, F),
        ({"physin": "veth1", "physout": "veth1"}, EXACT, EXACT, 0, BRIDGED | OUT, T),
        ({"physin": "veth1", "physout": "veth1"}, EXACT, EXACT, OUT, OUT, F),
        ({}, EXACT, EXACT, 0, IN, F),
        ({}, EXACT, EXACT, IN, IN, T),
    ],
)
def test_physdev(
    ports: dict[str, str], indev: Any, outdev: Any, invert: int, flags: int, expected: Tri
) -> None:
    """Source: net/netfilter/xt_physdev.c, physdev_mt."""
    ctx = context(tcp(), hook=FORWARD, iif="br0", oif="br0", **ports)
    assert place.physdev(ctx, payloads.Physdev(indev, outdev, invert, flags)) is expected


MAC = bytes.fromhex("0a5800000001")


@pytest.mark.parametrize(
    ("iif", "smac", "invert", "expected"),
    [
        ("eth0", MAC, False, T),
        ("eth0", MAC, True, F),
        ("eth0", b"", False, U),
        ("lo", MAC, False, U),
        ("", MAC, True, F),
    ],
)
def test_mac(iif: str, smac: bytes, invert: bool, expected: Tri) -> None:
    """Source: net/netfilter/xt_mac.c, mac_mt."""
    assert place.mac(context(tcp(smac=smac), iif=iif), payloads.Mac(MAC, invert)) is expected


@pytest.mark.parametrize(
    ("flags", "src", "iif", "expected"),
    [
        (1, (0, 0xFF), "eth0", T),
        (3, (0, 0xFF), "eth0", F),
        (1, (7, 0xFF), "eth0", F),
        (4, (0, 0), "eth0", U),
        (1, (0, 0), "", U),
    ],
)
def test_devgroup(flags: int, src: tuple[int, int], iif: str, expected: Tri) -> None:
    """A device's group under a mask; without the device it isn't known. Source: net/netfilter/xt_devgroup.c, devgroup_mt."""
    assert place.devgroup(context(tcp(), iif=iif), payloads.DevGroup(flags, src, (0, 0xFF))) is expected


LOOSE, VALID_MARK, ACCEPT_LOCAL, INVERT = 1, 2, 4, 8


@pytest.mark.parametrize(
    ("src", "iif", "flags", "expected"),
    [
        ("10.0.0.1", "eth0", 0, T),
        ("10.0.0.1", "eth0", INVERT, F),
        ("10.1.0.7", "eth0", 0, F),
        ("10.1.0.7", "eth0", LOOSE, T),
        ("10.77.0.1", "eth0", 0, F),
        ("10.77.0.1", "eth0", LOOSE | INVERT, T),
        ("10.0.0.9", "eth0", 0, F),
        ("10.0.0.9", "eth0", LOOSE | ACCEPT_LOCAL, T),
        ("10.77.0.1", "lo", 0, T),
        ("10.0.0.1", "", 0, U),
        ("fd00::1", "eth0", 0, T),
        ("fd00::1", "br0", 0, F),
        ("fd00::1", "br0", LOOSE, T),
        ("fd77::1", "eth0", 0, F),
        ("fd00::9", "eth0", 0, F),
        ("fd00::9", "eth0", ACCEPT_LOCAL, T),
        ("::", "eth0", 0, T),
    ],
)
def test_rpfilter(src: str, iif: str, flags: int, expected: Tri) -> None:
    """Source: net/ipv4/netfilter/ipt_rpfilter.c, net/ipv6/netfilter/ip6t_rpfilter.c."""
    dst = "fd00::9" if ":" in src else "10.0.0.9"
    ctx = context(tcp(src, dst), hook=PREROUTING, iif=iif)
    assert place.rpfilter(ctx, payloads.Number(flags)) is expected


TRANSPARENT, ANY, RESTORE = 1, 2, 4
BOUND = Socket(6, pack_ip("10.0.0.9"), 80, cookie=1, transparent=True)
OPEN = Socket(6, pack_ip("0.0.0.0"), 81, cookie=2)


@pytest.mark.parametrize(
    ("packet", "flags", "expected"),
    [
        (tcp(dst="10.0.0.9"), 0, T),
        (tcp(dst="10.0.0.9"), TRANSPARENT, T),
        (tcp(dst="10.0.0.9"), RESTORE, U),
        (tcp(dst="10.0.0.9", dport=81), 0, F),
        (tcp(dst="10.0.0.9", dport=81), ANY, T),
        (tcp(dst="10.0.0.9", dport=81), ANY | TRANSPARENT, F),
        (tcp(dst="10.0.0.9", dport=99), 0, F),
        (tcp(dst="10.0.0.9", dport_unsure=True), 0, U),
        (echo(dst="10.0.0.9"), 0, F),
        (tcp(dst="10.9.9.9", sk=1), 0, T),
        (tcp(dst="10.9.9.9", sk=77), 0, U),
    ],
)
def test_socket(packet: Packet, flags: int, expected: Tri) -> None:
    """Source: net/netfilter/xt_socket.c, socket_match."""
    assert (
        place.socket(context(packet, hook=INPUT, sockets=(BOUND, OPEN)), payloads.Number(flags)) is expected
    )
    assert place.socket(context(packet, hook=FORWARD, sockets=(BOUND, OPEN)), payloads.Number(flags)) is F


def test_an_answer_is_for_the_socket_that_sent_before_translation() -> None:
    """Source: net/ipv4/netfilter/nf_socket_ipv4.c, nf_sk_lookup_slow_v4."""
    asked = tcp("10.0.0.9", "10.0.0.1", 80, 5000)
    answer = tracked(tcp("10.0.0.1", "10.0.0.77", 5000, 9999), reply=True)
    sent = type(answer)(
        answer.packet, type(answer.conn)(asked.tuple(), answer.conn.reply, src_done=True), True
    )
    assert place.socket(context(sent, hook=INPUT, sockets=(BOUND,)), payloads.Number(0)) is T


@pytest.mark.parametrize(
    ("side", "packet", "invert", "expected"),
    [
        (0, tcp(sport=80, dport=1), False, T),
        (1, tcp(sport=80, dport=1), False, F),
        (2, tcp(sport=1, dport=85), False, T),
        (2, tcp(sport=1, dport=85), True, F),
        (1, tcp(dport=85, dport_unsure=True), False, U),
        (2, tcp(sport=80, dport_unsure=True), False, T),
        (1, echo(), False, F),
    ],
)
def test_multiport(side: int, packet: Packet, invert: bool, expected: Tri) -> None:
    """Source: net/netfilter/xt_multiport.c, ports_match_v1."""
    assert headers.multiport(context(packet), payloads.Multiport(side, ((80, 90),), invert)) is expected


@pytest.mark.parametrize(
    ("packet", "sports", "dports", "invert", "expected"),
    [
        (udp(), (0, 65535), (53, 53), 0, T),
        (udp(), (0, 65535), (53, 53), 2, F),
        (udp(dport_unsure=True), (0, 65535), (53, 53), 0, U),
        (udp(dport_unsure=True), (0, 65535), (0, 65535), 0, T),
        (udp(), (1, 9), (53, 53), 0, F),
        (tcp(), (0, 65535), (0, 65535), 0, F),
    ],
)
def test_udp(packet: Packet, sports: Any, dports: Any, invert: int, expected: Tri) -> None:
    """Source: net/netfilter/xt_tcpudp.c, udp_mt."""
    assert headers.udp(context(packet), payloads.Transport(sports, dports, invert=invert)) is expected


def test_ports_of_other_protocols() -> None:
    """What is inside an SCTP packet isn't known. Source: net/netfilter/xt_sctp.c, sctp_mt."""
    match = headers.other_ports(132)
    wanted = payloads.Ports((0, 65535), (53, 53), flags=3, invert=0, more=False)
    assert match(context(tcp(proto=132, dport=53)), wanted) is T
    assert match(context(tcp(proto=132, dport=54)), wanted) is F
    assert match(context(udp()), wanted) is F


@pytest.mark.parametrize(
    ("packet", "wanted", "expected"),
    [
        (echo(), (8, 0, 255, False), T),
        (echo(), (0, 0, 255, False), F),
        (echo(), (0, 0, 255, True), T),
        (echo(), (255, 0, 255, False), T),
        (tcp(), (8, 0, 255, False), F),
    ],
)
def test_icmp(packet: Packet, wanted: Any, expected: Tri) -> None:
    """Source: net/netfilter/xt_tcpudp.c, icmp_match."""
    assert headers.icmp(context(packet), payloads.Icmp(*wanted)) is expected


def test_icmp6() -> None:
    """Source: net/netfilter/xt_tcpudp.c, icmp6_match."""
    request = Packet(pack_ip("fd00::1"), pack_ip("fd00::2"), 58, icmp_type=128)
    assert headers.icmp6(context(request), payloads.Icmp(128, 0, 255, False)) is T
    assert headers.icmp6(context(request), payloads.Icmp(129, 0, 255, False)) is F
    assert headers.icmp6(context(tcp(*SIX)), payloads.Icmp(128, 0, 255, False)) is F


@pytest.mark.parametrize(
    ("mode", "value", "expected"), [(0, 64, T), (1, 64, F), (2, 65, T), (3, 64, F), (3, 63, T), (9, 64, U)]
)
def test_ttl(mode: int, value: int, expected: Tri) -> None:
    """Source: net/netfilter/xt_hl.c, ttl_mt."""
    assert headers.ttl(context(tcp(ttl=64)), payloads.Compare(mode, value)) is expected


def test_the_segment_size_is_there_or_not_but_its_value_is_not_known() -> None:
    """Source: net/netfilter/xt_tcpmss.c, tcpmss_mt."""
    wanted = payloads.Between(1400, 1460, False)
    assert headers.tcpmss(context(tcp(length=60)), wanted) is U
    assert headers.tcpmss(context(tcp(tcp_flags=4, length=40)), wanted) is F
    assert headers.tcpmss(context(tcp(tcp_flags=4, length=40)), payloads.Between(1400, 1460, True)) is T
    assert headers.tcpmss(context(udp()), wanted) is F


@pytest.mark.parametrize(
    ("first", "steps", "values", "expected"),
    [
        (0, (), ((0x45000000, 0x450000FF),), T),
        (0, ((2, 24), (0, 0x0F)), ((5, 5),), T),  # the header's length
        (
            0,
            ((2, 24), (0, 0x0F), (1, 2), (3, 0), (2, 16)),
            ((40000, 40000),),
            T,
        ),  # at the transport header: the port
        (0, ((2, 28),), ((6, 6),), F),
        (4000, (), ((0, 0),), F),
        (24, (), ((0, 0),), U),  # TCP's sequence number
    ],
)
def test_u32(first: int, steps: Any, values: Any, expected: Tri) -> None:
    """Source: net/netfilter/xt_u32.c, u32_match_it."""
    test = payloads.U32(((payloads.U32Test(first, steps, values)),), False)
    assert headers.u32(context(tcp(length=60)), test) is expected
    inverted = {T: F, F: T, U: U}[expected]
    assert headers.u32(context(tcp(length=60)), payloads.U32(test.tests, True)) is inverted


def test_headers_that_traced_packets_have_and_those_that_they_do_not() -> None:
    """Source: net/netfilter/xt_esp.c; net/ipv6/netfilter/ip6t_ah.c, ip6t_frag.c, ip6t_ipv6header.c."""
    assert headers.of_proto(50)(context(tcp(proto=50)), None) is U
    assert headers.of_proto(50)(context(tcp()), None) is F
    assert headers.ah(context(tcp(*SIX)), payloads.Spis(0, 1, False)) is F
    assert headers.frag(context(tcp(*SIX)), None) is F
    only_payload = payloads.Ipv6Header(1, 0, False)
    assert headers.ipv6header(context(tcp(*SIX)), only_payload) is T
    assert headers.ipv6header(context(tcp(*SIX)), payloads.Ipv6Header(2, 0, False)) is F
    assert headers.ipv6header(context(tcp(*SIX)), payloads.Ipv6Header(1, 0, True)) is T


# Payloads of revisions that this kernel's iptables does not write, as C lays them out. Source: include/uapi/linux/netfilter.


@pytest.mark.parametrize(
    ("name", "revision", "info", "expected"),
    [
        (
            "multiport",
            0,
            struct.pack("BB15H", 1, 2, 80, 443, *([0] * 13)),
            payloads.Multiport(1, ((80, 80), (443, 443)), False),
        ),
        (
            "multiport",
            1,
            struct.pack("BB15H15BB", 2, 3, 80, 90, 443, *([0] * 12), 1, *([0] * 14), 1),
            payloads.Multiport(2, ((80, 90), (443, 443)), True),
        ),
        ("addrtype", 0, struct.pack("HHII", 4, 2, 1, 0), payloads.Addrtype(4, 2, 1)),
        ("addrtype", 0, struct.pack("HHII", 4, 2, 0, 1), payloads.Addrtype(4, 2, 2)),
        ("set", 2, struct.pack("HBBI", 7, 2, 3, 0), payloads.SetRef(7, 2, 3)),
        (
            "set",
            3,
            struct.pack("HBB4xB7xQB7xQI", 7, 1, 2, 3, 9, 0, 0, 5),
            payloads.SetRef(7, 1, 2, 5, (3, 9), (0, 0)),
        ),
        (
            "set",
            4,
            struct.pack("HBB4xQB7xQB7xI", 7, 1, 2, 9, 3, 11, 4, 5),
            payloads.SetRef(7, 1, 2, 5, (3, 9), (4, 11)),
        ),
        ("cgroup", 0, struct.pack("II", 0x10001, 1), payloads.Cgroup(classid=0x10001, invert=True)),
        (
            "cgroup",
            1,
            struct.pack("4B4096sI", 1, 0, 1, 0, b"/system.slice", 0),
            payloads.Cgroup("/system.slice", None, True),
        ),
        ("cgroup", 2, struct.pack("4BI508x", 0, 1, 0, 0, 77), payloads.Cgroup("", 77, False)),
        ("dscp", 0, bytes([10, 1]), payloads.Mark(40, 0xFC, True)),
        ("tos", 1, bytes([0x1C, 0x10, 0]), payloads.Mark(0x10, 0x1C, False)),
        ("length", 0, struct.pack("HHB", 40, 1500, 1), payloads.Between(40, 1500, True)),
        ("realm", 0, struct.pack("IIB", 3, 0xFF, 0), payloads.Mark(3, 0xFF, False)),
        (
            "dccp",
            0,
            struct.pack("6H", 53, 53, 0, 65535, 2, 0),
            payloads.Ports((0, 65535), (53, 53), 2, 0, False),
        ),
        ("esp", 0, struct.pack("IIB", 1, 9, 1), payloads.Spis(1, 9, True)),
        ("socket", 0, b"", payloads.Number(0)),
        ("comment", 0, b"why\0".ljust(256, b"\0"), payloads.Named("why")),
        ("eui64", 0, b"", payloads.Named()),
        ("rt", 0, struct.pack("IIIIB", 2, 0, 0, 0, 1), payloads.Number(2, 1)),
        ("hbh", 0, struct.pack("IB", 8, 1), payloads.Number(8, 1)),
        ("frag", 0, struct.pack("IIIBB", 1, 9, 0, 0, 1), payloads.Spis(1, 9, True)),
        ("srh", 1, bytes([43, 0]), payloads.Number(43, 1)),
        ("policy", 0, bytes(304) + struct.pack("HH", 4, 1), payloads.Policy(4, 1)),
    ],
)
def test_payloads_as_c_lays_them_out(name: str, revision: int, info: bytes, expected: Any) -> None:
    assert MATCHES[name, revision](info) == expected


def test_a_payload_that_is_too_short_is_refused() -> None:
    with pytest.raises(struct.error):
        MATCHES["physdev", 0](bytes(65))

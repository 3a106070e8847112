"""Expressions of nftables by what they leave in a register, on a packet that came in by eth0.

eth0 10.0.0.9/24 fd00::9/64    br0 10.1.0.1/24 with its port veth1    lo
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NFPROTO_IPV6, NftExpr
from netviz.core.model.socket import Socket
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.choice import fresh
from netviz.core.sim.nft.context import Context, Result, Statement, Stop, Tri
from netviz.core.sim.nft.ct import Key as CtKey
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.nft.meta import Key
from netviz.core.sim.packet import Packet
from tests.core.sim.nft import FORWARD, INPUT, OUTPUT, PREROUTING
from tests.core.sim.xtables.recorded import context, echo, tcp, tracked, udp

T, F, U = Tri.TRUE, Tri.FALSE, Tri.UNKNOWN
REG, OTHER = 8, 12  # NFT_REG32_00, NFT_REG32_04


def ran(ctx: Context, name: str, **attrs: Any) -> Result:
    """Evaluate one expression."""
    return evaluate(ctx, NftExpr(name, attrs))


def loaded(ctx: Context, name: str, length: int, **attrs: Any) -> bytes | None:
    """Evaluate one expression that succeeds, and read its register."""
    assert ran(ctx, name, dreg=REG, **attrs) is T
    return ctx.load(REG, length)


def holding(value: bytes, other: bytes = b"") -> Context:
    """A context whose registers hold values."""
    ctx = context(tcp())
    ctx.store(REG, value)
    if other:
        ctx.store(OTHER, other)
    return ctx


@pytest.mark.parametrize(
    ("op", "value", "other", "result"),
    [
        (3, b"\x0f\xf0\xaa\x55", b"\xff\x00\x0f\x0f", b"\x0f\x00\x0a\x05"),
        (4, b"\x0f\xf0\xaa\x55", b"\xff\x00\x0f\x0f", b"\xff\xf0\xaf\x5f"),
        (5, b"\x0f\xf0\xaa\x55", b"\xff\x00\x0f\x0f", b"\xf0\xf0\xa5\x5a"),
    ],
    ids=["and", "or", "xor"],
)
def test_two_registers_are_combined(op: int, value: bytes, other: bytes, result: bytes) -> None:
    """Source: net/netfilter/nft_bitwise.c, nft_bitwise_eval_and, _or, _xor (Linux 6.18)."""
    ctx = holding(value, other)
    assert loaded(ctx, "bitwise", 4, sreg=REG, sreg2=OTHER, len=4, op=op) == result
    ctx.store(OTHER, None, 4)
    assert loaded(ctx, "bitwise", 4, sreg=REG, sreg2=OTHER, len=4, op=op) is None


@pytest.mark.parametrize(
    ("op", "value", "count", "result"),
    [
        (1, struct.pack("<I", 1), 8, struct.pack("<I", 0x100)),
        (2, struct.pack("<I", 0x100), 8, struct.pack("<I", 1)),
        (1, struct.pack("<II", 0, 0x80000000), 1, struct.pack("<II", 1, 0)),
        (2, struct.pack("<II", 1, 0), 1, struct.pack("<II", 0, 0x80000000)),
    ],
    ids=["left", "right", "left over a word", "right over a word"],
)
def test_a_shift_goes_by_words_in_host_order(op: int, value: bytes, count: int, result: bytes) -> None:
    """Source: net/netfilter/nft_bitwise.c, nft_bitwise_eval_lshift, _rshift."""
    ctx = holding(value)
    data = struct.pack("<I", count)
    assert loaded(ctx, "bitwise", len(value), sreg=REG, len=len(value), op=op, data=data) == result


def test_a_bitwise_operation_of_a_later_kernel_is_named() -> None:
    assert ran(holding(b"\0\0\0\1"), "bitwise", sreg=REG, dreg=REG, len=4, op=99, data=b"\0\0\0\1") == Stop(
        "bitwise operation"
    )


@pytest.mark.parametrize(
    ("op", "data", "expected"),
    [
        (0, b"\0\0\0\5", T),
        (1, b"\0\0\0\5", F),
        (2, b"\0\0\0\6", T),
        (2, b"\0\0\0\5", F),
        (3, b"\0\0\0\5", T),
        (4, b"\0\0\0\5", F),
        (4, b"\0\0\0\4", T),
        (5, b"\0\0\0\5", T),
        (9, b"\0\0\0\5", U),
    ],
)
def test_a_comparison_is_one_of_bytes(op: int, data: bytes, expected: Tri) -> None:
    """Source: net/netfilter/nft_cmp.c, nft_cmp_eval."""
    assert ran(holding(b"\0\0\0\5"), "cmp", sreg=REG, op=op, data=data) is expected


@pytest.mark.parametrize(
    ("low", "high", "op", "expected"), [(4, 6, 0, T), (4, 6, 1, F), (6, 9, 0, F), (6, 9, 1, T)]
)
def test_a_range(low: int, high: int, op: int, expected: Tri) -> None:
    """Source: net/netfilter/nft_range.c, nft_range_eval."""
    bounds = {"from_data": low.to_bytes(4, "big"), "to_data": high.to_bytes(4, "big")}
    assert ran(holding(b"\0\0\0\5"), "range", sreg=REG, op=op, **bounds) is expected
    unknown = context(tcp())
    assert ran(unknown, "range", sreg=REG, op=op, **bounds) is U


@pytest.mark.parametrize(("size", "result"), [(2, b"\x02\x01\x04\x03"), (4, b"\x04\x03\x02\x01")])
def test_bytes_change_their_order_by_twos_and_fours(size: int, result: bytes) -> None:
    """Source: net/netfilter/nft_byteorder.c, nft_byteorder_eval."""
    ctx = holding(b"\1\2\3\4")
    assert loaded(ctx, "byteorder", 4, sreg=REG, len=4, size=size, op=0) == result
    ctx.store(REG, None, 4)
    assert loaded(ctx, "byteorder", 4, sreg=REG, len=4, size=size, op=0) is None


def test_a_number_drawn_at_random_is_compared_by_its_odds() -> None:
    """Two of ten numbers are below 2: each outcome is a branch. What comes out alike for all is none."""
    ctx = context(tcp(), script=(1,))
    ran(ctx, "numgen", dreg=REG, modulus=10, type=1, offset=0)
    assert ran(ctx, "byteorder", sreg=REG, dreg=REG, len=4, size=4, op=1) is T
    assert ran(ctx, "range", sreg=REG, op=0, from_data=b"\0\0\0\0", to_data=b"\0\0\0\1") is F
    assert ran(ctx, "range", sreg=REG, op=0, from_data=b"\0\0\0\0", to_data=b"\0\0\0\x09") is T
    assert ran(ctx, "cmp", sreg=REG, op=2, data=b"\0\0\0\x0a") is T
    assert ran(ctx, "cmp", sreg=REG, op=4, data=b"\0\0\0\x0a") is F


def test_what_is_not_modelled_is_unknown_where_it_may_match_and_named_where_it_acts() -> None:
    ctx = context(tcp())
    assert loaded(ctx, "tomorrow", 4) is None
    assert ran(ctx, "tomorrow") == Stop("tomorrow")
    assert ran(ctx, "immediate", dreg=0, data={"nothing": 1}) == Stop("verdict")


# Statements.


def test_nothing_here_came_through_ipsec() -> None:
    """Source: net/netfilter/nft_xfrm.c, nft_xfrm_get_eval."""
    assert ran(context(tcp()), "xfrm", dreg=REG, key=1) is F


def test_what_is_not_to_be_tracked_says_so_unless_it_is_already() -> None:
    """Source: net/netfilter/nft_ct.c, nft_notrack_eval."""
    ctx = context(tcp())
    assert ran(ctx, "notrack") is T
    assert ctx.packet.untracked
    ctx = context(tracked(tcp()))
    assert ran(ctx, "notrack") is T
    assert not ctx.packet.untracked


@pytest.mark.parametrize(
    ("packet", "expected"), [(tcp(), T), (tcp(tcp_flags=0x10), F), (udp(), F)], ids=["SYN", "ACK", "UDP"]
)
def test_only_a_syn_has_a_fingerprint(packet: Packet, expected: Tri) -> None:
    """Source: net/netfilter/nft_osf.c, nft_osf_eval."""
    ctx = context(packet)
    assert ran(ctx, "osf", dreg=REG) is expected
    assert ctx.load(REG, 16) is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (tcp(), F),
        (tracked(tcp(), confirmed=True, tcp_state=3), U),
        (tracked(tcp(), confirmed=True, tcp_state=1), F),
        (tracked(udp(), confirmed=True), U),
        (tracked(udp()), F),
        (tracked(echo(), confirmed=True), F),
    ],
)
def test_only_an_established_flow_may_be_offloaded(sent: Any, expected: Tri) -> None:
    """Source: net/netfilter/nft_flow_offload.c, nft_flow_offload_eval."""
    assert ran(context(sent, hook=FORWARD), "flow_offload", table_name="ft") is expected


@pytest.mark.parametrize(
    ("packet", "expected"),
    [(tcp(), Stop("synproxy")), (tcp(tcp_flags=1), T), (udp(), F)],
    ids=["SYN", "FIN", "UDP"],
)
def test_a_proxy_answers_the_syn(packet: Packet, expected: Result) -> None:
    """Source: net/netfilter/nft_synproxy.c, nft_synproxy_do_eval."""
    assert ran(context(packet), "synproxy", mss=1460) == expected


def test_a_queue_is_where_the_walk_ends() -> None:
    assert ran(context(tcp()), "queue", num=3) == Stop("queue 3 (a program outside the kernel decides)")


def test_a_copy_goes_elsewhere_and_the_packet_on() -> None:
    """Source: net/ipv4/netfilter/nft_dup_ipv4.c, nft_dup_ipv4_eval."""
    ctx = context(tcp())
    ctx.store(REG, pack_ip("10.0.0.7"))
    br0 = next(link for link in ctx.ns.links.values() if link.ifname == "br0")
    ctx.store(OTHER, br0.ifindex.to_bytes(4, "little"))
    assert ran(ctx, "dup", sreg_addr=REG, sreg_dev=OTHER) is T
    assert [(copy.addr, copy.ifname) for copy in ctx.copies] == [(pack_ip("10.0.0.7"), "br0")]


@pytest.mark.parametrize(
    ("packet", "expected"),
    [(tcp(ttl=64), "action"), (tcp(ttl=1), Verdict(0)), (tcp("fd00::1", "fd00::2", ttl=64), F)],
    ids=["on", "used up", "another family"],
)
def test_a_frame_forwarded_to_a_neighbour_is_of_its_family_and_not_used_up(
    packet: Packet, expected: Any
) -> None:
    """Source: net/netfilter/nft_fwd_netdev.c, nft_fwd_neigh_eval."""
    attrs = {"sreg_dev": REG, "sreg_addr": OTHER, "nfproto": 2}
    found = ran(context(packet), "fwd", **attrs)
    assert found == (Statement(NftExpr("fwd", attrs)) if expected == "action" else expected)


# Where an address leads. Source: net/ipv4/netfilter/nft_fib_ipv4.c, net/ipv6/netfilter/nft_fib_ipv6.c (Linux 6.18).

OIF, OIFNAME, ADDRTYPE = 1, 2, 3
SADDR, DADDR, MARK, IIF, FOIF, PRESENT = 1, 2, 4, 8, 16, 32
UNICAST, LOCAL, BROADCAST, MULTICAST, UNREACHABLE = 1, 2, 3, 5, 7


def number(data: bytes | None) -> int | None:
    return None if data is None else int.from_bytes(data, "little")


@pytest.mark.parametrize(
    ("dst", "flags", "kind"),
    [
        ("10.0.0.9", DADDR, LOCAL),
        ("10.0.0.77", DADDR, UNICAST),
        ("10.0.0.9", DADDR | IIF, LOCAL),
        ("10.1.0.1", DADDR | IIF, UNICAST),  # it is another device's
        ("224.0.0.5", DADDR, MULTICAST),
        ("255.255.255.255", DADDR, BROADCAST),
        ("0.0.0.0", DADDR, BROADCAST),
        ("fd00::9", DADDR, LOCAL),
        ("fd00::77", DADDR, UNICAST),
        ("fd00::9", DADDR | IIF, LOCAL),
        ("fd77::1", DADDR, UNREACHABLE),
        ("ff02::5", DADDR, UNREACHABLE),  # nothing here has a route of ff00::/8
    ],
)
def test_the_type_of_an_address(dst: str, flags: int, kind: int) -> None:
    src = "fd00::1" if ":" in dst else "10.0.0.1"
    ctx = context(tcp(src, dst), hook=PREROUTING)
    assert number(loaded(ctx, "fib", 4, flags=flags, result=ADDRTYPE)) == kind


@pytest.mark.parametrize(
    ("src", "flags", "name"),
    [
        ("10.0.0.1", SADDR, "eth0"),
        ("10.0.0.1", SADDR | IIF, "eth0"),
        ("10.1.0.7", SADDR, "br0"),
        ("10.1.0.7", SADDR | IIF, ""),  # it leads to another device than it came by
        ("10.0.0.9", SADDR, ""),  # its own
        ("10.77.0.1", SADDR, ""),
        ("fd00::1", SADDR, "eth0"),
        ("fd00::1", SADDR | IIF, "eth0"),
        ("fd00::9", SADDR, ""),
        ("fd77::1", SADDR, ""),
        ("fe80::1", SADDR | IIF, ""),  # nor of fe80::/64
    ],
)
def test_the_device_that_an_address_leads_to(src: str, flags: int, name: str) -> None:
    dst = "fd00::9" if ":" in src else "10.0.0.9"
    ctx = context(tcp(src, dst), hook=PREROUTING)
    found = loaded(ctx, "fib", 16, flags=flags, result=OIFNAME)
    assert found is not None
    assert found.rstrip(b"\0").decode() == name
    assert loaded(ctx, "fib", 1, flags=flags | PRESENT, result=OIF) == bytes([bool(name)])
    index = number(loaded(ctx, "fib", 4, flags=flags, result=OIF))
    assert index == next((link.ifindex for link in ctx.ns.links.values() if link.ifname == name), 0)


def test_what_came_by_the_loopback_is_not_looked_up() -> None:
    """Source: include/net/netfilter/nft_fib.h, nft_fib_can_skip."""
    ctx = context(tcp("10.77.0.1", "10.0.0.9"), hook=PREROUTING, iif="lo")
    found = loaded(ctx, "fib", 16, flags=SADDR | IIF, result=OIFNAME)
    assert found is not None
    assert found.startswith(b"lo\0")


def test_an_arp_message_has_no_route() -> None:
    ctx = context(Packet(pack_ip("10.0.0.1"), pack_ip("10.0.0.9"), 0, arp=1))
    assert ran(ctx, "fib", dreg=REG, flags=SADDR, result=OIF) is F


# Whose socket. Source: net/netfilter/nft_socket.c, nft_socket_eval; nft_tproxy.c (Linux 6.18).

TRANSPARENT, SK_MARK, WILDCARD, CGROUP = 0, 1, 2, 3
LISTENER = Socket(6, pack_ip("10.0.0.9"), 80, cookie=1, mark=0x42, transparent=True)
ANYWHERE = Socket(6, pack_ip("0.0.0.0"), 81, cookie=2)
CONNECTED = Socket(6, pack_ip("10.0.0.9"), 80, pack_ip("10.0.0.1"), 40000, state=1, cookie=3, mark=7)


@pytest.mark.parametrize(
    ("key", "dport", "value"),
    [
        (SK_MARK, 80, 0x42),
        (SK_MARK, 81, 0),
        (WILDCARD, 80, 0),
        (WILDCARD, 81, 1),
        (TRANSPARENT, 80, 1),
        (TRANSPARENT, 81, 0),
    ],
)
def test_what_the_packets_socket_says(key: int, dport: int, value: int) -> None:
    ctx = context(tcp(dst="10.0.0.9", dport=dport), hook=INPUT, sockets=(LISTENER, ANYWHERE))
    assert number(loaded(ctx, "socket", 4 if key == SK_MARK else 1, key=key)) == value


def test_a_connections_socket_comes_before_its_listeners() -> None:
    ctx = context(tcp(dst="10.0.0.9", tcp_flags=0x10), hook=INPUT, sockets=(LISTENER, CONNECTED))
    assert number(loaded(ctx, "socket", 4, key=SK_MARK)) == 7


@pytest.mark.parametrize(
    ("packet", "hook", "iif", "expected"),
    [
        (tcp(dst="10.0.0.9", dport=99), INPUT, "eth0", F),
        (echo(dst="10.0.0.9"), INPUT, "eth0", F),
        (tcp(dst="10.0.0.9"), PREROUTING, "", F),
    ],
    ids=["nobody listens", "no port", "from nowhere"],
)
def test_without_a_socket_the_rule_does_not_match(packet: Packet, hook: int, iif: str, expected: Tri) -> None:
    assert (
        ran(context(packet, hook=hook, iif=iif, sockets=(LISTENER,)), "socket", dreg=REG, key=SK_MARK)
        is expected
    )


@pytest.mark.parametrize(
    ("packet", "hook"),
    [
        (tcp(dst="10.0.0.9", tcp_flags=0x10), INPUT),
        (tcp(dst="10.0.0.9", dport_unsure=True), INPUT),
        (tcp(), OUTPUT),
    ],
    ids=["of a connection that isn't there", "of a port that isn't known", "of a sender that isn't known"],
)
def test_a_socket_that_cannot_be_known_is_unknown(packet: Packet, hook: int) -> None:
    ctx = context(packet, hook=hook, sockets=(LISTENER,))
    assert loaded(ctx, "socket", 4, key=SK_MARK) is None


def test_a_packet_given_to_a_socket_is_that_ones() -> None:
    ctx = context(tcp(dst="10.9.9.9", dport=99), hook=PREROUTING, sockets=(LISTENER,))
    ctx.store(REG, pack_ip("10.0.0.9"))
    ctx.store(OTHER, (80).to_bytes(2, "big") + bytes(2))
    assert ran(ctx, "tproxy", family=2, reg_addr=REG, reg_port=OTHER) is T
    assert ctx.packet.sk == LISTENER.cookie
    assert number(loaded(ctx, "socket", 4, key=SK_MARK)) == 0x42


@pytest.mark.parametrize(
    ("packet", "attrs", "expected"),
    [
        (echo(), {"family": 2}, F),
        (tcp(), {"family": NFPROTO_IPV6}, F),
        (tcp(dport=99), {"family": 2}, F),
        (tcp(dport=80), {"family": 0}, T),  # the device's first address, the packet's own port
        (tcp(dport=80), {"family": 2, "reg_addr": REG}, U),
    ],
    ids=[
        "no transport",
        "another family",
        "nobody there",
        "the device's address",
        "an address that isn't known",
    ],
)
def test_who_may_be_given_a_packet(packet: Packet, attrs: dict[str, int], expected: Tri) -> None:
    assert ran(context(packet, hook=PREROUTING, sockets=(LISTENER,)), "tproxy", **attrs) is expected


# Options and extension headers. Source: net/netfilter/nft_exthdr.c (Linux 6.18).

V6, TCPOPT, V4 = 0, 1, 2


@pytest.mark.parametrize(
    ("packet", "op", "kind", "expected"),
    [
        (tcp(), TCPOPT, 2, 1),  # a SYN has its MSS
        (tcp(), TCPOPT, 99, 0),
        (tcp("fd00::1", "fd00::2"), V6, 44, 0),
        (tcp(), V4, 7, 0),
    ],
)
def test_whether_an_option_is_there(packet: Packet, op: int, kind: int, expected: int) -> None:
    found = loaded(context(packet), "exthdr", 1, op=op, type=kind, flags=1, offset=0, len=1)
    assert found == bytes([expected])


def test_an_options_own_bytes() -> None:
    """Its kind and length are known; what it says isn't."""
    ctx = context(tcp())
    assert loaded(ctx, "exthdr", 1, op=TCPOPT, type=2, offset=0, len=1) == b"\2"
    assert loaded(ctx, "exthdr", 1, op=TCPOPT, type=2, offset=1, len=1) == b"\4"
    assert loaded(ctx, "exthdr", 2, op=TCPOPT, type=2, offset=2, len=2) is None
    assert ran(ctx, "exthdr", dreg=REG, op=TCPOPT, type=2, offset=2, len=99) is F
    assert ran(context(udp()), "exthdr", dreg=REG, op=TCPOPT, type=2, offset=0, len=1) is F


def test_after_a_rule_has_set_options_nothing_of_them_is_known() -> None:
    ctx = context(tcp())
    assert ran(ctx, "exthdr", sreg=REG, op=TCPOPT, type=2, offset=2, len=2) is T
    assert loaded(ctx, "exthdr", 1, op=TCPOPT, type=2, flags=1, offset=0, len=1) is None
    assert ran(context(udp()), "exthdr", sreg=REG, op=TCPOPT, type=2, offset=2, len=2) is F


def test_headers_of_the_other_family_are_not_there() -> None:
    assert ran(context(tcp()), "exthdr", dreg=REG, op=V6, type=44, flags=1, offset=0, len=1) is F
    assert (
        ran(context(tcp("fd00::1", "fd00::2")), "exthdr", dreg=REG, op=V4, type=7, flags=1, offset=0, len=1)
        is F
    )


def test_what_is_inside_a_datagram_that_no_tunnel_here_made_is_unknown() -> None:
    """Source: net/netfilter/nft_inner.c, nft_inner_eval."""
    expr = {"name": "payload", "attrs": {"dreg": REG, "base": 1, "offset": 16, "len": 4}}
    ctx = context(udp(dport=4789))
    assert ran(ctx, "inner", num=0, type=1, flags=15, hdrsize=8, expr=expr) is T
    assert ctx.load(REG, 4) is None
    assert ran(context(tcp()), "inner", num=0, type=1, flags=15, hdrsize=8, expr=expr) is F
    inside = context(udp(dport=4789, vni=7, payload=tcp("10.5.0.1", "10.5.0.2")))
    assert ran(inside, "inner", num=0, type=1, flags=15, hdrsize=8, expr=expr) is T
    assert inside.load(REG, 4) == pack_ip("10.5.0.2")
    assert inside.packet.vni == 7


# What is told of a packet beside its bytes. Source: net/netfilter/nft_meta.c, nft_meta_get_eval (Linux 6.18).


def name(data: bytes | None) -> str:
    assert data is not None
    return data.rstrip(b"\0").decode()


def test_devices_by_name_number_type_group_and_kind() -> None:
    ctx = context(tcp(mark=0x77), hook=FORWARD, oif="br0")
    links = {link.ifname: link for link in ctx.ns.links.values()}
    assert name(loaded(ctx, "meta", 16, key=Key.IIFNAME)) == "eth0"
    assert name(loaded(ctx, "meta", 16, key=Key.OIFNAME)) == "br0"
    assert number(loaded(ctx, "meta", 4, key=Key.IIF)) == links["eth0"].ifindex
    assert number(loaded(ctx, "meta", 4, key=Key.OIF)) == links["br0"].ifindex
    assert number(loaded(ctx, "meta", 2, key=Key.IIFTYPE)) == 1  # ARPHRD_ETHER
    assert number(loaded(ctx, "meta", 4, key=Key.OIFGROUP)) == 0
    assert name(loaded(ctx, "meta", 16, key=Key.OIFKIND)) == "bridge"
    assert ran(ctx, "meta", dreg=REG, key=Key.IIFKIND) is F  # a NIC has none
    assert number(loaded(ctx, "meta", 4, key=Key.MARK)) == 0x77
    assert loaded(ctx, "meta", 1, key=Key.L4PROTO) == b"\6"
    assert loaded(ctx, "meta", 2, key=Key.PROTOCOL) == b"\x08\0"


@pytest.mark.parametrize("key", ["OIFTYPE", "OIFGROUP", "OIFKIND"])
def test_what_a_device_that_is_not_there_says_breaks_the_rule(key: str) -> None:
    assert ran(context(tcp(), hook=PREROUTING), "meta", dreg=REG, key=Key[key]) is F


@pytest.mark.parametrize(
    ("key", "iif", "expected"),
    [
        ("BRI_IIFNAME", "veth1", "br0"),
        ("BRI_IIFNAME", "eth0", F),
        ("BRI_IIFNAME", "", F),
        ("BRI_IIFPVID", "veth1", F),
    ],
)
def test_the_bridge_of_a_port(key: str, iif: str, expected: Any) -> None:
    """Without VLAN filtering there is no PVID. Source: net/bridge/netfilter/nft_meta_bridge.c."""
    ctx = context(tcp(), iif=iif)
    found = ran(ctx, "meta", dreg=REG, key=Key[key])
    assert (name(ctx.load(REG, 16)) if found is T else found) == expected


def test_the_mac_of_a_ports_bridge() -> None:
    ctx = context(tcp(), iif="veth1")
    mac = next(link.mac for link in ctx.ns.links.values() if link.ifname == "br0")
    assert (loaded(ctx, "meta", 8, key=Key.BRI_IIFHWADDR) or b"")[:6] == mac
    assert ran(context(tcp()), "meta", dreg=REG, key=Key.BRI_IIFHWADDR) is F


@pytest.mark.parametrize(
    ("packet", "hook", "expected"),
    [
        (tcp(own=True), OUTPUT, None),
        (tcp(own=True, tcp_flags=4), OUTPUT, F),  # the kernel's own reset
        (tcp(), FORWARD, F),
        (tcp(sk=3), PREROUTING, None),
        (tcp(tcp_flags=0x10), INPUT, None),  # its socket may have been found early
        (tcp(), INPUT, F),
    ],
)
def test_whose_program_sent_it(packet: Packet, hook: int, expected: Tri | None) -> None:
    ctx = context(packet, hook=hook)
    found = ran(ctx, "meta", dreg=REG, key=Key.SKUID)
    assert found is (expected or T)
    assert ctx.load(REG, 4) is None


def test_nothing_came_through_ipsec_or_belongs_to_a_vrf() -> None:
    ctx = context(tcp())
    assert loaded(ctx, "meta", 1, key=Key.SECPATH) == b"\0"
    assert number(loaded(ctx, "meta", 4, key=Key.SDIF)) == 0
    assert ran(ctx, "meta", dreg=REG, key=Key.SDIFNAME) is F
    assert loaded(ctx, "meta", 4, key=250) is None  # a later kernel's


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MARK", 0x42, T),
        ("PKTTYPE", 3, T),
        ("PKTTYPE", 9, T),
        ("PRIORITY", 1, T),
        ("CPU", 1, Stop("meta set cpu")),
    ],
)
def test_what_a_rule_may_set(key: str, value: int, expected: Result) -> None:
    ctx = context(tcp())
    ctx.store(REG, value.to_bytes(4, "little"))
    assert ran(ctx, "meta", sreg=REG, key=Key[key]) == expected
    assert ctx.packet.mark == (0x42 if key == "MARK" else 0)
    assert ctx.packet.pkttype == (3 if (key, value) == ("PKTTYPE", 3) else None)


def test_a_mark_that_is_not_known_cannot_be_set() -> None:
    assert ran(context(tcp()), "meta", sreg=REG, key=Key.MARK) == Stop("meta set mark")


@pytest.mark.parametrize(
    ("packet", "hook", "key", "expected"),
    [
        (tcp(), FORWARD, 1, pack_ip("10.0.0.7")),
        (tcp(), INPUT, 1, pack_ip("10.1.2.3")),
        (tcp(), FORWARD, 2, F),  # the next hop of the other family
        (tcp(), FORWARD, 4, b"\0\0\0\0"),  # no IPsec
        (tcp(), FORWARD, 0, None),  # the realm isn't in the state
        (tcp(), PREROUTING, 1, F),  # it has no route yet
    ],
)
def test_what_the_route_says(packet: Packet, hook: int, key: int, expected: Any) -> None:
    """Source: net/netfilter/nft_rt.c, nft_rt_get_eval."""
    ctx = context(packet, hook=hook)
    ctx.nexthop = pack_ip("10.0.0.7")
    found = ran(ctx, "rt", dreg=REG, key=key)
    value = ctx.load(REG, 4)
    assert (found if found is F else value) == expected


# What is told of a connection. Source: net/netfilter/nft_ct.c, nft_ct_get_eval (Linux 6.18).


def of_connection(key: CtKey, length: int, *, direction: int | None = None, **conn: Any) -> bytes | None:
    ctx = context(tracked(tcp(), **conn))
    more = {} if direction is None else {"direction": direction}
    return loaded(ctx, "ct", length, key=key, **more)


def test_both_directions_of_a_connection() -> None:
    assert of_connection(CtKey.SRC, 4, direction=0) == pack_ip("10.0.0.1")
    assert of_connection(CtKey.DST_IP, 4, direction=1) == pack_ip("10.0.0.1")
    assert of_connection(CtKey.PROTO_DST, 2, direction=0) == (80).to_bytes(2, "big")
    assert of_connection(CtKey.PROTO_SRC, 2, direction=1) == (80).to_bytes(2, "big")
    assert of_connection(CtKey.PROTO_SRC, 2, direction=0, unsure=True) is None
    assert of_connection(CtKey.PROTOCOL, 1, direction=0) == b"\6"
    assert of_connection(CtKey.L3PROTOCOL, 1, direction=0) == b"\2"
    assert of_connection(CtKey.DIRECTION, 1) == b"\0"
    assert ran(context(tracked(tcp())), "ct", dreg=REG, key=CtKey.SRC_IP6, direction=0) is F


def test_a_connections_own_values() -> None:
    assert number(of_connection(CtKey.MARK, 4, mark=0x99)) == 0x99
    assert number(of_connection(CtKey.ZONE, 2, zone=7)) == 7
    assert number(of_connection(CtKey.LABELS, 16, labels=0b100)) == 0b100
    assert of_connection(CtKey.LABELS, 16, labels=None) is None
    status = number(of_connection(CtKey.STATUS, 4, confirmed=True, src_done=True))
    assert status is not None
    assert status & 0x88 == 0x88  # IPS_CONFIRMED, IPS_SRC_NAT_DONE
    assert number(of_connection(CtKey.PKTS, 8, counted=((2, 120), (1, 60)))) == 3
    assert number(of_connection(CtKey.BYTES, 8, counted=((2, 120), (1, 60)), direction=0)) == 120
    assert number(of_connection(CtKey.AVGPKT, 8, counted=((0, 0), (0, 0)))) == 0
    assert of_connection(CtKey.PKTS, 8, counted=None) is None
    assert ran(context(tracked(tcp())), "ct", dreg=REG, key=CtKey.HELPER) is F
    assert ran(context(tcp()), "ct", dreg=REG, key=CtKey.MARK) is F


def test_what_a_rule_may_set_of_a_connection() -> None:
    ctx = context(tracked(tcp(), labels=1))
    ctx.store(REG, (0x42).to_bytes(4, "little"))
    assert ran(ctx, "ct", sreg=REG, key=CtKey.MARK) is T
    assert ctx.conn is not None
    assert ctx.conn.mark == 0x42
    ctx.store(REG, (4).to_bytes(16, "little"))
    assert ran(ctx, "ct", sreg=REG, key=CtKey.LABELS) is T
    assert ctx.conn.labels == 5
    ctx.store(REG, None, 16)
    assert ran(ctx, "ct", sreg=REG, key=CtKey.LABELS) is T
    assert ctx.conn.labels is None
    assert ran(ctx, "ct", sreg=REG, key=CtKey.MARK) == Stop("ct mark set to a value that isn't known")
    assert ran(ctx, "ct", sreg=REG, key=CtKey.EVENTMASK) is T
    ctx.store(REG, (7).to_bytes(4, "little"))
    assert ran(ctx, "ct", sreg=REG, key=CtKey.HELPER) == Stop("ct set")


def test_a_zone_is_set_before_the_connection_is_looked_up() -> None:
    ctx = context(tcp())
    ctx.store(REG, (7).to_bytes(4, "little"))
    assert ran(ctx, "ct", sreg=REG, key=CtKey.ZONE, direction=0) == Stop("ct zone of one direction")
    assert ran(ctx, "ct", sreg=REG, key=CtKey.ZONE) is T
    assert (ctx.packet.zone, ctx.packet.template) == (7, True)
    ctx.store(REG, None, 4)
    assert ran(ctx, "ct", sreg=REG, key=CtKey.ZONE) == Stop("ct zone set")


@pytest.mark.parametrize(
    ("statement", "attrs", "expected"),
    [
        ("limit", {}, T),
        ("limit", {"flags": 1}, F),
        ("limit", {"type": 1}, U),
        ("quota", {"bytes": 1000}, T),
        ("quota", {"bytes": 1}, F),
        ("quota", {"bytes": 1, "flags": 1}, T),
        ("connlimit", {"count": 1}, T),
        ("connlimit", {"count": 0}, F),
        ("counter", {}, T),
        ("tomorrow", {}, U),
    ],
)
def test_what_the_packets_own_new_element_lets_pass(
    statement: str, attrs: dict[str, int], expected: Tri
) -> None:
    """Source: net/netfilter/nft_limit.c, nft_limit_init (tokens full); nft_quota.c; nft_connlimit.c."""
    assert fresh(context(tcp(length=60)), statement, attrs) is expected

"""What the observers read and check, without a kernel."""

from __future__ import annotations

import struct

import msgspec
import pytest

from agents.netlink.nfnetlink import nfgenmsg, text_attr
from agents.netlink.nftables import (
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE,
    elements,
    parse_chain,
    parse_expr,
    parse_table,
)
from agents.netlink.wire import BE32, attr, attrs, parse_messages
from agents.observers.command import split_target
from agents.observers.marks import marks
from agents.observers.nft_trace import batch, parse_trace
from agents.observers.probe import checksum
from agents.observers.trace_text import parse_events, parse_lost
from agents.options import BadInput
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.frame import Frame
from netviz.core.observe.sighting import Event, Lookup
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Flow

TRACE = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 5/5   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
          <idle>-0       [001] ..s2.  7424.438951: netif_receive_skb: dev=eth0 skbaddr=00000000a7f21c3d len=84
 a - b: [0] x-21382   [000] b..2.  7424.438960: net_dev_start_xmit: dev=veth1 queue_mapping=0 skbaddr=00000000a7f21c3d vlan_tagged=0 vlan_proto=0x0000 vlan_tci=0x0000 protocol=0x0800 ip_summed=0 len=98 data_len=0 network_offset=14 transport_offset_valid=1 transport_offset=34 tx_flags=0 gso_size=0 gso_segs=0 gso_type=0x0
         python3-21382   [000] b.s2.  7424.439671: kfree_skb: skbaddr=000000009591e6b5 rx_sk=0000000000000000 protocol=2048 location=icmp_rcv+0x1f/0x2e0 reason: NO_SOCKET
         python3-21382   [000] b.s2.  7424.439672: consume_skb: skbaddr=000000009591e6b5 location=unix_stream_read_generic+0x1/0x2
         python3-21382   [000] b.s2.  7424.439673: neigh_update: family 2 dev veth1 lladdr 00 flags 00
         python3-21382   [000] b.s2.  7424.439674: fib_table_lookup: table 254 oif 0 iif 3 proto 6 10.244.1.2/0 -> 10.244.2.7/0 tos 0 scope 0 flags 0 ==> dev eth0 gw 172.30.0.12/:: err 0
         python3-21382   [000] b.s2.  7424.439675: fib6_table_lookup: table 255 oif 0 iif 1 proto 58 fd00::1/0 -> fd00::2/0 flowlabel 0x0 tos 0 scope 0 flags 4 ==> dev lo gw :: err -113
"""


def test_trace_is_read() -> None:
    """Events in order; comms with blanks, brackets and minus signs; an event of another kind is left out."""
    assert parse_events(TRACE) == [
        Event(7424438951000, "net:netif_receive_skb", 0xA7F21C3D, 0, "eth0", 84, cpu=1),
        Event(7424438960000, "net:net_dev_start_xmit", 0xA7F21C3D, 21382, "veth1", 98, cpu=0),
        Event(7424439671000, "skb:kfree_skb", 0x9591E6B5, 21382, protocol=2048, reason="NO_SOCKET", cpu=0),
        Event(7424439672000, "skb:consume_skb", 0x9591E6B5, 21382, cpu=0),
        Event(
            7424439674000,
            "fib:fib_table_lookup",
            0,
            21382,
            cpu=0,
            lookup=Lookup(254, 3, "10.244.1.2", "10.244.2.7", "eth0", "172.30.0.12"),
        ),
        Event(
            7424439675000,
            "fib6:fib6_table_lookup",
            0,
            21382,
            cpu=0,
            lookup=Lookup(255, 1, "fd00::1", "fd00::2", "lo", error=113),
        ),
    ]


IP = bytes.fromhex("45000038000040004011000a") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
UDP = bytes.fromhex("0fa0003500240000") + b"nvF00007" + b"...."


def message(
    ident: int,
    kind: int,
    verdict: int,
    handle: int = 0,
    headers: bytes = b"",
    table: str = "t",
    chain: str = "c",
) -> bytes:
    """A trace message of a chain in a table of the family ip."""
    nested = attr(5, attr(1, BE32.pack(verdict & 0xFFFFFFFF)))
    named = text_attr(1, table) + text_attr(2, chain) + attr(4, BE32.pack(kind)) + attr(6, BE32.pack(ident))
    policy = attr(16, BE32.pack(0)) if kind == 1 else b""
    numbered = attr(3, handle.to_bytes(8, "big")) if handle else b""
    return nfgenmsg(2) + named + nested + policy + numbered + headers


def test_rules_belong_to_the_packet_of_their_headers() -> None:
    """The first message of a packet has its headers, later ones its id; what has neither a probe's is left out."""
    frames: dict[int, Frame] = {}
    headers = attr(8, IP) + attr(9, UDP)
    first = parse_trace("p", message(1, 3, -3, 5, headers), frames, 7)
    assert first is not None
    assert (first.place, first.family, first.table, first.chain) == ("p", 2, "t", "c")
    assert (first.kind, first.verdict, first.handle, first.decides) == ("rule", "jump", 5, False)
    assert (first.frame.kind, first.frame.number, first.frame.src) == ("forward", 7, "10.0.0.1")
    last = parse_trace("p", message(1, 1, 1), frames, 7)
    assert last is not None
    assert (last.kind, last.verdict, last.frame, last.decides) == ("policy", "drop", first.frame, True)
    assert parse_trace("p", message(2, 3, 1), frames, 7) is None
    other = attr(8, IP) + attr(9, UDP[:8] + b"not a cookie")
    assert parse_trace("p", message(1, 3, 1, 6, other), frames, 7) is None
    assert parse_trace("p", message(1, 3, 1, 7), frames, 7) is None


def test_the_table_marks_the_probe_alone() -> None:
    """The rules are written as a collector reads them: a protocol, the cookie at its place, or the port of its answers."""
    flow = Flow(NetnsKey("n", 1, 1), bytes(4), bytes(4), IPPROTO_UDP)
    wanted = [mark for mark in marks(flow, 4000, 7) if not mark.says]
    data, answers = batch("netviz-observe-1", wanted)
    found = _kinds(data)
    assert answers == len(found) - 2 == 14
    tables = [parse_table(body) for kind, body in found if kind == NFT_MSG_NEWTABLE]
    assert [(table.name, table.flags) for table in tables] == [("netviz-observe-1", 2)]
    chains = [parse_chain(body) for kind, body in found if kind == NFT_MSG_NEWCHAIN]
    assert [(chain.name, chain.hook, chain.priority) for chain in chains[:4]] == [
        ("prerouting", 0, -350),
        ("output", 3, -350),
        ("tracked-prerouting", 0, -190),
        ("tracked-output", 3, -190),
    ]
    rules = [
        [parse_expr(one) for one in elements(attrs(body, 4)[4])]
        for kind, body in found
        if kind == NFT_MSG_NEWRULE
    ]
    rules = [rule for rule in rules if len(rule) > 1]  # without the jumps to where tunnels are looked into
    assert [[expr.name for expr in rule] for rule in rules] == [
        ["meta", "cmp", "payload", "cmp", "immediate", "meta"]
    ] * 6
    assert [rule[3].attrs["data"] for rule in rules] == [b"nvF00007", b"nvR00007", b"\x0f\xa0"] * 2
    tcp = marks(msgspec.structs.replace(flow, proto=IPPROTO_TCP), 4000, 7)
    assert {mark.parts[0].value for mark in tcp if not mark.says} == {b"\x0f\xa0"}


def test_a_chain_of_ours_says_what_a_message_has_too_little_of() -> None:
    """A tunnel's packet is known by the chain that had it traced, by its id from then on, until another has that."""
    data, _ = batch(
        "netviz-observe-1", marks(Flow(NetnsKey("n", 1, 1), bytes(4), bytes(4), IPPROTO_UDP), 4000, 7)
    )
    chains = [parse_chain(body) for kind, body in _kinds(data) if kind == NFT_MSG_NEWCHAIN]
    assert [chain.name for chain in chains[4:]] == ["probe-error", "probe-forward", "probe-reply", "others"]
    frames: dict[int, Frame] = {}
    wrapped = attr(8, IP) + attr(9, bytes(8) + b"\x08" + bytes(11))
    assert parse_trace("p", message(1, 3, 1, 5, wrapped), frames, 7) is None
    ours = message(1, 3, 1, 5, wrapped, "netviz-observe-1", "probe-reply")
    for body in (ours, message(1, 3, 1, 6, wrapped), message(1, 1, 1)):
        event = parse_trace("p", body, frames, 7)
        assert event is not None
        assert (event.frame.kind, event.frame.number, event.frame.encapsulated) == ("reply", 7, True)
    other = attr(8, IP[:12] + bytes(8)) + attr(9, bytes(20))
    assert parse_trace("p", message(1, 3, 1, 6, other), frames, 7) is None


def _kinds(data: bytes) -> list[tuple[int, bytes]]:
    return [(kind, body) for kind, _flags, _seq, body in parse_messages(data)]


def test_losses_are_added_up() -> None:
    stats = "entries: 12\noverrun: 3\ncommit overrun: 1\nbytes: 99\ndropped events: 2\nread events: 7\n"
    assert parse_lost(stats) == 6
    assert parse_lost("entries: 0\noverrun: 0\ncommit overrun: 0\ndropped events: 0\n") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("10.0.0.1", ("10.0.0.1", None)),
        ("fd00::1", ("fd00::1", None)),
        ("[fd00::1]", ("fd00::1", None)),
        ("[fd00::1]:53", ("fd00::1", 53)),
        ("default/web:8080", ("default/web", 8080)),
        ("web", ("web", None)),
    ],
)
def test_targets(text: str, expected: tuple[str, int | None]) -> None:
    assert split_target(text) == expected


@pytest.mark.parametrize("text", ["10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "web:http"])
def test_targets_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="is not a port"):
        split_target(text)


def test_checksum() -> None:
    """The example of RFC 1071, section 3, and an odd length; with its checksum in it, data sums up to nothing."""
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert checksum(data) == 0xFFFF - 0xDDF2
    assert checksum(data + struct.pack("!H", checksum(data))) == 0
    assert checksum(b"\x01") == 0xFEFF

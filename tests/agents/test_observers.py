"""What the observers read and check, without a kernel."""

from __future__ import annotations

import struct

import pytest

from agents.observers.command import split_target
from agents.observers.probe import checksum
from agents.observers.trace_text import parse_events, parse_lost
from agents.options import BadInput
from netviz.core.observe.sighting import Event

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
"""


def test_trace_is_read() -> None:
    """Events in order; comms with blanks, brackets and minus signs; an event of another kind is left out."""
    assert parse_events(TRACE) == [
        Event(7424438951000, "net:netif_receive_skb", 0xA7F21C3D, 0, "eth0", 84),
        Event(7424438960000, "net:net_dev_start_xmit", 0xA7F21C3D, 21382, "veth1", 98),
        Event(7424439671000, "skb:kfree_skb", 0x9591E6B5, 21382, protocol=2048, reason="NO_SOCKET"),
        Event(7424439672000, "skb:consume_skb", 0x9591E6B5, 21382),
    ]


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

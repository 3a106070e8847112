"""Drops joined with frames: told where only one flow in one place can be meant, and open elsewhere."""

from __future__ import annotations

import struct

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.observe.drops import MOST_GROUPS, Drop, Groups, Joiner, Seen
from netviz.core.observe.headers import Headers, parse_headers
from netviz.core.observe.sighting import Clocks, Event, TracePoint

CLOCKS = Clocks(1_000_000_000, 2_000)
TX: TracePoint = "net:net_dev_start_xmit"
RX: TracePoint = "net:netif_receive_skb"
US = 1000
A, B = pack_ip("10.0.0.1"), pack_ip("10.0.0.2")
DNS = Headers(17, A, B, 40000, 53)


def seen(at_us: int, place: str, dev: str, headers: Headers = DNS, out: bool = False) -> Seen:
    return Seen(CLOCKS.wall_ns(at_us * US), place, dev, out, 74, headers)


def event(at_us: int, point: TracePoint, skb: int, dev: str) -> Event:
    return Event(at_us * US, point, skb, 77, dev, 74 if point == TX else 60)


def freed(at_us: int, skb: int, reason: str = "NETFILTER_DROP") -> Event:
    return Event(at_us * US, "skb:kfree_skb", skb, 77, protocol=0x0800, reason=reason)


def joined(frames: list[Seen], events: list[Event], *shared: str, whole: bool = True) -> list[Drop]:
    joiner = Joiner(shared)
    joiner.take(frames)
    return joiner.drops(events, CLOCKS, whole=whole)


def test_a_drop_is_where_its_packet_was_last() -> None:
    frames = [seen(9, "p", "eth0", out=True), seen(10, "n", "veth1"), seen(12, "n", "br0")]
    events = [event(10, TX, 1, "eth0"), event(11, RX, 1, "veth1"), event(12, RX, 1, "br0"), freed(13, 1)]
    (drop,) = joined(frames, events)
    assert (drop.reason, drop.place, drop.dev, drop.out, drop.headers) == (
        *("NETFILTER_DROP", "n", "br0", False),
        DNS,
    )


def test_of_two_flows_neither_is_told() -> None:
    other = msgspec.structs.replace(DNS, dst=pack_ip("10.0.0.3"))
    (drop,) = joined(
        [seen(10, "n", "br0"), seen(11, "n", "br0", other)], [event(12, RX, 1, "br0"), freed(13, 1)]
    )
    assert (drop.place, drop.headers) == ("", None)
    (drop,) = joined([seen(10, "n", "eth0"), seen(11, "m", "eth0")], [event(12, RX, 1, "eth0"), freed(13, 1)])
    assert drop.place == ""


def test_clients_ports_may_stay_open() -> None:
    """Two queries at once are of one flow but for the client's port, which isn't told."""
    other = msgspec.structs.replace(DNS, sport=40001)
    (drop,) = joined(
        [seen(10, "n", "br0"), seen(11, "n", "br0", other)], [event(12, RX, 1, "br0"), freed(13, 1)]
    )
    assert (drop.place, drop.headers) == ("n", msgspec.structs.replace(DNS, sport=0))


def test_a_name_that_is_not_here_alone() -> None:
    """Its frames may be elsewhere; another crossing of the packet tells, if it shows the same flow."""
    frames = [seen(10, "n", "veth1"), seen(12, "n", "br0")]
    events = [event(11, RX, 1, "veth1"), event(12, RX, 1, "br0"), freed(13, 1)]
    assert joined(frames, events, "br0")[0].place == "n"
    assert joined(frames, events, "br0", "veth1")[0].place == ""
    moved = [seen(10, "n", "veth1", msgspec.structs.replace(DNS, dport=80)), frames[1]]
    assert joined(moved, events, "br0")[0].place == ""


def test_a_name_that_the_packet_crosses_twice() -> None:
    """The node's own eth0 and the pod's: the pod's frame came after the veth had sent it, the node's long before."""
    frames = [seen(10, "n", "eth0"), seen(40, "n", "veth1", out=True), seen(42, "p", "eth0")]
    events = [event(11, RX, 1, "eth0"), event(41, TX, 1, "veth1"), event(43, RX, 1, "eth0"), freed(50, 1)]
    assert joined(frames, events, "eth0")[0].place == "p"
    close = [seen(38, "n", "eth0"), *frames[1:]]
    assert joined(close, events, "eth0")[0].place == ""


def test_a_loss_leaves_all_open() -> None:
    (drop,) = joined([seen(10, "n", "br0")], [event(11, RX, 1, "br0"), freed(13, 1)], whole=False)
    assert (drop.place, drop.never) == ("", False)


def test_an_address_is_over_with_its_free() -> None:
    consumed = Event(12 * US, "skb:consume_skb", 1, 77)
    (drop,) = joined([seen(10, "n", "br0")], [event(11, RX, 1, "br0"), consumed, freed(90, 1)])
    assert (drop.never, drop.place) == (True, "")


def test_copies_for_packet_sockets_are_no_drops() -> None:
    joiner = Joiner()
    assert joiner.drops([freed(1, 1, "PACKET_SOCK_ERROR")], CLOCKS, whole=True) == []
    assert joiner.copies == 1


def test_groups_are_bounded() -> None:
    groups = Groups()
    for number in range(MOST_GROUPS + 5):
        groups.add(Drop(number, "NO_SOCKET", "n", "eth0", headers=Headers(17, A, B, 40000, 1 + number)))
    for sport in range(2):
        groups.add(Drop(9, "NO_SOCKET", "n", "eth0", headers=Headers(17, A, B, 50000 + sport, 1)))
    groups.add(Drop(9, "NOT_SPECIFIED", "n", "eth0"))
    found = groups.all()
    assert (len(found), found[0].count, groups.others) == (MOST_GROUPS, 3, 6)


def test_headers() -> None:
    def ip4(proto: int, body: bytes, fragment: int = 0) -> bytes:
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, fragment, 64, proto, 0, A, B) + body

    tcp = struct.pack("!HHIIBB", 40000, 80, 1, 0, 0x50, 0x12) + bytes(6)
    assert parse_headers(ip4(6, tcp)) == Headers(6, A, B, 40000, 80, 0x12)
    assert parse_headers(ip4(6, tcp, 3)) == Headers(6, A, B)
    assert parse_headers(ip4(1, bytes((8, 0, 0, 0, 0, 7, 0, 1)))) == Headers(1, A, B, 7, 8 << 8)
    assert parse_headers(ip4(1, bytes((3, 1, 0, 0, 0, 7, 0, 1)))) == Headers(1, A, B, 0, 3 << 8 | 1)
    six = bytes((0x60, 0, 0, 0, 0, 8, 44, 64)) + bytes(15) + b"\1" + bytes(15) + b"\2"
    udp = struct.pack("!HHHH", 53, 40000, 8, 0)
    first, later = bytes((17, 0, 0, 1, 0, 0, 0, 1)), bytes((17, 0, 0, 8, 0, 0, 0, 1))
    ends = bytes(15) + b"\1", bytes(15) + b"\2"
    assert parse_headers(six + first + udp) == Headers(17, *ends, 53, 40000)
    assert parse_headers(six + later + udp) == Headers(17, *ends)
    assert parse_headers(b"\x45") is parse_headers(bytes(40)) is None
    answer = parse_headers(six + first + udp)
    assert answer is not None
    assert answer.answers

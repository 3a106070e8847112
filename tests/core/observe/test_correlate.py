"""Packet addresses: used again, cloned, and of several packets at once."""

from __future__ import annotations

from itertools import count

import msgspec

from netviz.core.observe.correlate import AMBIGUOUS, CERTAIN, WINDOW_NS, correlate
from netviz.core.observe.frame import Frame
from netviz.core.observe.sighting import Clocks, Event, Sighting, TracePoint

CLOCKS = Clocks(1_000_000_000, 2_000)
SENDING = (77, 0, 50_000)
TX: TracePoint = "net:net_dev_start_xmit"
RX: TracePoint = "net:netif_receive_skb"
US = 1000


def seen(at_us: int, place: str, dev: str, out: bool, kind: str = "forward") -> Sighting:
    frame = Frame(kind, 1, "10.0.0.1", "10.0.0.2", 17, 4000, 53, 64, 60)
    return Sighting(CLOCKS.wall_ns(at_us * US), place, dev, out, False, frame, 74)


def event(at_us: int, point: TracePoint, skb: int, dev: str) -> Event:
    return Event(at_us * US, point, skb, 77, dev, 74 if point == TX else 60)


def freed(at_us: int, skb: int, reason: str = "NETFILTER_DROP", pid: int = 77) -> Event:
    return Event(at_us * US, "skb:kfree_skb", skb, pid, protocol=0x0800, reason=reason)


PATH = (seen(10, "a", "eth0", True), seen(14, "n", "veth1", False), seen(18, "n", "veth2", True))
EVENTS = [event(11, TX, 1, "eth0"), event(15, RX, 1, "veth1"), event(19, TX, 1, "veth2")]


def test_a_drop_after_the_last_crossing_is_certain() -> None:
    found = correlate(PATH, [*EVENTS, freed(20, 1)], CLOCKS, lost=False)
    assert {position: one.join for position, one in found.crossed.items()} == dict.fromkeys(range(3), CERTAIN)
    (drop,) = found.freed
    assert (drop.after, drop.join) == (PATH[2], CERTAIN)


def test_an_address_is_over_with_its_free() -> None:
    """What is freed at the same address later is another packet."""
    consumed = Event(20 * US, "skb:consume_skb", 1, 77)
    found = correlate(PATH, [*EVENTS, consumed, freed(90, 1)], CLOCKS, lost=False, sending=SENDING)
    assert found.freed == ()


def test_an_address_that_another_packet_has_since() -> None:
    """A free without an event: another device's crossing at the address takes it away from the probe."""
    other = event(25, TX, 1, "docker0")
    found = correlate(PATH, [*EVENTS, other, freed(26, 1, pid=5)], CLOCKS, lost=False, sending=SENDING)
    assert found.freed == ()


def test_a_drop_before_the_packet_went_on_is_ambiguous() -> None:
    """The packet was seen afterwards, so what was freed is a clone, or another packet at its address."""
    later = (*PATH, seen(30, "b", "eth0", False))
    found = correlate(later, [*EVENTS, freed(20, 1), event(31, RX, 2, "eth0")], CLOCKS, lost=False)
    assert [drop.join for drop in found.freed] == [AMBIGUOUS]
    assert found.crossed[3].join == CERTAIN  # the clone has another address and is found where it was seen


def test_another_packet_of_the_same_length_and_device_name() -> None:
    """Every pod's device is eth0: the packet's address before and after tells them apart, or nothing does."""
    foreign = event(12, TX, 9, "eth0")
    found = correlate(PATH, [*EVENTS, foreign], CLOCKS, lost=False)
    assert (found.crossed[0].event.skb, found.crossed[0].join) == (1, CERTAIN)
    alone = correlate(PATH[:1], [EVENTS[0], foreign], CLOCKS, lost=False)
    assert (alone.crossed[0].join, len(alone.crossed[0].others)) == (AMBIGUOUS, 1)
    (drop,) = correlate(PATH[:1], [EVENTS[0], foreign, freed(13, 1)], CLOCKS, lost=False).freed
    assert drop.join == AMBIGUOUS


def test_copies_that_all_end_alike() -> None:
    """A flooded frame reaches two places at devices of one name: whichever event is whose, both were freed for one reason."""
    copies = (PATH[0], seen(14, "b", "eth0", False), seen(14, "c", "eth0", False))
    events = [EVENTS[0], event(15, RX, 2, "eth0"), event(16, RX, 3, "eth0")]
    ended = [freed(17, 2, "OTHERHOST"), freed(18, 3, "OTHERHOST")]
    found = correlate(copies, [*events, *ended], CLOCKS, lost=False)
    assert [(drop.after, drop.join) for drop in found.freed] == [(copies[1], CERTAIN), (copies[2], CERTAIN)]
    other = correlate(copies, [*events, ended[0], freed(18, 3)], CLOCKS, lost=False)
    assert {drop.join for drop in other.freed} == {AMBIGUOUS}


def test_the_answer_follows_at_devices_of_the_same_names() -> None:
    """Two frames, two events, same name and length: the answer can't be the earlier event, so each has its own."""
    both = (seen(10, "a", "eth0", True), seen(40, "b", "eth0", True, "reply"))
    found = correlate(both, [event(11, TX, 1, "eth0"), event(41, TX, 1, "eth0")], CLOCKS, lost=False)
    assert [(one.event.at_ns, one.join) for one in found.crossed.values()] == [
        (41 * US, CERTAIN),
        (11 * US, CERTAIN),
    ]


def test_clocks_that_are_off_too_far_tell_nothing_apart() -> None:
    both = (seen(10, "a", "eth0", True), seen(40, "b", "eth0", True, "reply"))
    wide = msgspec.structs.replace(CLOCKS, uncertainty_ns=100 * US)
    found = correlate(both, [event(11, TX, 1, "eth0"), event(41, TX, 2, "eth0")], wide, lost=False)
    assert {one.join for one in found.crossed.values()} == {AMBIGUOUS}


def test_nothing_is_certain_after_a_loss() -> None:
    found = correlate(PATH, [*EVENTS, freed(20, 1)], CLOCKS, lost=True)
    assert {one.join for one in found.crossed.values()} == {AMBIGUOUS}
    assert [drop.join for drop in found.freed] == [AMBIGUOUS]


def test_what_is_freed_while_sending_may_be_the_probe() -> None:
    """No device had it, so the address is unknown: only the sender's thread at that time, and never certain."""
    found = correlate((), [freed(20, 5), freed(20, 6, pid=78), freed(60, 7)], CLOCKS, False, SENDING)
    assert [(drop.event.skb, drop.after, drop.join) for drop in found.freed] == [(5, None, AMBIGUOUS)]


def test_an_event_too_late_or_of_another_length_is_none() -> None:
    late = WINDOW_NS // US + 20
    others = [event(late, TX, 1, "eth0"), event(5, TX, 2, "eth0")]
    longer = msgspec.structs.replace(event(11, TX, 3, "eth0"), length=75)
    assert correlate(PATH[:1], [*others, longer], CLOCKS, lost=False).crossed == {}


def test_clocks_are_bounded_by_their_readings() -> None:
    """The wall clock was read between the two of the monotonic; one that was set widens the bounds."""
    clocks = Clocks.of([(100, 1_100, 140), (200, 1_210, 220)])
    assert (clocks.offset_ns - clocks.uncertainty_ns, clocks.offset_ns + clocks.uncertainty_ns) == (
        960,
        1_010,
    )
    numbers = count(100, 10)
    stepped = Clocks.of([(n, n + offset, n + 2) for n, offset in zip(numbers, (1_000, 9_000), strict=False)])
    assert stepped.uncertainty_ns >= 4_000

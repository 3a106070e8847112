"""Lookups of routes belong to the packet that the processor had in hand, or to the thread that sends; what is neither is nobody's."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import Nexthop, Route, Rule
from netviz.core.observe.correlate import correlate, relevant
from netviz.core.observe.frame import Frame
from netviz.core.observe.lookups import in_hand
from netviz.core.observe.routed import routes
from netviz.core.observe.sighting import Clocks, Event, Lookup, Sighting
from netviz.core.sim.packet import IPPROTO_TCP, Packet
from netviz.core.sim.steps import RouteLookup
from netviz.core.sim.trace import Disposition, Hop, Path, Place, Step

MINE, OTHERS = 0xA, 0xB
SENDER, OTHER = 7, 8
CLOCKS = Clocks(0, 0)
SRC, DST = "10.1.1.11", "10.1.2.11"


def crossing(at: int, skb: int, dev: str, out: bool = False, cpu: int = 0, pid: int = SENDER) -> Event:
    point = "net:net_dev_start_xmit" if out else "net:netif_receive_skb"
    return Event(at * 1000, point, skb, pid, dev, 74 if out else 60, cpu=cpu)


def lookup(at: int, iif: int = 3, cpu: int = 0, pid: int = SENDER, **found: object) -> Event:
    said = {"table": 254, "src": SRC, "dst": DST, "dev": "eth0"} | found
    what = msgspec.convert(said | {"iif": iif}, Lookup)
    return Event(at * 1000, "fib:fib_table_lookup", 0, pid, cpu=cpu, lookup=what)


def seen(at: int, place: str, dev: str, out: bool = False) -> Sighting:
    frame = Frame("forward", -1, SRC, DST, IPPROTO_TCP, 1000, 80, seq=7)
    return Sighting(at * 1000, place, dev, out, False, frame, 74)


def test_of_the_packet_in_hand() -> None:
    """Between two crossings of a processor; another processor's, another thread's and what follows the free aren't."""
    events = [
        crossing(10, MINE, "cni0"),
        lookup(11),
        lookup(11, cpu=1),
        lookup(12, pid=OTHER),
        crossing(13, MINE, "eth0", out=True),
        crossing(14, OTHERS, "eth1"),
        lookup(15),
        Event(16_000, "skb:kfree_skb", OTHERS, SENDER, cpu=0),
        lookup(17),
    ]
    placed = in_hand(events)
    assert [(one.skb, one.then) for one in placed if one.lookup is not None] == [
        (MINE, MINE),
        (0, 0),
        (0, 0),
        (OTHERS, 0),
        (0, 0),
    ]
    sightings = [seen(10, "n", "cni0"), seen(13, "n", "eth0", out=True)]
    kept = relevant(sightings, placed, CLOCKS)
    assert [one.at_ns // 1000 for one in kept] == [10, 11, 13]
    found = correlate(sightings, kept, CLOCKS, lost=False).lookups
    assert [one.at_ns // 1000 for one in found.after[0]] == [11]
    assert [one.at_ns // 1000 for one in found.before[1]] == [11]
    assert not correlate(sightings, kept, CLOCKS, lost=True).lookups.after


def test_of_the_thread_that_sends() -> None:
    """Until its packet, or the request for a neighbour, crosses a device: afterwards it works for others."""
    sending = (SENDER, 10_000, 20_000)
    events = [
        lookup(9, iif=1),
        lookup(11, iif=1),
        lookup(11, iif=1, pid=OTHER),
        crossing(12, OTHERS, "eth0", out=True),
        lookup(13, iif=1),
        crossing(15, MINE, "eth0", out=True),
        lookup(21, iif=1),
    ]
    sightings = [seen(15, "p", "eth0", out=True)]
    kept = relevant(sightings, in_hand(events), CLOCKS, sending)
    assert [one.at_ns // 1000 for one in correlate(sightings, kept, CLOCKS, False, sending).lookups.sent] == [
        11
    ]


NS = NetnsKey("n", 4, 1, 0)
PACKET = Packet(pack_ip(SRC), pack_ip(DST), IPPROTO_TCP, 1000, 80)
VIA = Nexthop(2, pack_ip("172.30.0.12"))


def path_of(*asked: RouteLookup) -> Path:
    steps = tuple(Step(n, LinkKey(NS, 3), "cni0", PACKET, None, what) for n, what in enumerate(asked, 1))
    return Path(Disposition.DELIVERED, "", (Hop(Place(NS, str(NS)), steps),))


def to_gateway(table: int = 254) -> RouteLookup:
    route = Route(table, pack_ip("10.1.2.0"), 24, nexthops=(VIA,))
    return RouteLookup(
        "via", asked="in", rule=Rule(2, 32766), route=route, devs=("eth0",), nexthop=VIA, oif="eth0"
    )


def direct() -> RouteLookup:
    """Whose gateway the tracepoint leaves as it stood in its buffer."""
    route = Route(254, pack_ip("10.1.2.0"), 24, nexthops=(Nexthop(2),))
    return RouteLookup("direct", asked="in", route=route, devs=("eth0",), nexthop=Nexthop(2), oif="eth0")


NO_ROUTE = RouteLookup("reject", "no route", asked="in")


@pytest.mark.parametrize(
    ("asked", "found", "why"),
    [
        (to_gateway(), [lookup(1, gateway="172.30.0.12")], ""),
        (to_gateway(), [lookup(1, table=255, error=11), lookup(2, gateway="172.30.0.12")], ""),
        (
            to_gateway(),
            [lookup(1, gateway="172.30.0.13")],
            "the lookup found another next hop than 172.30.0.12",
        ),
        (to_gateway(), [lookup(1, dev="eth1")], "the lookup found dev eth1"),
        (direct(), [lookup(1, gateway="192.0.2.9")], ""),
        (to_gateway(100), [lookup(1, gateway="172.30.0.12")], "table 254 answered: dev eth0"),
        (to_gateway(), [lookup(1, error=11)], "the lookup in table 254 ended with error 11"),
        (NO_ROUTE, [lookup(1, error=11)], ""),
        (NO_ROUTE, [lookup(1, gateway="172.30.0.12")], "the lookup found dev eth0"),
        (to_gateway(), [lookup(1, iif=1)], None),
        (to_gateway(), [lookup(1, src=DST, dst=SRC)], None),
        (to_gateway(), [], None),
    ],
)
def test_beside_the_predicted_route(asked: RouteLookup, found: list[Event], why: str | None) -> None:
    """The last table that was searched decides; the reverse path's lookup and the host's own are others."""
    laid = routes(path_of(asked), found, lambda _: ())
    assert {seq: one.why for seq, one in laid.items()} == ({} if why is None else {1: why})


def test_of_two_steps_that_ask_alike_none_is_contradicted() -> None:
    other = msgspec.structs.replace(to_gateway(), again=True)
    found = [lookup(1, gateway="172.30.0.13"), lookup(2, gateway="172.30.0.12")]
    assert {
        seq: one.why for seq, one in routes(path_of(to_gateway(), other), found, lambda _: ()).items()
    } == {
        1: "",
        2: "",
    }
    assert not routes(path_of(to_gateway(), other), found[:1], lambda _: ())

"""What links carry: known from two readings that moved, or from none for long enough; else not known."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from django.test import Client

from netviz.core.model.ids import NetnsKey
from netviz.core.model.link import LinkCounters
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.state.node import SectionStatus
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import CollectorReport
from netviz.topology.rates import LinkRate, Rate, Rates
from tests.web.states import change, pod_network, show

ROOT = NetnsKey("a", 4, 1)
EVERY_S = 10.0


class Clock:
    """A time that is told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(store: MemoryStore, clock: Clock) -> Rates:
    """A node with counters of three links, whose collector reads them every 10 s."""
    show(store, pod_network())
    read(store, *(LinkCounters(index, rx_dropped=7) for index in (1, 2, 3)))
    change(store, "a", NodeDelta(status={"counters": SectionStatus(1.0, max_age_s=EVERY_S)}))
    return Rates(store, clock)


def read(store: MemoryStore, *counters: LinkCounters) -> None:
    """A collector tells of the counters that moved."""
    change(store, "a", NodeDelta(netns=(NetnsDelta(ROOT, counters=Change(put=counters)),)))


def eth0(rates: Rates) -> LinkRate:
    return rates.of(["a"])["a"].links["a:4:1:0:2"]


def test_two_readings_give_a_rate_and_one_gives_none(store: MemoryStore, rates: Rates, clock: Clock) -> None:
    assert eth0(rates) == LinkRate(None, 7, 0), "the first reading is of an unknown time"
    clock.now_s += 4
    read(store, LinkCounters(2, rx_bytes=5_000, rx_dropped=7))
    assert eth0(rates).rate is None
    clock.now_s += 10
    read(store, LinkCounters(2, rx_bytes=25_000, tx_bytes=500, tx_packets=5, rx_dropped=17, tx_errors=20))
    assert eth0(rates) == LinkRate(Rate(2_000, 50, 0, 0.5, 1, 2), 17, 20)


def test_a_link_at_rest_is_known_to_carry_nothing_only_after_its_next_reading_is_due(
    store: MemoryStore, rates: Rates, clock: Clock
) -> None:
    for seconds, expected in ((0.0, None), (20.0, None), (6.0, Rate())):
        clock.now_s += seconds
        assert eth0(rates).rate == expected
    # A burst after a rest was counted since the last reading, and not since the last burst.
    read(store, LinkCounters(2, rx_bytes=1_000))
    clock.now_s += 50
    rates.of(["a"])
    read(store, LinkCounters(2, rx_bytes=21_000))
    assert eth0(rates).rate == Rate(2_000)
    clock.now_s += 26
    assert eth0(rates).rate == Rate()


def test_nothing_is_known_of_a_node_whose_collector_is_away_or_whose_counters_begin_anew(
    store: MemoryStore, rates: Rates, clock: Clock
) -> None:
    eth0(rates)
    for value in (5_000, 9_000):
        clock.now_s += 10
        read(store, LinkCounters(2, rx_bytes=value))
    assert eth0(rates).rate == Rate(400)
    store.set_connected("a", False, 1.0)
    assert eth0(rates).rate is None
    store.set_connected("a", True, 2.0)
    clock.now_s += 10
    read(store, LinkCounters(2, rx_bytes=10))
    assert eth0(rates).rate is None
    assert rates.of(["nobody"]) == {}


def test_a_collectors_report_ends_nothing_and_a_new_snapshot_all(
    store: MemoryStore, rates: Rates, clock: Clock
) -> None:
    eth0(rates)
    for value in (5_000, 9_000):
        clock.now_s += 10
        store.report("a", CollectorReport("0.1.0", AgentStatus()), clock.now_s)
        read(store, LinkCounters(2, rx_bytes=value))
    store.set_connected("a", True, 3.0)
    assert eth0(rates).rate == Rate(400)
    state = store.state("a")
    assert state is not None
    show(store, msgspec.structs.replace(state, kernel="6.19"))
    read(store, LinkCounters(2, rx_bytes=90_000))
    assert eth0(rates).rate is None, "when the snapshot was read isn't known"


def test_what_nobody_asks_about_costs_nothing(store: MemoryStore, rates: Rates, clock: Clock) -> None:
    rates.of(["a"])
    assert set(rates._nodes) == {"a"}
    clock.now_s += 61
    read(store, LinkCounters(2, rx_bytes=1))
    assert rates._nodes == {}


@pytest.mark.django_db
def test_the_api_answers_for_the_nodes_that_are_named(
    store: MemoryStore, token: Callable[[str], str]
) -> None:
    show(store, pod_network())
    read(store, LinkCounters(2, tx_dropped=3))
    client = Client(headers={"Authorization": f"Bearer {token('viewer')}"})
    body = client.get("/api/rates?nodes=a,b").json()
    expected = {"rate": None, "dropped": 3, "errors": 0}
    assert body == {"nodes": {"a": {"every_s": 0.0, "links": {"a:4:1:0:2": expected}}}}
    for query in ("", "?nodes=", "?nodes=" + ",".join(f"n{number}" for number in range(201))):
        assert client.get(f"/api/rates{query}").status_code == 400

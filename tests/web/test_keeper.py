"""The keeper goes on whatever a collector says of itself: its numbers cannot stop anybody's status."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from netviz.core.wire.events import StatusReceived
from netviz.core.wire.messages import AgentStatus
from netviz.ingest import keeper as keeper_module
from netviz.ingest.keeper import MAX_REST_S, Keeper, rest_s
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.service import MAX_COUNT, MAX_MEASURE, CollectorService, bounded
from netviz.inventory.models import Collector
from netviz.inventory.service import enrol


def test_a_collector_s_numbers_are_kept_within_bounds() -> None:
    said = AgentStatus(1 << 63, float("inf"), float("nan"), -5, 3, (1 << 64) - 1)
    assert bounded(said) == AgentStatus(MAX_COUNT, MAX_MEASURE, 0.0, 0, 3, MAX_COUNT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("bad", [{"lost_events": 1 << 63}, {"lag_s": float("nan")}])
def test_one_that_cannot_be_written_takes_no_other_with_it(
    bad: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = enrol("n1")[0], enrol("n2")[0]
    keeper = Keeper()
    keeper.note(one.pk, **bad)
    keeper.note(other.pk, **dict.fromkeys(bad, 7))
    keeper._write()
    assert getattr(Collector.objects.get(pk=other.pk), *bad) == 7
    assert any(f"cannot write the status of collector {one.pk}" in line for line in caplog.messages)


@pytest.mark.django_db(transaction=True)
def test_the_thread_survives_what_nobody_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.stack import wait_until

    monkeypatch.setattr(keeper_module, "LOOK_EVERY_S", 0.01)
    keeper, looks = Keeper(), []

    def look() -> None:
        looks.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(keeper, "_look", look)
    keeper.start()
    try:
        wait_until(lambda: len(looks) >= 3, 300, "the keeper looks again after a failure")
    finally:
        keeper.stop()


def test_one_slow_write_does_not_put_off_the_next_for_minutes() -> None:
    assert rest_s(0.02) == pytest.approx(2.0)
    assert rest_s(3.0) == MAX_REST_S


@pytest.mark.parametrize(("ahead_s", "within"), [(40.0, (39, 41)), (-40.0, (-41, -39))])
def test_how_far_a_nodes_clock_is_ahead_is_kept(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, ahead_s: float, within: tuple[float, float]
) -> None:
    noted: list[dict[str, float | None]] = []
    monkeypatch.setattr(keeper_module.keeper, "note", lambda _pk, **fields: noted.append(fields))
    session: Any = SimpleNamespace(node="n1", hello=None)
    service = CollectorService(session, 1, lambda _seq: None)
    for at_ns in (int((time.time() + ahead_s) * 1e9), 0):
        service._report(StatusReceived(AgentStatus(at_ns=at_ns)))
    told, old = noted
    assert told["clock_s"] is not None
    assert within[0] < told["clock_s"] < within[1]
    assert old["clock_s"] is None, "a collector that doesn't say"

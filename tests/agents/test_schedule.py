"""When a section is read again."""

from __future__ import annotations

import pytest

from agents.schedule import (
    DIRTY_COST_FACTOR,
    DIRTY_DELAY_S,
    SETTLE_COST_FACTOR,
    SETTLE_DELAY_S,
    Schedule,
)


def test_marks_gather_and_come_due_once() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.mark("a", "routes", 100.0)
    schedule.mark("a", "routes", 100.005)
    assert schedule.pop(100.0) is None
    assert schedule.next_due() == pytest.approx(100 + DIRTY_DELAY_S)
    assert schedule.pop(100.02) == ("a", ("routes",))
    assert schedule.pop(200.0) is None
    assert schedule.next_due() is None


def test_the_longest_waiting_namespace_comes_first_with_all_that_is_due() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.mark("b", "links", 1.0)
    schedule.mark("a", "links", 0.5)
    schedule.mark("b", "routes", 0.2)
    schedule.mark("b", "rules", 5.0)
    assert schedule.pop(2.0) == ("b", ("links", "routes"))
    assert schedule.pop(2.0) == ("a", ("links",))
    assert schedule.pop(2.0) is None


def test_a_dear_section_is_left_alone_for_ten_times_its_cost() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.done("a", ("routes",), 10.5, 0.5)
    assert schedule.mark("a", "routes", 10.5) == pytest.approx(10.5 + 0.5 * DIRTY_COST_FACTOR)
    assert schedule.mark("a", "links", 10.5) == pytest.approx(10.5 + DIRTY_DELAY_S)


def test_a_check_waits_longer_and_never_delays_a_reading() -> None:
    schedule: Schedule[str] = Schedule()
    assert schedule.mark("a", "links", 0.0, settle=True) == pytest.approx(SETTLE_DELAY_S)
    assert schedule.mark("a", "links", 0.0) == pytest.approx(DIRTY_DELAY_S)
    assert schedule.mark("a", "links", 0.001, settle=True) == pytest.approx(DIRTY_DELAY_S)
    schedule.done("b", ("links",), 0.1, 0.1)
    assert schedule.mark("b", "links", 0.1, settle=True) == pytest.approx(0.1 + 0.1 * SETTLE_COST_FACTOR)


def test_at_once_is_at_once_and_a_forgotten_namespace_is_never_due() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.done("a", ("links", "addrs"), 100.0, 100.0)
    assert schedule.cost("a") == pytest.approx(100.0)
    assert schedule.mark("a", "links", 100.0, at_once=True) == 100.0
    schedule.forget("a")
    assert schedule.pop(1000.0) is None
    assert schedule.cost("a") == 0

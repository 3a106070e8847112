"""Looks at a node: how long they last, how many there may be, and how often they are told."""

from __future__ import annotations

import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.wire.messages import MAX_WATCHED
from netviz.ingest import looks
from netviz.ingest.looks import LOOK_S, MOST_NAMESPACES, MOST_NODES, Looks


def key(ino: int) -> NetnsKey:
    return NetnsKey("n1", 4, ino)


def test_a_look_ends_by_itself_unless_somebody_looks_again() -> None:
    held = Looks()
    held.take(key(1), 100.0)
    held.take(None, 110.0)
    assert [one.netns for one in held.watched(100.0 + LOOK_S - 1)] == [key(1), None]
    held.take(None, 150.0)
    assert [one.netns for one in held.watched(100.0 + LOOK_S)] == [None]
    assert held.watched(150.0 + LOOK_S) == ()


def test_the_oldest_of_very_many_is_given_up() -> None:
    held = Looks()
    for ino in range(MOST_NAMESPACES + 1):
        held.take(key(ino), 100.0)
    kept = [one.netns for one in held.watched(100.0)]
    assert kept == [key(ino) for ino in range(1, MOST_NAMESPACES + 1)]
    assert len(kept) <= MAX_WATCHED


def test_who_traced_through_rules_has_only_their_counters_read() -> None:
    held = Looks()
    held.take(key(1), 100.0, deciding=True)
    held.take(key(1), 100.0)
    rules, closely = held.watched(100.0)
    assert (rules.netns, rules.sections, rules.every_s) == (key(1), ("rule_counters",), 5.0)
    assert "rule_counters" in closely.sections


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(looks, "_told", looks._Told())
    monkeypatch.setattr(looks, "publish", lambda group, message: sent.append(f"{group} {message['netns']}"))
    return sent


def test_who_looks_on_is_not_told_of_at_each_look(told: list[str]) -> None:
    for _ in range(3):
        looks.look_into(key(1))
        looks.keep_in_sight({"n1"})
        looks.look_at_rules([key(1)])
    group = looks.group_of("n1")
    assert told == [f"{group} {key(1)}", f"{group} ", f"{group} {key(1)}"]


def test_with_very_many_nodes_in_sight_nobody_looks_at_one_in_particular(told: list[str]) -> None:
    looks.keep_in_sight([f"n{number}" for number in range(MOST_NODES + 1)])
    assert told == []

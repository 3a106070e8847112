"""What a server process shows of problems: read again when something changed, and never waited for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone

from netviz.problems import board as boards
from netviz.problems import keeping, service
from netviz.problems.board import NOBODY, Reader
from netviz.problems.ledger import Ledger, Sight
from netviz.problems.models import Checking, Problem
from tests.web.test_problem_keeping import found, lead
from tests.web.test_problem_ledger import problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A board with two problems, read by hand."""
    keeping.write(
        lead(),
        found(Ledger(), problem("node1"), problem("node2", severity="warning", harm="at risk")),
        judged_at=timezone.now(),
    )
    made = Reader()
    made.look()
    yield made
    assert made.board != NOBODY


def counts(reader: Reader) -> dict[str, int]:
    counted: dict[str, int] = reader.board.checking["counts"]
    return counted


def test_it_is_read_again_when_something_changed(reader: Reader, django_assert_num_queries: Any) -> None:
    assert [one["where"]["node"] for one in reader.board.problems.values()] == ["node1", "node2"]
    assert counts(reader) == {"open": 2, "errors": 1, "breaking": 1, "aside": 0, "left_off": 0}
    before, heard = reader.board, []
    leave = reader.listen(lambda: heard.append(1))
    with django_assert_num_queries(1):
        reader.look()
    assert (reader.board, heard) == (before, [])
    keeping.write(
        lead(), Ledger(keeping.load()).fold([problem("node1")], Sight(), 2000.0), judged_at=timezone.now()
    )
    reader.look()
    assert heard == [1]
    assert [one["gone"] is None for one in reader.board.problems.values()] == [True, False]
    assert counts(reader)["open"] == 1
    leave()


def test_what_somebody_decides_is_shown(reader: Reader, django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("op")
    row = Problem.objects.get(node="node1")
    service.act(row, service.ProblemAction("mute", until=timezone.now() + timedelta(hours=1)), user)
    reader.look()
    assert counts(reader) == {"open": 1, "errors": 0, "breaking": 0, "aside": 1, "left_off": 0}
    assert [one["where"]["node"] for one in reader.board.now()] == ["node2"]


def test_a_mute_that_ends_is_noticed(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    until = timezone.now() + timedelta(minutes=5)
    Problem.objects.filter(node="node1").update(muted_until=until)
    Checking.objects.update(version=99)
    reader.look()
    assert counts(reader)["aside"] == 1
    monkeypatch.setattr(boards.timezone, "now", lambda: until)
    reader.look()
    assert counts(reader)["aside"] == 0


def test_a_process_that_judges_no_more_is_noticed(reader: Reader) -> None:
    assert reader.board.checking["state"] == "current"
    Checking.objects.update(lease_until=Now() - timedelta(seconds=1))
    reader.look()
    assert reader.board.checking["state"] == "stopped"
    assert reader.board.checking["since"] is not None
    assert len(reader.board.problems) == 2, "what was found last is still shown"


def test_a_database_that_is_away_says_so(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(boards, "checking_row", away)
    reader.look()
    assert (reader.board.checking["state"], reader.board.checking["error"]) == ("stopped", boards.AWAY_WORDS)


def test_more_than_anybody_reads_is_counted(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> None:
    monkeypatch.setattr(boards, "MOST_SHOWN", 1)
    Checking.objects.update(version=99)
    reader.look()
    assert [one["where"]["node"] for one in reader.board.problems.values()] == ["node1"], "the worst is shown"
    assert counts(reader) == {"open": 2, "errors": 1, "breaking": 1, "aside": 0, "left_off": 1}

"""A small sample of `make fuzz`, another one with each day's seed would be a flaky test: the seed is fixed."""

from __future__ import annotations

import pytest

from tests.fuzz import frames, requests, states
from tests.fuzz.mutate import any_value, damaged, mutate
from tests.fuzz.report import Report

SEED = 20


def test_frames() -> None:
    assert frames.run(3000, SEED).close()


@pytest.mark.django_db
def test_states() -> None:
    assert states.run(60, SEED).close()


@pytest.mark.django_db
def test_requests() -> None:
    assert requests.run(250, SEED).close()


def test_a_failure_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The judge itself: an exception fails a run, is shown once a kind with its first input, and is counted."""
    report = Report("x", 9, 1)
    for number in (3, 4):
        try:
            raise KeyError("lost")
        except KeyError as err:
            report.fail(number, err)
    assert not report.close()
    assert "2x, first at input 3: KeyError" in capsys.readouterr().err


def test_the_same_seed_makes_the_same_damage() -> None:
    from random import Random

    def made() -> list[object]:
        rng = Random(5)
        tree = {"a": [1, b"x", "t", {"b": None}], "c": 2.5}
        return [repr(mutate(rng, tree, 5)), damaged(rng, b"abcdef"), repr(any_value(rng))]

    assert made() == made()

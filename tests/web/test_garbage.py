"""What is held for long isn't searched again and again, and garbage in circles is found all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from netviz import garbage as module
from netviz.garbage import Garbage


class Circle:
    """Garbage that only a search finds."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    made = Garbage()
    made.start()
    yield made
    made.stop()
    assert gc.get_freeze_count() == 0


def test_what_a_long_search_leaves_is_set_aside(garbage: Garbage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_freeze_count()
    held = [[number] for number in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() == before, "that search wasn't long"
    monkeypatch.setattr(module, "LONG_S", 0.0)
    gc.collect()
    assert gc.get_freeze_count() >= before + len(held)


def test_circles_among_it_are_found_when_all_is_taken_back(
    garbage: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG_S", 0.0)
    circle = Circle()
    seen = weakref.ref(circle)
    gc.collect()
    del circle
    gc.collect()
    assert seen() is not None
    garbage._all_at_s = 0.0
    gc.collect()
    assert seen() is None

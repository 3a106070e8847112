"""What somebody watches is read at once and at its interval; what nobody watches costs no timer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from agents import sampling
from agents.sampling import Sampling
from netviz.core.model.ids import NetnsKey
from netviz.core.wire.messages import Watched

KEY = NetnsKey("n1", 4, 1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MIN_EVERY_S", 0.002)


async def test_it_is_read_at_once_then_again_and_again_until_nobody_watches(short: None) -> None:
    reads: Counter[object] = Counter()
    one = Sampling(lambda key, section: reads.update([(key, section)]))
    one.watch([Watched(("counters",), 0.002), Watched(("sockets",), 3600.0, KEY)])
    assert reads == {(None, "counters"): 1, (KEY, "sockets"): 1}
    assert one.every_s("counters") == 0.002
    assert one.every_s("sockets") is None
    await until(lambda: reads[None, "counters"] > 3)
    one.watch([Watched(("sockets",), 3600.0, KEY)])
    seen = reads[None, "counters"]
    one.watch([Watched(("sockets",), 0.002, KEY)])
    await until(lambda: reads[KEY, "sockets"] > 3)
    assert reads[None, "counters"] == seen
    one.watch(())
    assert one._timers == {}


async def test_a_watch_that_goes_on_is_not_read_anew_at_each_word() -> None:
    reads: list[object] = []
    one = Sampling(lambda key, section: reads.append((key, section)))
    for _ in range(3):
        one.watch([Watched(("counters",), 3600.0, KEY)])
    assert reads == [(KEY, "counters")]
    one.watch(())


async def test_of_two_who_watch_the_same_the_more_frequent_counts_within_a_bound() -> None:
    one = Sampling(lambda key, section: None)
    one.watch([Watched(("counters",), 5.0), Watched(("counters",), 0.0), Watched(("counters",), 9.0)])
    assert one.every_s("counters") == sampling.MIN_EVERY_S
    assert list(one._timers) == [sampling.MIN_EVERY_S]
    one.watch(())

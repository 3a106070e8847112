"""A few random networks in which every pair is sent for real (`make proof-pairs` runs 200)."""

from __future__ import annotations

import pytest

from tests.live.pairs import compare
from tests.slow import first_quick

pytestmark = pytest.mark.live


@pytest.mark.parametrize("seed", first_quick([3, 4, 6], quick=2))
def test_pairs_that_the_check_calls_broken_are_the_broken_ones(seed: int) -> None:
    counts, wrong = compare(seed)
    assert wrong == []
    assert sum(number for what, number in counts.items() if what.endswith(("passes", "broken"))) > 0

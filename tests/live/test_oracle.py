"""The oracle in CI: every kept case on the kernel. Fresh networks are in test_oracle_fresh.py."""

from __future__ import annotations

import pytest

from tests.live.oracle.cases import load_cases, replay
from tests.live.oracle.compare import WRONG
from tests.slow import every_second_quick

pytestmark = pytest.mark.live


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", every_second_quick([0, 1]), ids=["even", "odd"])
def test_kept_cases(first: int) -> None:
    """What was predicted wrongly once is not any more."""
    wrong = []
    for name, case in [*load_cases().items()][first::2]:
        comparison = replay(case.network)
        if comparison.verdict == WRONG:
            wrong.append(f"{name}: {comparison.why}")
    assert not wrong

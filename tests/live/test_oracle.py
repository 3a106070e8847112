"""The oracle in CI: every kept case on the kernel. Fresh networks are in test_oracle_fresh.py."""

from __future__ import annotations

import pytest

from tests.live.oracle.cases import load_cases, replay
from tests.live.oracle.compare import WRONG

pytestmark = pytest.mark.live


@pytest.mark.timeout(1800)
def test_kept_cases() -> None:
    """What was predicted wrongly once is not any more."""
    wrong = []
    for name, case in load_cases().items():
        comparison = replay(case.network)
        if comparison.verdict == WRONG:
            wrong.append(f"{name}: {comparison.why}")
    assert not wrong

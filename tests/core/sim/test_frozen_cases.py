"""The kept cases, judged on what the kernel once did: without a kernel, on every change.

`make freeze` runs them live and writes them again; do so when a prediction is meant to change, and look at what
changed.
"""

from __future__ import annotations

import pytest

from tests.core.sim.readable import readable
from tests.live.oracle.cases import load_cases
from tests.live.oracle.frozen import DIRECTORY, digest, expected_of, read_frozen
from tests.live.oracle.run import judged

CASES = load_cases()


def test_each_kept_case_is_frozen_and_no_other() -> None:
    assert sorted(path.stem for path in DIRECTORY.iterdir()) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_frozen_case(name: str) -> None:
    """The judge agrees, and the prediction is the one that it agreed with then, and can be read."""
    frozen = read_frozen(name)
    assert frozen.network == digest(CASES[name].network), "the case has changed since: freeze it again"
    observed = frozen.observed()
    (comparison,) = judged(observed)
    assert comparison.trace is not None
    readable(comparison.trace)
    assert comparison.verdict == frozen.expected.verdict, comparison.why
    assert expected_of(comparison, observed.places) == frozen.expected

"""Which cases of a slow test run with every change; the others run with `make slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_quick(cases: Iterable[Any], quick: int) -> list[Any]:
    """Parameters of a test: the first `quick` run always, the rest is marked slow."""
    return [case if place < quick else _slow(case) for place, case in enumerate(cases)]


def every_second_quick(cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test whose cases are alike: every second one runs always, the others are marked slow."""
    return [_slow(case) if place % 2 else case for place, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)

"""Which cases of a slow test run with every change; the others run with `make slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_quick(cases: Iterable[Any], quick: int) -> list[Any]:
    """Parameters of a test: the first `quick` run always, the rest is marked slow."""
    return [
        case if place < quick else pytest.param(case, marks=pytest.mark.slow)
        for place, case in enumerate(cases)
    ]

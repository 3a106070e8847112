"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.stack import netviz as netviz

# How long an example takes is no property of the code.
settings.register_profile("netviz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netviz")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what SQLite leaves beside the test database: Django deletes the database's own file alone."""
    for left in Path(tempfile.gettempdir()).glob(f"nv-test-{os.getpid()}.sqlite3*"):
        left.unlink(missing_ok=True)

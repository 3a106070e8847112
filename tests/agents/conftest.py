"""What the collector's tests share: a kernel of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.fake_kernel import FakeKernel


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[FakeKernel]:
    """A kernel as recorded. Nothing else may have been asked of it, and every socket must have been closed."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    made = FakeKernel(folder)
    yield made
    left = [(s.name, s.proto, s.groups) for s in made.sockets if not s.closed]
    made.close()
    assert made.unknown == [], "not in the recording: `make record-netlink` records what is asked now"
    assert left == [], "sockets left open"

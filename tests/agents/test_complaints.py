"""What a collector does with the server's word that a record could not be used."""

from __future__ import annotations

import pytest

from agents.complaints import MAX_LOGGED, Complaints
from netviz.core.wire.events import Noticed
from netviz.core.wire.messages import BadRecord


def notice(*records: str, more: int = 0) -> Noticed:
    return Noticed(
        "bad_message", tuple(BadRecord("n1:4:1:0", "addrs", name, "why") for name in records), more
    )


def test_each_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    for _ in range(3):
        complaints.take(notice("a", "b", more=2))
    assert complaints.count == 12
    assert len(caplog.records) == 2
    assert "addrs a of namespace n1:4:1:0: why" in caplog.text


def test_what_is_logged_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    complaints.take(notice(*map(str, range(MAX_LOGGED * 2))))
    assert complaints.count == MAX_LOGGED * 2
    assert len(caplog.records) == MAX_LOGGED + 1

"""A section is fresh as long as its node's collector works as it promises."""

from __future__ import annotations

import pytest

from netviz.core.state.freshness import LATE_S, SILENT_S, Contact, Stale, stale
from netviz.core.state.node import NodeState, SectionStatus

NOW = 10_000.0
NODE = NodeState(
    "n", status={"routes": SectionStatus(max_age_s=60.0), "sockets": SectionStatus(max_age_s=5.0)}
)


def contact(
    heard_s: float = 1.0, compared_s: float = 50.0, connected: bool = True, lag_s: float = 0.0
) -> Contact:
    return Contact(connected, NOW - heard_s, NOW - compared_s, lag_s)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (contact(), None),
        (contact(heard_s=SILENT_S), None),
        (contact(heard_s=SILENT_S + 1), ("silent", SILENT_S + 1, ("sockets",))),
        (contact(heard_s=61), ("silent", 61, ("routes", "sockets"))),
        (contact(lag_s=40), ("behind", 40, ("sockets",))),
        (contact(compared_s=2 * 60 + LATE_S), None),
        (
            contact(compared_s=2 * 60 + LATE_S + 1),
            ("not compared", 2 * 60 + LATE_S + 1, ("routes", "sockets")),
        ),
        (contact(heard_s=120, connected=False), ("not connected", 120, ("routes", "sockets"))),
    ],
)
def test_each_section_has_its_own_bound(
    known: Contact, expected: tuple[str, float, tuple[str, ...]] | None
) -> None:
    found = stale(NODE, ("sockets", "routes"), known, NOW)
    if expected is None:
        assert found is None
    else:
        why, since_s, sections = expected
        assert found == Stale("n", why, NOW - since_s, sections)  # type: ignore[arg-type]


def test_only_what_was_read_counts() -> None:
    assert stale(NODE, ("routes",), contact(heard_s=40), NOW) is None
    assert stale(NODE, (), contact(connected=False), NOW) is None


def test_a_collector_that_promises_nothing_is_late_with_nothing() -> None:
    """One of an earlier version names no bounds."""
    plain = NodeState("n", status={"routes": SectionStatus()})
    assert stale(plain, ("routes",), contact(compared_s=9_000), NOW) is None
    assert stale(plain, ("routes",), contact(heard_s=SILENT_S + 1), NOW) is not None

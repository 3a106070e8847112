"""Routing alone: over random tables and rules, the simulator's lookup answers as the kernel's does."""

from __future__ import annotations

import os

import pytest

from tests.live.oracle.route_get import compare_lookups

pytestmark = pytest.mark.live

FIRST_SEED = 1
LOOKUPS, EACH = 4000, 50


def test_random_lookups() -> None:
    """Thousands of RTM_GETROUTE over random networks, with source, mark, tos, protocol, ports and uid: no difference."""
    seed = int(os.environ.get("NETVIZ_ORACLE_SEED", FIRST_SEED))
    asked, differences = 0, []
    while asked < LOOKUPS:
        count, found = compare_lookups(seed, EACH)
        asked, seed, differences = asked + count, seed + 1, differences + found
    assert not differences, "\n".join(differences[:20])

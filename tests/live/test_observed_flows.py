"""A few random flows over a tunnel, observed by server and collectors; `make proof-observed` does it in every kind of network."""

from __future__ import annotations

import random

import pytest

from tests.live.observed_proof import observed, prove_flows

pytestmark = pytest.mark.live
FLOWS = 10


def test_random_flows_agree() -> None:
    """Nothing speaks against any prediction."""
    with observed("vxlan") as (cluster, _, asker):
        tally = prove_flows(cluster, asker, FLOWS, random.Random(14))
    assert tally.wrong == []
    assert sum(tally.flows.values()) == FLOWS

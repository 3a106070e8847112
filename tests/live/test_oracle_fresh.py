"""The oracle in CI: random networks that are no kept cases, of the same seeds in every run, and none predicted wrongly.

`make fuzz-oracle` draws new seeds, and `NETVIZ_ORACLE_SEED` repeats one that it printed; docs/accuracy.md has the last
big run.
"""

from __future__ import annotations

import os

import pytest

from tests.live.oracle import report
from tests.live.oracle.campaign import PACKETS_A_NETWORK, run_campaign

pytestmark = pytest.mark.live

FIRST_SEED = 1
PACKETS = 700


@pytest.mark.timeout(1800)
def test_fresh_networks() -> None:
    """Seven hundred packets: what differs from the kernel, and does so again when it is sent alone, is wrong."""
    seed = int(os.environ.get("NETVIZ_ORACLE_SEED", FIRST_SEED))
    summary = run_campaign(seed, PACKETS, PACKETS // PACKETS_A_NETWORK, jobs=1)
    said = report.text(summary)
    print(f"NETVIZ_ORACLE_SEED={seed}\n{said}")
    assert not summary.failures, said
    assert summary.packets >= PACKETS

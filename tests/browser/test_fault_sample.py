"""Faults of another kind of network than the textbook's, each shown under its kind and at its place, and gone when mended.

This is a sample; `make proof-browser-faults` does it with all faults of two kinds of network, and publishes the times.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import watched_page
from tests.browser.fault_proof import Shown, prove_kind
from tests.live.problem_proof import warm
from tests.stack import whole_netviz

pytestmark = [pytest.mark.browser, pytest.mark.live, pytest.mark.slow]
# One that the kernel announces, one that is polled, one that only traces show.
SAMPLE = ("vxlan-other-vni", "forwarding-off", "blackhole-route")


def test_faults_of_a_vxlan_network_stand_on_the_page_and_leave(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("faults")
    with whole_netviz(folder, nodes=2, pods=2, kind="vxlan", services=2) as (cluster, stack):
        warm(cluster)
        with watched_page(browser, stack.access) as page:
            noted: list[Shown | str] = []
            prove_kind("vxlan", SAMPLE, page, cluster, stack, noted.append)
    assert [one for one in noted if isinstance(one, str)] == []
    assert {one.fault for one in noted if isinstance(one, Shown)} == set(SAMPLE)

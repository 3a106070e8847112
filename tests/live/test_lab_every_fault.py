"""Each fault affects exactly the pairs that it names, as real packets show, and is undone without a trace.

Here each is applied to one kind of network; `make proof-faults` applies it to all kinds that it works in,
and compares each packet with its prediction as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import msgspec
import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faults import FAULTS, affected_by, apply_fault, listed, mend
from lab.faults.model import Pair
from tests.live.fault_probes import Met, differences, healthy, kernel_state

pytestmark = pytest.mark.live
SERVICES = "+services"
CASES = sorted(
    (fault.kinds[0] + (SERVICES if fault.needs_services else ""), name) for name, fault in FAULTS.items()
)


class Rig(msgspec.Struct):
    """A cluster of one kind, what packets met in it before any fault, and its kernel state then."""

    cluster: Cluster
    before: dict[Pair, Met]
    state: dict[str, list[str]]


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Two pods on each of three nodes."""
    kind, with_services, _ = request.param.partition(SERVICES)
    spec = ClusterSpec(f"t{os.getpid()}-f", nodes=3, pods=2, kind=kind, services=2 if with_services else 0)
    with Cluster.up(spec) as cluster:
        before = healthy(cluster)
        yield Rig(cluster, before, kernel_state(cluster))


@pytest.mark.parametrize(("rig", "name"), CASES, indirect=["rig"])
def test_a_fault_affects_what_it_says_and_is_undone(rig: Rig, name: str) -> None:
    expected = affected_by(rig.cluster, name)
    apply_fault(rig.cluster, name)
    try:
        found = differences(rig.cluster, rig.before, expected)
    finally:
        mend(rig.cluster)
    assert not found, "\n".join(found[:20])
    assert kernel_state(rig.cluster) == rig.state


@pytest.mark.parametrize("rig", ["textbook"], indirect=True)
def test_the_list_says_of_each_fault_who_is_to_blame_and_who_is_affected(rig: Rig) -> None:
    assert len(FAULTS) >= 30
    said = {fault["name"]: fault for fault in json.loads(json.dumps(listed(rig.cluster)))}
    assert set(said) == set(FAULTS)
    for name, fault in FAULTS.items():
        assert fault.summary
        assert said[name]["kinds"] == list(fault.kinds)
        if "textbook" in fault.kinds and not fault.needs_services:
            expected = affected_by(rig.cluster, name)
            found = {
                Pair(p["from"], p["to"], p["family"], p["size"]): p["certain"] for p in said[name]["pairs"]
            }
            assert found == expected
            assert said[name]["blame"]["node"] in rig.cluster.nodes
        else:
            assert "pairs" not in said[name]
    missing = said["route-missing"]
    assert missing["sees"].startswith("node1 has no route to node2's pods")
    assert missing["blame"] == {"node": "node1", "device": "eth0"}
    veth = rig.cluster.pod("web-1").host_ifname
    assert said["bridge-port-down"]["blame"] == {"node": "node1", "device": veth}
    assert listed(None)[0]["affects"]

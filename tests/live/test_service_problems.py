"""Services of a lab cluster, held against its real rules: nothing differs, until somebody breaks it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faults import apply_fault, mend
from netviz.core.check.services.check import ServicesCheck
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState
from netviz.tracing.objects import read_objects
from tests.core.check.judging import proper
from tests.live.problem_proof import Watch

pytestmark = pytest.mark.live
FOUND = {"service-stale-endpoint": "service-endpoint-stale", "doubled-endpoint": "service-endpoint-doubled"}


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes with three services, one with a node port and one with session affinity, and DNS."""
    spec = ClusterSpec(f"t{os.getpid()}-svc", nodes=2, pods=2, services=3, proxy=request.param)
    with Cluster.up(spec) as up:
        yield up


def _look(cluster: Cluster, watch: Watch, check: ServicesCheck) -> ServicesCheck:
    nodes = watch.collect()
    lists = read_objects(str(cluster.directory / "objects"), "default")
    check.follow(named(ClusterState(nodes.nodes, nodes.bodies, {"default": lists})))
    while check.work():
        pass
    return check


def test_nothing_differs_until_a_fault_which_is_found_and_gone_when_mended(cluster: Cluster) -> None:
    watch, check = Watch(cluster), ServicesCheck()
    result = _look(cluster, watch, check).result()
    assert result is not None
    assert (result.result, result.reason, list(check.problems())) == ("pass", "", [])
    assert result.judged > 40
    for fault, kind in FOUND.items():
        apply_fault(cluster, fault, node="node2")
        try:
            (problem,) = _look(cluster, watch, check).problems()
        finally:
            mend(cluster)
        proper(problem)
        assert (problem.kind, problem.where.node) == (kind, "node2")
    assert list(_look(cluster, watch, check).problems()) == []

"""Faults of DNS in the lab, found unasked with the API's lists: at the pod or the node, and gone when they are mended."""

from __future__ import annotations

import os

import pytest

from lab.cluster import Cluster, ClusterSpec
from tests.live.problem_proof import Watch, found_and_gone, unhealthy, warm

pytestmark = [pytest.mark.live, pytest.mark.slow]


def test_what_keeps_pods_from_their_names_is_found_and_named() -> None:
    with Cluster.up(ClusterSpec(f"t{os.getpid()}-dns", nodes=2, pods=3, services=2)) as cluster:
        warm(cluster)
        watch = Watch(cluster, objects=True)
        report = watch.look()
        assert unhealthy(report) == []
        (judged,) = (one for one in report.results if one.name == "dns")
        assert (judged.result, judged.judged > 0) == ("pass", True)
        found, wrong = found_and_gone(cluster, watch, "dns-wrong-server")
        assert wrong == []
        assert found[0].kind == "dns-other-server"
        assert found[0].headline.startswith("default/web-1 on node1 asks 10.96.255.254 for names"), found[0]
        assert [one.command for one in found[0].fix] == ["kubectl delete pod -n default web-1"]
        assert "kubectl exec -n default web-1 -- cat /etc/resolv.conf" in {
            one.command for one in found[0].check
        }
        found, wrong = found_and_gone(cluster, watch, "dns-udp-blocked")
        assert wrong == []
        # Whichever check is first to name the rule, it is told at the node, and once.
        assert {one.kind for one in found} <= {"rule-drops", "dns-unreachable"}, found

"""The kinds of networks of the lab: real packets are delivered, and each prediction is equal.

The long form (3 nodes with 4 pods, every exchange, every variant) is `make proof-lab`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import kinds
from lab.churn import run_churn
from lab.cluster import Cluster, ClusterSpec
from lab.faults import apply_fault
from lab.kinds.cni import HOST_PORT
from lab.reality import Probe
from lab.spec import LabError, SpecError
from tests.live.kind_probes import CLOSED, OPEN, hold, probes, sent, unhealthy
from tests.live.translated import compare_translated

pytestmark = pytest.mark.live

SAMPLE = (("tcp", OPEN), ("udp", CLOSED), ("icmp", 0))


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_pair_of_a_kind(kind: str, tmp_path: Path) -> None:
    """Pods to pods, nodes to pods, pods to the outside, IPv4 and IPv6; then pods and a node come and go."""
    with Cluster.up(ClusterSpec(f"t{os.getpid()}-{kind}", nodes=2, pods=2, kind=kind)) as cluster:
        hold(cluster, tmp_path, probes(cluster, SAMPLE))
        cluster.remove_pod("web-1")
        cluster.add_pod("node2", "shop-1")
        cluster.restart_node("node2")
        ill = [outcome for outcome in sent(cluster, probes(cluster, SAMPLE)) if unhealthy(cluster, outcome)]
        assert not ill


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_kind_without_ipv6(kind: str) -> None:
    spec = ClusterSpec(f"t{os.getpid()}-4{kind}", nodes=2, pods=1, kind=kind, ipv6=False)
    with Cluster.up(spec) as cluster:
        assert "inet6" not in cluster.exec("web-1", ["ip", "addr", "show", "scope", "global"]).stdout
        churned = run_churn(cluster, rate_per_s=200, seconds=0.2)
        assert churned.failed == 0
        assert "inet6" not in cluster.exec("web-1", ["ip", "addr", "show", "scope", "global"]).stdout
        with pytest.raises(
            LabError, match="listener-without-ipv6 is a fault of IPv6, which this cluster is without"
        ):
            apply_fault(cluster, "listener-without-ipv6")
        ill = [outcome for outcome in sent(cluster, probes(cluster, SAMPLE)) if unhealthy(cluster, outcome)]
        assert not ill


@pytest.mark.parametrize("variant", kinds.KINDS["cni"].variants)
def test_host_ports_of_the_cni_plugins(variant: str, tmp_path: Path) -> None:
    """Each variant's first pod is reached by its node's port, from another node and a pod of its own."""
    spec = ClusterSpec(f"t{os.getpid()}-{variant}", nodes=2, pods=2, kind="cni", variant=variant, ipv6=False)
    wanted = [Probe(src, "node1", proto, HOST_PORT) for src in ("node2", "api-1") for proto in ("tcp", "udp")]
    with Cluster.up(spec) as cluster:
        hold(cluster, tmp_path, wanted, compare_translated)


def test_what_is_no_kind_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(SpecError, match=r"no kind of cluster 'ring'; there are: textbook, vxlan"):
        Cluster.up(ClusterSpec("nv-none", kind="ring"))

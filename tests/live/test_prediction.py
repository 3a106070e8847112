"""The simulator against the kernel: what it predicts for a lab cluster is what happens to real packets.

    node1: 5 pods - cni0 - eth0 \\
    node2: 5 pods - cni0 - eth0 -- underlay bridge - router - internet
    node3: 5 pods - cni0 - eth0 /

When a prediction and the kernel differ, the prediction is wrong.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import faults
from lab.cluster import Cluster, ClusterSpec
from lab.reality import Probe, send_all
from tests.live.prediction import Comparison, compare, snapshot
from tests.slow import first_quick

pytestmark = pytest.mark.live

OPEN, CLOSED = 8080, 81
Exchanges = tuple[tuple[str, int], ...]
Exchanges = tuple[tuple[str, int], ...]
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("udp", CLOSED), ("icmp", 0))
FAULT_EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("icmp", 0))
BIG = 1450


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster of 3 nodes with 5 pods each for the whole module."""
    with Cluster.up(ClusterSpec(f"nv-p{os.getpid()}", nodes=3, pods=5)) as made:
        yield made


def between_pods(cluster: Cluster, family: int, exchanges: Exchanges) -> list[Probe]:
    """Every ordered pair of pods."""
    pods = list(cluster.pods)
    return [
        Probe(src, dst, proto, port, family=family)
        for src in pods
        for dst in pods
        if src != dst
        for proto, port in exchanges
    ]


def beyond_pods(cluster: Cluster, family: int, exchanges: Exchanges = EXCHANGES) -> list[Probe]:
    """Pods to the internet, nodes to pods."""
    pods = list(cluster.pods)
    out = [Probe(src, "internet", p, n, family=family) for src in pods for p, n in exchanges if n != CLOSED]
    return out + [
        Probe(node, dst, p, n, family=family) for node in cluster.nodes for dst in pods for p, n in exchanges
    ]


def large(cluster: Cluster, family: int) -> list[Probe]:
    """Packets near the links' MTU, from the first pod of each node to the others and back, DF and not."""
    firsts = [next(iter(node.pods)) for node in cluster.nodes.values()]
    pairs = [(a, b) for a in firsts for b in firsts if a != b]
    return [
        Probe(a, b, proto, OPEN if proto == "udp" else 0, size, df, family)
        for a, b in pairs
        for proto in ("udp", "icmp")
        for size in (BIG, 1500, 1501, 3000)
        for df in (False, True)
    ]


def check(cluster: Cluster, probes: list[Probe], directory: Path) -> list[Comparison]:
    """Collect, predict, send, compare: nothing wrong. Returns the comparisons for what else they must show."""
    state = snapshot(cluster, directory)
    found = [compare(state, cluster, outcome) for outcome in send_all(cluster, probes)]
    wrong = [c.describe() for c in found if c.verdict == "wrong"]
    assert not wrong, f"{len(wrong)} of {len(found)} wrong:\n" + "\n".join(wrong[:20])
    return found


def unknowns(found: list[Comparison]) -> Counter[str]:
    """Count what isn't known, by reason."""
    return Counter(c.why for c in found if c.verdict == "unknown")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("caches", ["cold", "warm"])
def test_a_healthy_cluster(cluster: Cluster, tmp_path: Path, family: int, caches: str) -> None:
    """Every pair with every exchange is right and certain, before and after the neighbours know each other."""
    probes = between_pods(cluster, family, EXCHANGES) + beyond_pods(cluster, family)
    found = check(cluster, probes, tmp_path)
    assert Counter(c.verdict for c in found) == {"right": len(probes)}, unknowns(found)


def test_a_node_as_the_destination(cluster: Cluster, tmp_path: Path) -> None:
    """Pods reach the nodes' own addresses, and closed ports there refuse."""
    probes = [
        Probe(src, dst, proto, port)
        for src in cluster.pods
        for dst in cluster.nodes
        for proto, port in (("tcp", CLOSED), ("udp", CLOSED), ("icmp", 0))
    ]
    found = check(cluster, probes, tmp_path)
    assert {c.verdict for c in found} == {"right"}, unknowns(found)


@pytest.mark.parametrize("family", [4, 6])
def test_large_packets(cluster: Cluster, tmp_path: Path, family: int) -> None:
    """Packets up to and beyond the MTU, with and without DF."""
    found = check(cluster, large(cluster, family), tmp_path)
    assert {c.verdict for c in found} == {"right"}, unknowns(found)


# Faults of different sorts; `make proof-faults` predicts all of them, in every kind of network.
FAULTS = (
    "duplicate-address",
    "reverse-path",
    "wrong-mtu",
    "route-missing",
    "wrong-peer",
    "bridge-port-down",
    "drop-rule",
    "forwarding-off",
    "listener-gone",
    "masquerade-between-pods",
    "wrong-neighbour",
)


@pytest.mark.parametrize("fault", first_quick(FAULTS, quick=3))
def test_predictions_with_a_fault(cluster: Cluster, tmp_path: Path, fault: str) -> None:
    """With a fault in effect, predictions are right for every pair; only a duplicated address leaves a choice."""
    faults.apply_fault(cluster, fault)
    try:
        probes = between_pods(cluster, 4, FAULT_EXCHANGES) + between_pods(cluster, 6, FAULT_EXCHANGES[:1])
        probes += beyond_pods(cluster, 4, (("tcp", OPEN), ("icmp", 0)))
        probes += large(cluster, 4) if fault == "wrong-mtu" else []
        found = check(cluster, probes, tmp_path)
    finally:
        faults.mend(cluster)
    assert not unknowns(found)
    open_ended = [c for c in found if c.verdict == "one of"]
    assert fault == "duplicate-address" or not open_ended, [c.describe() for c in open_ended[:5]]


def test_a_broken_cluster_is_seen_as_broken(cluster: Cluster, tmp_path: Path) -> None:
    """The comparison can fail: a state from before a fault is wrong about what happens after it."""
    state = snapshot(cluster, tmp_path)
    probes = between_pods(cluster, 4, (("tcp", OPEN),))
    faults.apply_fault(cluster, "forwarding-off")
    try:
        found = [compare(state, cluster, outcome) for outcome in send_all(cluster, probes)]
    finally:
        faults.mend(cluster)
    assert "wrong" in {c.verdict for c in found}

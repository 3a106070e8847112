"""The pod network's contract holds in the lab; faults combine, are undone apart, and are refused where they must."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faults import apply_fault, mend
from lab.reality import DEFAULT_TIMEOUT_S, Outcome, Probe, send, send_all
from lab.spec import LabError
from tests.live.fault_probes import kernel_state
from tests.live.lab_remains import process_namespaces

pytestmark = pytest.mark.live
PROTOS = ("tcp", "udp", "icmp")
FAMILIES = (4, 6)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two pods on each of three nodes: web-1, api-1, web-2, ..."""
    with Cluster.up(ClusterSpec(f"t{os.getpid()}-faults", nodes=3, pods=2)) as built:
        yield built


@pytest.fixture(autouse=True)
def mended(cluster: Cluster) -> Iterator[None]:
    yield
    mend(cluster)


def exchange(
    cluster: Cluster,
    pairs: list[tuple[str, str]],
    protos: tuple[str, ...] = PROTOS,
    families: tuple[int, ...] = FAMILIES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    **probe: int,
) -> list[Outcome]:
    """Probe the pairs with every protocol and family."""
    probes = [Probe(a, b, p, family=f, **probe) for a, b in pairs for p in protos for f in families]
    return send_all(cluster, probes, timeout_s=timeout_s)


def results(outcomes: list[Outcome]) -> set[str]:
    return {outcome.result for outcome in outcomes}


def all_pairs(cluster: Cluster) -> list[tuple[str, str]]:
    return [(a, b) for a in cluster.pods for b in cluster.pods if a != b]


def assert_contract(cluster: Cluster) -> None:
    """Every pod reaches every pod, and the receiver sees the sender's own address."""
    outcomes = exchange(cluster, all_pairs(cluster))
    for outcome in outcomes:
        probe = outcome.probe
        assert outcome.result == "delivered", outcome
        assert outcome.seen_source == cluster.address_of(probe.src, probe.family), outcome
        assert outcome.arrived_at == (probe.dst,), outcome


def test_the_contract_holds(cluster: Cluster) -> None:
    assert_contract(cluster)


def test_what_leaves_the_cluster_has_the_nodes_address(cluster: Cluster) -> None:
    for outcome in exchange(cluster, [("web-1", "internet"), ("api-3", "internet")]):
        node = cluster.pod(outcome.probe.src).node
        assert outcome.result == "delivered", outcome
        assert outcome.seen_source == cluster.address_of(node, outcome.probe.family)


def test_nodes_and_pods_reach_each_other_without_nat(cluster: Cluster) -> None:
    for outcome in exchange(cluster, [("web-1", "node1"), ("web-1", "node2")], ("icmp",)):
        assert outcome.result == "delivered", outcome
        assert outcome.seen_source == cluster.address_of("web-1", outcome.probe.family)
    assert results(exchange(cluster, [("node1", "web-1"), ("node1", "web-2")])) == {"delivered"}
    assert results(exchange(cluster, [("internet", "web-1")])) == {"unreachable"}


def test_outcomes_tell_what_the_kernel_said(cluster: Cluster) -> None:
    closed = exchange(cluster, [("web-1", "web-2")], ("tcp", "udp"), dport=9)
    assert results(closed) == {"refused"}
    assert all(outcome.arrived_at == ("web-2",) for outcome in closed)
    many = [Probe("web-1", "web-2", "udp", dport, family=f) for dport in range(100, 200) for f in FAMILIES]
    assert results(send_all(cluster, many)) == {"refused"}  # no error is lost to a rate limit
    nobody = send(cluster, "web-1", "10.244.1.200", "udp", timeout_s=5)
    assert (nobody.result, nobody.error) == ("unreachable", "EHOSTUNREACH")
    assert send(cluster, "web-1", "10.244.1.200", "udp", timeout_s=0.3).result == "lost"
    assert send(cluster, "web-1", "169.254.169.254", "udp").result == "lost"  # the drop rule
    assert send(cluster, "web-1", "web-2", "udp", size=1500, df=True).result == "delivered"
    assert send(cluster, "web-1", "web-2", "udp", size=1501, df=True).result == "too_big"
    assert send(cluster, "web-1", "web-2", "udp", size=3000).result == "delivered"
    assert send(cluster, "web-1", "web-2", "tcp", size=100_000).result == "delivered"


def test_a_listener_that_must_wait_for_its_turn_is_waited_for(cluster: Cluster) -> None:
    inode = cluster.netns_of("web-2").stat().st_ino
    (listener,) = [pid for pid, held in process_namespaces() if held == inode and command_of(pid) == "app"]
    os.kill(listener, signal.SIGSTOP)
    going_on = threading.Timer(0.5, os.kill, (listener, signal.SIGCONT))
    going_on.start()
    try:
        outcomes = exchange(cluster, [("web-1", "web-2")], timeout_s=0.1)
        assert results(outcomes) == {"delivered"}, outcomes
        going_on.join()
        os.kill(listener, signal.SIGSTOP)
        assert send(cluster, "web-1", "web-3", "udp").result == "delivered"  # nobody waits for others
    finally:
        going_on.join()
        os.kill(listener, signal.SIGCONT)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def assert_mends(cluster: Cluster, before: dict[str, list[str]]) -> None:
    assert mend(cluster)
    assert kernel_state(cluster) == before
    assert cluster.state.faults == []
    assert_contract(cluster)


def test_faults_combine_and_mend_apart(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "drop-rule", pod="web-2")
    apply_fault(cluster, "drop-rule", pod="api-2")
    apply_fault(cluster, "masquerade-between-pods", node="node3")
    assert [fault.id for fault in cluster.state.faults] == [
        "drop-rule:web-2",
        "drop-rule:api-2",
        "masquerade-between-pods:node3",
    ]
    assert mend(cluster, "drop-rule:web-2") == ["drop-rule:web-2"]
    assert send(cluster, "web-1", "web-2", "udp").result == "delivered"
    assert send(cluster, "web-1", "api-2", "udp").result == "lost"
    assert send(cluster, "web-3", "web-1", "udp").seen_source == cluster.address_of("node3")
    assert_mends(cluster, before)


def test_what_cannot_be_broken_is_refused(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "drop-rule", pod="web-2")
    for wrong, message in (
        (lambda: apply_fault(cluster, "drop-rule", pod="web-2"), "already in effect"),
        (lambda: apply_fault(cluster, "no-such"), "no fault no-such"),
        (lambda: apply_fault(cluster, "drop-rule", pod="nobody"), "no pod nobody"),
        (lambda: apply_fault(cluster, "route-missing", node="node9"), "no node node9"),
        (lambda: apply_fault(cluster, "drop-rule", node="node1", pod="web-2"), "is on node2"),
        (lambda: mend(cluster, "wrong-mtu"), "no fault wrong-mtu"),
        (lambda: cluster.remove_pod("web-2"), "mend it first"),
    ):
        with pytest.raises(LabError, match=message):
            wrong()
    assert_mends(cluster, before)


def test_a_fault_that_fails_halfway_changes_nothing(cluster: Cluster) -> None:
    cluster.rtnl("node1").delete_route("fd44:2::/64", via="fd30::c")
    before = kernel_state(cluster)
    with pytest.raises(OSError, match="fd44:2::"):
        apply_fault(cluster, "route-missing")
    assert kernel_state(cluster) == before
    cluster.rtnl("node1").add_route("fd44:2::/64", via="fd30::c")
    assert_contract(cluster)

"""The pod network's contract holds in the lab; each fault breaks what it says, and mending restores it all."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faults import FAULTS, apply_fault, mend
from lab.reality import DEFAULT_TIMEOUT_S, Outcome, Probe, send, send_all
from lab.spec import LabError
from tests.live.lab_remains import process_namespaces

pytestmark = pytest.mark.live
PROTOS = ("tcp", "udp", "icmp")
FAMILIES = (4, 6)
# How long to wait for an answer that must not come.
LOST_S = 0.4


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


def kernel_state(cluster: Cluster) -> dict[str, list[str]]:
    """Everything a fault could have touched, in every namespace, without what changes by itself."""
    script = """
        ip -o -d link; ip -o addr; ip route; ip -6 route; ip rule; ip neigh show nud permanent
        nft --stateless list ruleset; ss -Hltun
        grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward 2>&- ||:
    """
    found = {}
    for target in [*cluster.nodes, *cluster.pods, "router", "fabric"]:
        lines = cluster.exec(target, ["sh", "-c", script]).stdout.splitlines()
        found[target] = sorted(without_timers(line) for line in lines)
    return found


def without_timers(line: str) -> str:
    """Drop the bridge's running timers from a line of `ip -d link`."""
    words = line.split()
    return " ".join(
        word for before, word in zip(["", *words], words, strict=False) if not before.endswith("_timer")
    )


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


# For each fault, with its default targets (node1, node2, web-1, api-1): the pairs whose packets no
# longer arrive, those that arrive without a reply coming back, and some that must still work.
LOST: dict[str, list[tuple[str, str]]] = {
    "route-missing": [("web-1", "web-2"), ("api-1", "api-2")],
    "bridge-port-down": [("web-1", "api-1"), ("web-1", "web-2"), ("web-3", "web-1"), ("web-1", "internet")],
    "wrong-peer": [("web-1", "api-1"), ("web-1", "web-2"), ("web-3", "web-1"), ("web-1", "internet")],
    "forwarding-off": [("web-1", "web-2"), ("web-3", "api-1"), ("web-1", "internet")],
    "wrong-neighbour": [("web-1", "web-2"), ("api-1", "api-2")],
    "drop-rule": [("web-2", "web-1"), ("api-3", "web-1"), ("node2", "web-1")],
}
NO_REPLY: dict[str, list[tuple[str, str]]] = {
    "route-missing": [("web-2", "web-1"), ("api-2", "web-1")],
    "wrong-neighbour": [("web-2", "web-1"), ("api-2", "web-1")],
    "drop-rule": [("web-1", "web-2"), ("web-1", "internet")],
}
STILL_WORKS: dict[str, list[tuple[str, str]]] = {
    "route-missing": [("web-1", "web-3"), ("web-2", "web-3"), ("web-1", "internet"), ("web-1", "api-1")],
    "bridge-port-down": [("api-1", "web-2"), ("web-2", "api-1")],
    "wrong-peer": [("api-1", "web-2"), ("web-2", "api-1")],
    "forwarding-off": [("web-1", "api-1"), ("web-2", "web-3")],
    "wrong-neighbour": [("web-1", "web-3"), ("web-2", "web-3")],
    "drop-rule": [("api-1", "web-1"), ("web-1", "api-1"), ("web-2", "api-1")],
}


@pytest.mark.parametrize("fault", list(LOST))
def test_fault_loses_what_it_says(cluster: Cluster, fault: str) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, fault)
    assert kernel_state(cluster) != before
    lost = exchange(cluster, LOST[fault], timeout_s=LOST_S)
    assert results(lost) <= {"lost", "unreachable"}, Counter(map(str, lost))
    assert not [outcome for outcome in lost if outcome.arrived]
    unanswered = exchange(cluster, NO_REPLY.get(fault, []), timeout_s=LOST_S)
    assert results(unanswered) <= {"lost"}
    assert all(outcome.arrived for outcome in unanswered), unanswered
    assert results(exchange(cluster, STILL_WORKS[fault])) == {"delivered"}
    assert_mends(cluster, before)


def assert_mends(cluster: Cluster, before: dict[str, list[str]]) -> None:
    assert mend(cluster)
    assert kernel_state(cluster) == before
    assert cluster.state.faults == []
    assert_contract(cluster)


def test_every_fault_is_tested_here() -> None:
    others = {"duplicate-address", "masquerade-between-pods", "wrong-mtu", "listener-gone", "reverse-path"}
    assert set(FAULTS) == set(LOST) | others
    assert all(fault.summary for fault in FAULTS.values())


def test_duplicate_address(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "duplicate-address")
    for family, address in ((4, "10.244.1.2"), (6, "fd44:1::2")):
        assert cluster.address_of("web-1", family) == address
        for pod in ("web-1", "api-1"):
            assert address in cluster.exec(pod, ["ip", "addr", "show", "eth0"]).stdout
    # Whoever it is, somebody gets it; and api-1 itself takes it to be its own.
    assert send(cluster, "web-2", "web-1", "tcp").arrived_at in (("web-1",), ("api-1",))
    assert send(cluster, "api-1", "web-1", "tcp").arrived_at == ("api-1",)
    assert_mends(cluster, before)


def test_masquerade_between_pods(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "masquerade-between-pods")
    for outcome in exchange(cluster, [("web-1", "web-2"), ("api-1", "web-3")]):
        assert outcome.result == "delivered"
        assert outcome.seen_source == cluster.address_of("node1", outcome.probe.family)
    for outcome in exchange(cluster, [("web-1", "api-1"), ("web-2", "web-1")]):
        assert outcome.seen_source == cluster.address_of(outcome.probe.src, outcome.probe.family)
    assert_mends(cluster, before)


def test_wrong_mtu(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "wrong-mtu")
    pairs, datagrams = [("web-1", "web-2"), ("web-1", "api-1")], ("udp", "icmp")
    assert results(exchange(cluster, pairs, datagrams, size=1400)) == {"delivered"}
    assert results(exchange(cluster, pairs, datagrams, timeout_s=LOST_S, size=1480)) == {"lost"}
    assert results(exchange(cluster, [("api-1", "web-2")], ("udp",), size=1480)) == {"delivered"}
    assert_mends(cluster, before)


def test_listener_gone(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "listener-gone")
    pairs = [("api-1", "web-1"), ("web-2", "web-1")]
    assert results(exchange(cluster, pairs, ("tcp", "udp"))) == {"refused"}
    assert results(exchange(cluster, pairs, ("icmp",))) == {"delivered"}
    assert_mends(cluster, before)


def test_reverse_path(cluster: Cluster) -> None:
    before = kernel_state(cluster)
    apply_fault(cluster, "reverse-path")
    lost = exchange(cluster, [("web-1", "web-2"), ("web-1", "api-2")], families=(4,), timeout_s=LOST_S)
    assert results(lost) == {"lost"}
    assert not [outcome for outcome in lost if outcome.arrived]
    assert results(exchange(cluster, [("web-1", "web-2")], families=(6,))) == {"delivered"}
    assert results(exchange(cluster, [("api-1", "web-2"), ("web-1", "web-3")])) == {"delivered"}
    assert_mends(cluster, before)


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

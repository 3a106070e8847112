"""Faults are found unasked in a lab cluster, each at its place, and gone when mended; nothing is found without one.

This is a sample; `make proof-problems` does it with all faults in all kinds of networks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faults import apply_fault, mend
from netviz.core.check.checker import Checker
from netviz.core.check.facts import rule_drops
from tests.live.problem_proof import Watch, at_device, blamed, fixed, found_and_gone, unhealthy, warm

pytestmark = pytest.mark.live
# Faults that the state shows by itself, one that only traces show, and the kind of the problem that each is.
SAMPLE = {
    "wrong-mtu": "mtu-at-veth",
    "wrong-pod-neighbour": "wrong-neighbour",
    "leftover-route": "leftover-route",
    "stale-conntrack": "stale-conntrack",
    "route-missing": "no-route",
}


Rig = tuple[Cluster, Watch]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Two pods on each of two nodes, with services, and who judges them."""
    spec = ClusterSpec(f"t{os.getpid()}-found", nodes=2, pods=2, services=2)
    with Cluster.up(spec) as cluster:
        warm(cluster)
        yield cluster, Watch(cluster)


def test_a_healthy_network_has_no_problem_and_nothing_undecided(rig: Rig) -> None:
    assert unhealthy(rig[1].look()) == []


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_is_found_at_its_place_and_gone_when_mended(rig: Rig, name: str) -> None:
    there, wrong = found_and_gone(*rig, name)
    assert not wrong
    assert SAMPLE[name] in {problem.kind for problem in there if at_device(problem, blamed(rig[0], name))}


# Faults of which traces find much that follows, each with the kind of the one problem that it is, and with the pairs of
# pods that fail of a pod's 2 x 5 and a node's 2 x 9.
CAUSES = {
    "bridge-old-range": ("bridge-wrong-range", 18),
    "too-wide-subnet": ("wrong-route", 6),
    "reverse-path": ("leftover-route", 6),
    "gateway-missing": ("no-route", 6),
    "wrong-peer": ("wrong-bridge", 10),
    "bridge-port-down": ("pod-link-down", 10),
}


@pytest.mark.parametrize("name", CAUSES)
def test_one_cause_is_one_problem_with_all_that_it_affects_and_its_fix_ends_it(rig: Rig, name: str) -> None:
    kind, pairs = CAUSES[name]
    (problem,), left = fixed(*rig, name)
    assert (problem.kind, problem.affects.pairs) == (kind, pairs)
    assert problem.where.node in {one.node for one in problem.check}
    assert left == []


def test_two_who_have_one_address_are_both_named_and_marked(rig: Rig) -> None:
    cluster, watch = rig
    apply_fault(cluster, "duplicate-address")
    try:
        (problem,) = watch.look().problems
    finally:
        mend(cluster)
    assert problem.kind == "duplicate-address"
    assert {one.netns for one in (problem.where, *problem.also_at)} == {"default/web-1", "default/api-1"}
    assert watch.look().problems == ()


RULES = """
table ip nv-counted {
    chain forward { type filter hook forward priority 5; udp dport 9999 counter drop; }
}
"""


def test_a_rule_that_drops_forwarded_packets_now_is_told_by_its_counter(rig: Rig) -> None:
    cluster, watch = rig
    checker = Checker([rule_drops.FACT])
    send = "for number in {1..30}; do echo > /dev/udp/$0/9999; done"
    to = next(pod.address(4) for pod in cluster.pods.values() if pod.node != "node1")
    with nft_rules(cluster, "node1"):
        looks = [checker.judge(watch.collect())]
        assert cluster.exec("web-1", ["bash", "-c", send, to]).returncode == 0
        looks += [checker.judge(watch.collect()) for _ in range(2)]
    once, rising, still = (one.problems for one in looks)
    assert once == still == ()
    (problem,) = rising
    assert (problem.kind, problem.where.node) == ("rule-drops-rising", "node1")
    assert "udp dport 9999" in problem.consequence


@contextmanager
def nft_rules(cluster: Cluster, node: str) -> Iterator[None]:
    """Have a rule on a node that counts and drops."""
    assert cluster.exec(node, ["nft", "-f", "-"], input=RULES).returncode == 0
    try:
        yield
    finally:
        cluster.exec(node, ["nft", "delete", "table", "ip", "nv-counted"])

"""All pairs by classes come to what all pairs come to one by one."""

from __future__ import annotations

import random

import pytest

from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import between
from netviz.core.check.paths.judge import Simulator, judge_pair
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import ClusterState
from tests.core.check.paths.clusters import KINDS, busy
from tests.core.check.paths.faults import FAULTS
from tests.core.sim.build import textbook


def judged(cluster: ClusterState, check: PathsCheck | None = None) -> PathsCheck:
    """Judge a state to the end."""
    check = check or PathsCheck()
    check.follow(cluster)
    check.finish()
    return check


def one_by_one(cluster: ClusterState) -> dict[tuple[NetnsKey, NetnsKey], str]:
    """Trace every pair of pods."""
    simulator = Simulator(cluster)
    pods = [ns for node in cluster.nodes.values() for ns in node.netns.values() if ns.netns.pod is not None]
    return {
        (one.key, other.key): judge_pair(simulator, between(one, other))[0].verdict
        for one in pods
        for other in pods
    }


def differing(
    cluster: ClusterState, check: PathsCheck, traced: dict[tuple[NetnsKey, NetnsKey], str]
) -> list[tuple[str, str, str, str]]:
    """List the pairs of which the check says otherwise than their own traces."""
    names = {
        key: ns.netns.pod.name
        for node in cluster.nodes.values()
        for key, ns in node.netns.items()
        if ns.netns.pod is not None
    }
    return [
        (names[source], names[target], said, found)
        for (source, target), found in traced.items()
        if (said := check.verdict(source, target)) != found
    ]


@pytest.mark.parametrize("talked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_cluster_is_one_class_and_has_no_problem(kind: str, talked: bool) -> None:
    net, made = KINDS[kind](3, 3)
    if talked:
        busy(net, made)
    cluster = net.cluster()
    check = judged(cluster)
    assert list(check.problems()) == []
    assert check.result().result == "pass"
    assert check.counts() == (81, 2 if talked else 1)
    traced = one_by_one(cluster)
    assert differing(cluster, check, traced) == []
    assert set(traced.values()) == {"good"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_with_planted_faults_classes_say_what_each_pair_says(kind: str, seed: int) -> None:
    pick = random.Random(seed)
    net, made = KINDS[kind](3, 2)
    if pick.random() < 0.5:
        busy(net, made)
    check = judged(net.cluster())
    for name in pick.sample(sorted(FAULTS), pick.randint(1, 3)):
        FAULTS[name](net, made, pick)
        cluster = net.cluster()
        traced = one_by_one(cluster)
        assert differing(cluster, judged(cluster, check), traced) == [], name
        assert differing(cluster, judged(cluster), traced) == [], name


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_one_problem_with_the_deciding_fact(kind: str, fault: str) -> None:
    pick = random.Random(5)
    net, made = KINDS[kind](3, 3)
    planted = FAULTS[fault](net, made, pick)
    if planted is None:
        pytest.skip("not in this kind of network")
    problems = judged(net.cluster()).problems()
    found = [(problem.kind, problem.where.node) for problem in problems]
    assert planted in found
    if fault != "source_filter":  # what is sent that way is lost too
        assert found == [planted]
    assert {node for _, node in found} == {planted.node}
    problem = next(problem for problem in problems if problem.kind == planted.kind)
    assert len(problem.headline.split()) <= 20
    assert problem.flow is not None
    assert problem.check
    assert problem.affects.pods


def test_a_pod_with_anothers_address_on_its_loopback_is_unlike_all_others() -> None:
    """It reaches itself where others reach the pod; found by sending every pair of a random network."""
    net, made = textbook(2, 3)
    made["pod-1-1"].addr("lo", "10.1.2.12/32")
    cluster = net.cluster()
    check = judged(cluster)
    traced = one_by_one(cluster)
    assert differing(cluster, check, traced) == []
    source, target = made["pod-1-1"].key, made["pod-2-2"].key
    assert check.verdict(source, target) == "broken"
    assert check.verdict(made["pod-1-2"].key, target) == "good"

"""All pairs by classes come to what all pairs come to one by one."""

from __future__ import annotations

import random

import msgspec
import pytest

from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import between
from netviz.core.check.paths.judge import Found, Judged, Simulator, judge_pair
from netviz.core.check.problem import Judgement
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.trace import Flow
from netviz.core.state.node import ClusterState
from tests.core.check.paths.clusters import KINDS, Made, busy, net_of
from tests.core.check.paths.faults import FAULTS, faults_of
from tests.core.sim.build import textbook
from tests.core.sim.nft import DROP, FORWARD, JUMP, chain, daddr, dport, l4proto, verdict

FLOW = Flow(NetnsKey("node-1", 4, 1), b"\n\0\0\1", b"\n\0\0\2", 1)


def deny(made: Made, name: str, *besides: object) -> None:
    """Have a policy agent's chain drop what is for a pod, on its node; `besides` are more expressions of the rule."""
    node = made[f"node-{name.split('-')[1]}"]
    addr = ".".join(map(str, next(a.addr for a in made[name].lists["addrs"] if a.ifindex == 2)))
    chain(node, "cali-tw-x", (*daddr(addr), *besides, verdict(DROP)), tbl="policy")
    chain(node, "forward", (verdict(JUMP, "cali-tw-x"),), hook=FORWARD, tbl="policy", priority=10)


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


@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind in KINDS for fault in faults_of(kind)])
def test_a_planted_fault_is_one_problem_with_the_deciding_fact(kind: str, fault: str) -> None:
    pick = random.Random(5)
    net, made = KINDS[kind](3, 3)
    planted = FAULTS[fault](net, made, pick)
    assert planted is not None
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


def test_each_fault_is_planted_in_a_kind_of_network() -> None:
    assert {fault for kind in KINDS for fault in faults_of(kind)} == set(FAULTS)


def test_the_first_run_audits_each_pair_of_a_small_cluster_once_and_more_on_demand() -> None:
    check = judged(textbook(2, 2)[0].cluster(), PathsCheck(pick=random.Random(1)))
    result = check.result()
    assert (result.result, result.reason) == ("pass", "")
    assert (result.audited, result.differed, check.differences) == (16, 0, ())
    check.audit(3)
    check.finish()
    assert check.result().audited == 19


def test_a_large_clusters_first_run_audits_300_pairs_of_the_seed() -> None:
    cluster = textbook(2, 10)[0].cluster()
    check = judged(cluster, PathsCheck(pick=random.Random(1)))
    assert (check.result().audited, check.counts()[0]) == (300, 400)


@pytest.mark.parametrize("said", ["good", "broken"])
def test_a_fault_of_the_check_is_told_and_the_trace_believed(said: Judgement) -> None:
    net, made = textbook(2, 2)
    made["pod-2-2"].down("eth0")
    cluster = net.cluster()
    check = judged(cluster)
    source, target = made["pod-1-1"].key, made["pod-2-2" if said == "good" else "pod-2-1"].key
    wrong = check.pairs.key_of(source, target)
    traced = check.known[wrong].verdict
    assert traced == {"good": "broken", "broken": "good"}[said]

    check = PathsCheck(pick=random.Random(1))
    check.known[wrong] = Judged((Found("icmp4", FLOW, said),))  # as a bug would remember it
    judged(cluster, check)
    fault = next(one for one in check.differences if one.target == target_name(cluster, target))
    assert (fault.said, fault.traced) == (said, traced)
    assert fault.flows[0].startswith("icmp from node-")
    assert check.verdict(source, target) == traced
    result = check.result()
    assert result.result == "unknown"
    assert result.reason.startswith("the check is at fault: default/pod-")
    assert result.differed == len(check.differences) > 0
    assert [problem.kind for problem in check.problems()].count("link-down") == 1

    # Another state: what differs still stands, without being counted twice.
    judged(cluster, check)
    assert check.result().differed == result.differed
    del check.known[wrong]
    judged(cluster, check)
    assert check.differences == ()
    assert check.result().result == "fail"


def test_a_rule_that_is_written_anew_is_the_same_problem_and_another_rule_is_another() -> None:
    causes = []
    for handle, prefix in ((7, "10.1.0.0/16"), (9, "10.1.0.0/16"), (9, "10.0.0.0/8")):
        net, made = textbook(2, 2)
        chains = made["node-1"].lists.setdefault("nft_chains", [])
        chain(
            made["node-1"], "fault", (*net_of(prefix), verdict(DROP)), hook=FORWARD, tbl="fault", priority=10
        )
        chains[-1] = msgspec.structs.replace(chains[-1], handles=(handle,))
        (found,) = judged(net.cluster()).problems()
        assert found.kind == "rule-drops"
        causes.append(found.cause)
    assert causes[0] == causes[1] != causes[2]
    assert causes[0].startswith("node-1/fault/fault/")


def target_name(cluster: ClusterState, key: NetnsKey) -> str:
    pod = cluster.nodes[key.node].netns[key].netns.pod
    assert pod is not None
    return f"{pod.namespace}/{pod.name}"


@pytest.mark.parametrize(("classes", "nodes"), [(16, 2), (16, 3), (0, 3)])
def test_pairs_that_policies_deny_are_counted(
    classes: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with each, and put together of halves; of two nodes, none knows most others alike."""
    monkeypatch.setattr("netviz.core.check.paths.pairs.ALL_WITH_ALL", classes)
    net, made = textbook(nodes, 3)
    for name in ("pod-1-1", "pod-2-1"):
        deny(made, name)
    net.node("node-9")  # has no pods
    cluster = net.cluster()
    check = judged(cluster)
    traced = one_by_one(cluster)
    denied = sum(one == "denied" for one in traced.values())
    assert denied > 0
    assert differing(cluster, check, traced) == []
    assert check.result().denied == denied
    assert (check.result().result, check.result().reason) == ("pass", "")


def test_pairs_that_rules_tell_apart_beyond_the_bound_are_counted_as_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("netviz.core.check.paths.pairs.ALL_WITH_ALL", 0)
    monkeypatch.setattr("netviz.core.check.paths.pairs.MAX_FILTERED", 2)
    net, made = textbook(3, 3)
    for n in (1, 2, 3):
        deny(made, f"pod-{n}-1", *l4proto(17), *dport(n))
    cluster = net.cluster()
    check = judged(cluster)
    every = one_by_one(cluster)
    undecided = sum(check.said(*ends) is None for ends in every)
    result = check.result()
    assert undecided > 0
    assert result.result == "unknown"
    assert result.reason.startswith(f"{undecided} pairs, as not each class of pods is traced with each other")
    assert "sorts" in result.reason
    assert result.judged == len(every) - undecided
    assert all(check.verdict(*ends) == "uncertain" for ends in every if check.said(*ends) is None)


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

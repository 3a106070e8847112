"""A difference inside a class is seen: either its pods' forms come apart, or the traces don't ask for what differs.

Anything of a small cluster's state is changed at random, one or two records at once: a pod of a class of many then
differs from the others in what nobody thought of. Each pair's own full trace says whether that matters to it; what the
check says by classes has to be the same, whichever state it comes from (docs/adr/0088-what-makes-a-class.md).
"""

from __future__ import annotations

import random

import pytest

from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import UNDECIDED
from netviz.core.sim.damage import BAD_STATE
from netviz.core.state.node import ClusterState
from tests.core.check.paths.clusters import KINDS, busy
from tests.core.check.paths.test_pairs import differing, judged, one_by_one
from tests.core.sim.build import textbook
from tests.core.sim.changes import change
from tests.core.sim.nft import DROP, FORWARD, INPUT, chain, verdict
from tests.slow import first_quick

PLANTS = 5


def differs(cluster: ClusterState, check: PathsCheck) -> list[tuple[str, str, str, str]]:
    """List the pairs of which a check that has decided all of a state says otherwise than their own traces."""
    try:
        traced = one_by_one(cluster)
    except BAD_STATE:
        return []  # a state that can't be traced can't be judged, and the check says so
    if check.result().reason.startswith("the check failed"):
        return []
    judged_pods = {
        key for members in check.world.members.values() for key in members
    }  # not of nodes without a namespace
    traced = {ends: verdict for ends, verdict in traced.items() if judged_pods.issuperset(ends)}
    return [one for one in differing(cluster, check, traced) if UNDECIDED not in one]


def planted(kind: str, seed: int) -> tuple[int, list[tuple[str, str, str, str]]]:
    """Plant changes in a cluster, one on top of the other; return how many classes that made at most, and what differs."""
    rng = random.Random(f"{kind} {seed}")
    net, made = KINDS[kind](2, 3)
    if rng.random() < 0.5:
        busy(net, made)
    cluster = net.cluster()
    check = judged(cluster)
    most = 0
    for _ in range(PLANTS):
        before, cluster = cluster.bodies, change(rng, cluster)
        if before.keys() - cluster.bodies.keys():
            check = PathsCheck()  # a body that a state refers to is never lost on the way
        for one in (judged(cluster, check), judged(cluster)):
            most = max(most, one.counts()[1])
            if found := differs(cluster, one):
                return most, found
    return most, []


@pytest.mark.parametrize("seed", first_quick(range(40), 2))
@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_planted_in_a_class_is_seen_where_it_matters(kind: str, seed: int) -> None:
    most, found = planted(kind, seed)
    assert found == []
    assert most > 0


@pytest.mark.parametrize("where", ["node-1", "pod-1-1"])
def test_rules_whose_body_comes_later_are_judged_then(where: str) -> None:
    net, made = textbook()
    chain(made[where], "late", (verdict(DROP),), hook=FORWARD if where == "node-1" else INPUT)
    whole = net.cluster()
    told_first = ClusterState(whole.nodes)
    check = judged(told_first)
    assert check.result().result == "fail"
    assert {problem.harm for problem in check.problems()} == {"not known"}
    assert differing(told_first, check, one_by_one(told_first)) == []
    assert differing(whole, judged(whole, check), one_by_one(whole)) == []
    assert "breaks traffic" in {problem.harm for problem in check.problems()}

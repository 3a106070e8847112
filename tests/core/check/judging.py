"""How tests of checks speak: a net, the checker, and what it says."""

from __future__ import annotations

from collections.abc import Mapping

from netviz.core.check.checker import Checker
from netviz.core.check.problem import NodeHealth, Problem, Report
from netviz.core.state.node import ClusterState
from tests.core.sim.build import Net


def finished(
    checker: Checker, cluster: ClusterState, health: Mapping[str, NodeHealth] | None = None
) -> Report:
    """Judge a state and work at it until nothing is left to do."""
    checker.judge(cluster, health or {})
    while checker.work():
        pass
    return checker.report()


def judge(net: Net | ClusterState, health: Mapping[str, NodeHealth] | None = None) -> Report:
    """Judge one state from scratch."""
    checker = Checker()
    checker.judge(net.cluster() if isinstance(net, Net) else net, health or {})
    while checker.work():
        pass
    return checker.report()


def problems(net: Net | ClusterState) -> list[Problem]:
    """What is wrong in one state; each in words that keep to what is promised of them."""
    found = list(judge(net).problems)
    for problem in found:
        proper(problem)
    return found


def only(net: Net | ClusterState) -> Problem:
    """The one problem of a state."""
    found = problems(net)
    assert len(found) == 1, [problem.headline for problem in found]
    return found[0]


def kinds(net: Net | ClusterState) -> list[str]:
    """The kinds of a state's problems."""
    return [problem.kind for problem in problems(net)]


def proper(problem: Problem) -> None:
    """Hold a problem's words to their form: a headline of at most 20 words, a sentence, a place."""
    assert 0 < len(problem.headline.split()) <= 20, problem.headline
    assert not problem.headline.endswith("."), problem.headline
    assert problem.consequence, problem
    assert problem.where.node, problem
    for command in (*problem.check, *problem.fix):
        assert command.node, problem
        assert command.command, problem

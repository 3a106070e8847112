"""A problem that traces found is proved to be one of a later state, or not, without judging that."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.problem import Problem
from netviz.core.state.node import ClusterState
from tests.core.check.judging import finished
from tests.core.check.paths.clusters import flannel
from tests.core.sim.build import Net, Ns, textbook


def broken() -> tuple[Net, dict[str, Ns]]:
    """The textbook cluster, in which node-1 has lost its route to node-2's pods."""
    net, made = textbook()
    routes = made["node-1"].lists["routes"]
    routes.remove(next(route for route in routes if route.dst == bytes((10, 1, 2, 0))))
    return net, made


def found() -> tuple[Checker, Problem]:
    checker = Checker((), (PathsCheck(),))
    (problem,) = finished(checker, broken()[0].cluster()).problems
    assert problem.kind == "no-route"
    return checker, problem


def test_a_change_of_what_its_trace_did_not_ask_for_leaves_it_proved() -> None:
    checker, problem = found()
    net, made = broken()
    assert checker.lasts(problem, net.cluster())
    made["node-2"].route("10.9.0.0/16", "192.168.0.1")
    made["pod-1-2"].route("10.9.0.0/16", "10.1.1.1")
    assert checker.lasts(problem, net.cluster())


@pytest.mark.parametrize("mended", ["10.1.2.0/24", "10.0.0.0/8"])
def test_it_is_not_proved_of_a_state_in_which_it_is_mended(mended: str) -> None:
    checker, problem = found()
    net, made = broken()
    made["node-1"].route(mended, "192.168.0.2")
    assert not checker.lasts(problem, net.cluster())


def test_nothing_is_proved_of_what_has_no_flow_or_nobody_found_or_of_a_state_that_is_empty() -> None:
    checker, problem = found()
    cluster = broken()[0].cluster()
    assert not checker.lasts(msgspec.structs.replace(problem, flow=None), cluster)
    assert not checker.lasts(msgspec.structs.replace(problem, cause="another"), cluster)
    assert not checker.lasts(problem, ClusterState())
    assert not Checker().lasts(problem, cluster)


def test_that_a_node_does_not_masquerade_is_proved_as_long_as_another_one_does() -> None:
    net, made = flannel()
    made["node-1"].lists["nft_chains"].clear()
    checker = Checker((), (PathsCheck(),))
    (problem,) = finished(checker, net.cluster()).problems
    assert (problem.kind, problem.flow is not None) == ("not-masqueraded", True)
    assert checker.lasts(problem, net.cluster())
    for name in made.keys() - {"node-1"}:
        made[name].lists.get("nft_chains", []).clear()
    assert not checker.lasts(problem, net.cluster())

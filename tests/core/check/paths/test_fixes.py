"""The commands of a problem that traces find: the check shows the fault, the fix mends it."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.problem import Problem
from netviz.core.model.l3 import RTN_BLACKHOLE, RTNH_F_ONLINK, Route
from tests.core.check.facts.test_forwarding import forward_nothing
from tests.core.check.judging import finished
from tests.core.check.paths.clusters import KINDS, Made
from tests.core.check.paths.test_pairs import judged
from tests.core.sim.build import Net


def only(net: Net) -> Problem:
    """Return the only problem that is found."""
    (problem,) = judged(net.cluster()).problems()
    return problem


def everything(net: Net) -> tuple[Problem, ...]:
    """Return what the checks of state and of paths say together."""
    return finished(Checker(long=[PathsCheck()]), net.cluster()).problems


def commands(problem: Problem) -> tuple[list[str], list[str]]:
    """Return what the problem says to run, to check and to fix it."""
    return [one.command for one in problem.check], [one.command for one in problem.fix]


def onlink(made: Made) -> None:
    """Set the flag that flannel's routes have."""
    for node in (ns for name, ns in made.items() if name.startswith("node-")):
        tunnel = node.named("flannel.1").ifindex
        node.lists["routes"] = [
            msgspec.structs.replace(
                route,
                nexthops=tuple(msgspec.structs.replace(hop, flags=RTNH_F_ONLINK) for hop in route.nexthops),
            )
            if any(hop.oif == tunnel and hop.gateway for hop in route.nexthops)
            else route
            for route in node.lists["routes"]
        ]


@pytest.mark.parametrize("nodes", [2, 3])
def test_over_a_tunnel_the_missing_route_leads_to_its_other_end(nodes: int) -> None:
    net, made = KINDS["flannel"](nodes, 2)
    onlink(made)
    made["node-1"].no_route("10.244.2.0/24")
    check, fix = commands(only(net))
    assert check[0].startswith("ip route get 10.244.2.11")
    assert fix == ["ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"]


def test_nobody_is_told_to_pass_by_a_tunnel_where_no_route_shows_how() -> None:
    net, made = KINDS["flannel"](2, 2)
    made["node-1"].no_route("10.244.2.0/24")
    made["node-2"].no_route("10.244.1.0/24")
    assert not any(problem.fix for problem in judged(net.cluster()).problems())


@pytest.mark.parametrize("nodes", [2, 3])
def test_over_one_underlay_the_missing_route_leads_to_the_node(nodes: int) -> None:
    net, made = KINDS["textbook"](nodes, 2)
    made["node-1"].no_route("10.1.2.0/24")
    check, fix = commands(only(net))
    assert check[0].startswith("ip route get 10.1.2.11")
    assert fix == ["ip route add 10.1.2.0/24 via 192.168.0.2"]


def test_a_route_that_refuses_packets_is_named_and_to_be_deleted() -> None:
    net, made = KINDS["textbook"](3, 2)
    made["node-1"].add("routes", Route(254, bytes((10, 1, 2, 0)), 25, type=RTN_BLACKHOLE))
    problem = only(net)
    assert problem.headline == (
        "node-1 has a blackhole route for 10.1.2.0/25, which catches packets to 10.1.2.11"
    )
    assert commands(problem)[1] == ["ip route del blackhole 10.1.2.0/25"]


def test_a_route_that_is_missing_in_both_families_is_one_problem() -> None:
    net, made = KINDS["textbook"](3, 2)
    for name in [name for name in made if name.startswith("node-")]:
        number = name[-1]
        made[name].addr("ens3", f"fd30::{number}/64")
        made[name].addr("cni0", f"fd44:{number}::1/64")
        for other in {"1", "2", "3"} - {number}:
            made[name].route(f"fd44:{other}::/64", f"fd30::{other}")
        for pod in ("1", "2"):
            made[f"pod-{number}-{pod}"].addr("eth0", f"fd44:{number}::1{pod}/64")
            made[f"pod-{number}-{pod}"].route("::/0", f"fd44:{number}::1")
    assert not everything(net)
    made["node-1"].no_route("10.1.2.0/24")
    made["node-1"].no_route("fd44:2::/64")
    (problem,) = everything(net)
    assert problem.headline == "node-1 has no route to node-2's pods, 10.1.2.0/24"
    assert problem.also == ("node-1 has no route to node-2's pods, fd44:2::/64",)
    assert commands(problem)[1] == [
        "ip route add 10.1.2.0/24 via 192.168.0.2",
        "ip route add fd44:2::/64 via fd30::2",
    ]


def test_a_pods_address_on_another_node_is_one_problem_and_no_filter_is_loosened() -> None:
    net, made = KINDS["textbook"](3, 2)
    made["node-1"].addr("lo", "10.1.2.11/32")
    node = made["node-1"]
    node.lists["addrs"] = [
        msgspec.structs.replace(one, scope=0) if one.addr == bytes((10, 1, 2, 11)) else one
        for one in node.lists["addrs"]
    ]
    (problem,) = everything(net)
    assert problem.kind == "duplicate-address"
    assert commands(problem)[1] == ["ip addr del 10.1.2.11/32 dev lo"]
    assert problem.affects.pairs


def test_a_node_that_forwards_nothing_is_one_problem() -> None:
    net, made = KINDS["textbook"](3, 2)
    forward_nothing(made["node-1"])
    (problem,) = everything(net)
    assert (problem.kind, problem.where.dev) == ("forwarding-off", "")
    assert problem.flow is not None


def test_a_pod_without_a_default_route_is_one_problem_whomever_it_doesnt_reach() -> None:
    net, made = KINDS["textbook"](3, 2)
    made["pod-1-1"].no_route("0.0.0.0/0")
    (problem,) = everything(net)
    assert problem.headline == "pod default/pod-1-1 has no IPv4 default route"
    assert len(problem.affects.pods) > 2

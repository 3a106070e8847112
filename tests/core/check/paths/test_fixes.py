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


def large(problem: Problem) -> tuple[int, int]:
    """How many pods a problem names, and how many pairs it affects."""
    return len(problem.affects.pods), problem.affects.pairs


def test_a_nic_that_takes_less_names_the_pods_behind_it_and_those_that_send_there() -> None:
    net, made = KINDS["textbook"](3, 2)
    made["node-2"].change("ens3", mtu=1400)
    (problem,) = everything(net)
    assert (problem.kind, *large(problem)) == ("mtu-on-wire", 6, 8)


def test_a_mac_of_two_nodes_is_one_problem_with_the_pods_of_both() -> None:
    net, made = KINDS["textbook"](3, 2)
    made["node-2"].change("ens3", mac=made["node-1"].named("ens3").mac)
    problem = next(one for one in everything(net) if one.kind == "shared-mac")
    assert {one.node for one in (problem.where, *problem.also_at)} == {"node-1", "node-2"}
    assert {"default/pod-1-1", "default/pod-2-2"} <= set(problem.affects.pods)
    assert problem.affects.pairs >= 8


def test_a_tunnel_with_another_vni_is_one_problem_and_all_that_fails_for_it_is_its() -> None:
    net, made = KINDS["flannel"](3, 2)
    info = made["node-1"].named("flannel.1").info
    assert info is not None
    made["node-1"].change("flannel.1", info=msgspec.structs.replace(info, vni=7))
    (problem,) = everything(net)
    assert (problem.kind, *large(problem)) == ("tunnel-mismatch", 6, 16)
    assert problem.flow is not None
    assert problem.also == ()


def test_who_is_affected_is_told_by_nodes_and_adds_up() -> None:
    net, made = KINDS["flannel"](3, 2)
    made["node-1"].no_route("10.244.2.0/24")
    (problem,) = everything(net)
    between = {(one.source, one.target): one.pairs for one in problem.affects.between}
    assert between == {("node-1, 2 pods", "node-2, 2 pods"): 4, ("node-2, 2 pods", "node-1, 2 pods"): 4}
    assert sum(between.values()) == problem.affects.pairs


def test_a_wrong_fact_elsewhere_takes_nothing_that_would_stay_without_it() -> None:
    """Two faults at one node: a route to one pod that isn't there, and none to another node's pods."""
    net, made = KINDS["textbook"](3, 2)
    made["node-1"].no_route("10.1.2.0/24")
    made["node-1"].route("10.1.3.11/32", dev="cni0")
    kinds = {problem.kind: problem for problem in everything(net)}
    assert set(kinds) == {"no-route", "leftover-route"}
    assert kinds["no-route"].affects.pairs == 8
    assert "default/pod-3-1" in kinds["leftover-route"].affects.pods


def test_a_port_is_told_where_it_is_blocked_and_not_where_another_has_its_name() -> None:
    """Two nodes' ports may have the same name."""
    net, made = KINDS["textbook"](2, 2)
    for pod in ("pod-1-1", "pod-2-1"):
        node = made[f"node-{pod[4]}"]
        end = node.named(f"veth-{pod}")
        node.links[end.ifindex] = msgspec.structs.replace(end, ifname="veth0")
    made["node-2"].port("veth0", state=4)
    (problem,) = judged(net.cluster()).problems()
    assert problem.headline == "Port veth0 of bridge cni0 on node-2 is blocking"

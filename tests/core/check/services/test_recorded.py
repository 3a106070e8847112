"""Services on a real cluster as it was recorded: intent and rules agree but where the rules really differ."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import NodeHealth
from netviz.core.check.services.check import ServicesCheck
from netviz.core.state.node import ClusterState, SectionStatus
from tests.core.check.judging import proper
from tests.core.check.services.recorded import CLUSTER, judged, recorded

# In iptables mode on n1 and n3, the CNI plugin `firewall` has a chain in FORWARD before kube-proxy's, and lets its pods'
# packets pass there: those to services without usable endpoints, too.
NOT_REFUSED = {
    "n1 doesn't refuse packets to 2 services without usable endpoints: shop/noeps and shop/web-itp",
    "n3 doesn't refuse packets to a service without usable endpoints: shop/noeps",
}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_intent_and_rules_differ_only_in_what_another_rule_lets_pass(moment: str) -> None:
    check = judged(recorded(moment))
    for problem in check.problems():
        proper(problem)
        assert problem.also[0].startswith("The rule in CNI-FORWARD: ip saddr")
    assert {problem.headline for problem in check.problems()} == NOT_REFUSED
    result = check.result()
    assert result is not None
    assert (result.result, result.reason) == ("fail", "")
    assert result.judged > 100


def test_a_state_that_is_the_same_again_is_traced_no_more() -> None:
    check = judged(recorded())
    traced = check.datapath.traced
    judged(recorded(), check)
    assert check.datapath.traced == traced
    root = recorded().nodes["n1"].root
    assert root is not None
    talks = msgspec.structs.replace(root, neighs={}, conntrack={}, counters={})
    node = msgspec.structs.replace(
        recorded().nodes["n1"], netns={**recorded().nodes["n1"].netns, root.key: talks}
    )
    judged(ClusterState({**recorded().nodes, "n1": node}, recorded().bodies, recorded().clusters), check)
    assert check.datapath.traced == traced


def test_nodes_with_the_same_rules_are_judged_once() -> None:
    """A fourth node with n2's rules costs nothing but what is asked of it by its name."""
    cluster = recorded()
    check = judged(cluster)
    traced = check.datapath.traced
    assert len(check.datapath.alike(cluster.nodes)) == 3
    twin = msgspec.structs.replace(cluster.nodes["n2"], node="n4")
    state = cluster.clusters[CLUSTER]
    nodes = {
        **state.objects.kube_nodes,
        "n4": msgspec.structs.replace(state.objects.kube_nodes["n2"], name="n4"),
    }
    state = msgspec.structs.replace(state, objects=msgspec.structs.replace(state.objects, kube_nodes=nodes))
    judged(ClusterState({**cluster.nodes, "n4": twin}, cluster.bodies, {CLUSTER: state}), check)
    assert ["n2", "n4"] in check.datapath.alike(["n1", "n2", "n3", "n4"])
    assert check.datapath.traced == traced


def _api(cluster: ClusterState, **status: SectionStatus) -> ClusterState:
    state = cluster.clusters[CLUSTER]
    state = msgspec.structs.replace(state, status={**state.status, **status})
    return ClusterState(cluster.nodes, cluster.bodies, {CLUSTER: state})


def test_a_list_that_is_not_whole_is_held_against_nobody() -> None:
    check = judged(_api(recorded(), endpoint_slices=SectionStatus(whole=False, reason="cut off")))
    result = check.result()
    assert result is not None
    assert (result.result, result.judged, *check.problems()) == ("unknown", 0)
    assert result.reason == "cluster default: endpoint_slices: cut off"


def test_a_cluster_without_services_has_nothing_to_judge() -> None:
    state = recorded().clusters[CLUSTER]
    state = msgspec.structs.replace(state, objects=msgspec.structs.replace(state.objects, services={}))
    result = judged(ClusterState(recorded().nodes, recorded().bodies, {CLUSTER: state})).result()
    assert result is not None
    assert (result.result, result.reason, result.judged) == ("nothing", "", 0)


def test_a_watcher_that_is_lost_leaves_it_undecided() -> None:
    check = ServicesCheck()
    checker = Checker((), (check,))
    checker.judge(recorded(), {f"cluster/{CLUSTER}": NodeHealth(connected=False)})
    while checker.work():
        pass
    assert not check.problems()
    result = check.result()
    assert result is not None
    assert result.reason == "the API of cluster default isn't watched"


def test_rules_that_are_not_known_whole_are_unknown() -> None:
    node = recorded().nodes["n2"]
    status = {**node.status, "nft_chains": SectionStatus(whole=False, reason="no permission")}
    changed = msgspec.structs.replace(node, status=status)
    check = judged(ClusterState({**recorded().nodes, "n2": changed}, recorded().bodies, recorded().clusters))
    assert {one.headline for one in check.problems()} == NOT_REFUSED
    result = check.result()
    assert result is not None
    assert "n2" in result.reason


def test_a_health_check_port_that_nothing_listens_at_is_found() -> None:
    cluster = recorded()
    root = cluster.nodes["n2"].root
    assert root is not None
    port = cluster.clusters[CLUSTER].objects.services["shop", "web-lb"].health_port
    left = {key: one for key, one in root.sockets.items() if one.sport != port}
    assert len(left) < len(root.sockets)
    node = msgspec.structs.replace(
        cluster.nodes["n2"],
        netns={**cluster.nodes["n2"].netns, root.key: msgspec.structs.replace(root, sockets=left)},
    )
    check = judged(ClusterState({**cluster.nodes, "n2": node}, cluster.bodies, cluster.clusters))
    (problem,) = (one for one in check.problems() if one.kind == "service-health-port")
    proper(problem)
    assert f"on n2 at port {port}" in problem.headline
    assert [where.node for where in (problem.where, *problem.also_at)] == ["n2"]

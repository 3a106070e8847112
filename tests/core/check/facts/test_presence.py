"""Pods that the API and the nodes don't agree on, and what is said while the API isn't known."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import NodeHealth, Report
from netviz.core.model.kubernetes import KubeNode, KubePod
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState, SectionStatus
from netviz.core.state.objects import Objects, cluster_source
from netviz.core.state.pods import joined
from tests.core.check.judging import proper
from tests.core.check.services.recorded import recorded
from tests.core.sim.build import textbook

SOURCE = cluster_source("default")


def cluster(*more: KubePod, without: str = "", whole: bool = True) -> ClusterState:
    """The textbook's cluster with an API that knows its nodes and pods, but for one; and `more`."""
    net, _ = textbook()
    state = net.cluster()
    pods = {
        (one.namespace, one.name): KubePod(one.namespace, one.name, node=name, phase="Running")
        for name, node in state.nodes.items()
        for ns in node.netns.values()
        if (one := ns.netns.pod) is not None and one.name != without
    }
    objects = Objects(
        kube_nodes={name: KubeNode(name) for name in state.nodes},
        kube_pods={**pods, **{one.key: one for one in more}},
    )
    status = {"kube_pods": SectionStatus(1.0, whole=whole, reason="" if whole else "pods: 403 Forbidden")}
    api = NodeState(SOURCE, status=status, objects=objects)
    return named(ClusterState(state.nodes, state.bodies, {"default": api}))


def judged(state: ClusterState, **health: NodeHealth) -> Report:
    return Checker().judge(state, health)


def check(report: Report, name: str = "presence") -> tuple[str, int]:
    found = next(one for one in report.results if one.name == name)
    return found.result, found.judged


def test_pods_that_both_know_are_right() -> None:
    report = judged(cluster())
    assert not report.problems
    assert check(report)[0] == check(report, "kubernetes-api")[0] == "pass"
    assert check(report)[1] > 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_pod_of_a_recorded_cluster_is_joined(moment: str) -> None:
    state = recorded(moment)
    pods = state.clusters["default"].objects.kube_pods
    shown = {key: netns for node in state.nodes.values() for key, netns in joined(node).items()}
    own = {key: pod for key, pod in pods.items() if not pod.host_network}
    assert len(own) >= 15
    for key, pod in own.items():
        ns = state.nodes[pod.node].netns[shown[key]]
        assert set(pod.ips) <= {addr.addr for addr in ns.addrs.values()}
    assert [one.kind for one in judged(state).problems if one.kind.startswith("pod-")] == []


def test_nothing_is_said_without_an_api() -> None:
    report = judged(textbook()[0].cluster())
    assert check(report) == ("nothing", 0)
    assert "kubernetes-api" not in {one.name for one in report.results}


@pytest.mark.parametrize(("phase", "grace_s"), [("Running", 20.0), ("Pending", 60.0)])
def test_a_pod_that_no_node_shows(phase: str, grace_s: float) -> None:
    lost = KubePod("shop", "lost", uid="u", node="node-1", phase=phase, waits="app: ContainerCreating")
    (problem,) = judged(cluster(lost)).problems
    proper(problem)
    assert (problem.kind, problem.grace_s, problem.affects.pods) == ("pod-not-shown", grace_s, ("shop/lost",))
    assert (SOURCE, "kube_pods") in problem.rests_on


@pytest.mark.parametrize(
    "change", [{"host_network": True}, {"phase": "Succeeded"}, {"deleting": True}, {"node": ""}]
)
def test_pods_that_need_no_namespace(change: dict[str, object]) -> None:
    one = KubePod("shop", "p", node="node-1", phase="Running")
    assert not judged(cluster(msgspec.structs.replace(one, **change))).problems


def test_a_namespace_whose_pod_the_api_forgot() -> None:
    (problem,) = judged(cluster(without="pod-1-1")).problems
    proper(problem)
    assert (problem.kind, problem.affects.pods) == ("pod-not-in-api", ("default/pod-1-1",))


def test_while_the_api_isnt_known_nothing_is_judged() -> None:
    lost = KubePod("shop", "lost", node="node-1", phase="Running")
    for report in (
        judged(cluster(lost, whole=False)),
        Checker().judge(cluster(lost), {SOURCE: NodeHealth(connected=False)}),
    ):
        assert check(report)[0] == "unknown"
        (problem,) = report.problems
        assert problem.kind in ("watcher-lost", "watcher-incomplete")
        assert len(problem.headline.split()) <= 20
    checker = Checker()
    checker.judge(cluster(lost), {SOURCE: NodeHealth(connected=False)})
    assert [one.kind for one in checker.judge(cluster(lost), {}).problems] == ["pod-not-shown"]

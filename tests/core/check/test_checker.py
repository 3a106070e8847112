"""The checker follows the cluster: what it says of a state is the same, however it came there."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netviz.core.check.checker import Checker, changed_sections
from netviz.core.check.fact import Fact, Look
from netviz.core.check.facts import FACTS
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.problem import NodeHealth, Problem, Report, Where
from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_DST_NAT, CtEntry
from netviz.core.model.kubernetes import KubeNode
from netviz.core.model.netns import Gap
from netviz.core.state.delta import apply, diff
from netviz.core.state.node import ClusterState, NodeState, SectionStatus
from netviz.core.state.objects import Objects
from tests.core.check.facts.test_tunnels import flannel
from tests.core.check.judging import finished, judge, only
from tests.core.sim.build import Net, Ns, textbook


def result(report: Report, name: str) -> str:
    return next(one.result for one in report.results if one.name == name)


def reason(report: Report, name: str) -> str:
    return next(one.reason for one in report.results if one.name == name)


def with_status(cluster: ClusterState, node: str, section: str, status: SectionStatus | None) -> ClusterState:
    state = cluster.nodes[node]
    statuses = {name: one for name, one in state.status.items() if name != section}
    if status is not None:
        statuses[section] = status
    return ClusterState({**cluster.nodes, node: msgspec.structs.replace(state, status=statuses)})


def duplicated() -> Net:
    net, made = textbook()
    made["pod-2-1"].addr("eth0", "10.1.1.11/24")
    return net


def test_a_sound_network_has_no_problem_and_everything_is_judged() -> None:
    report = judge(textbook()[0])
    assert report.problems == ()
    assert {one.name for one in report.results if one.result == "unknown"} == {
        "drops"
    }  # counters were read once
    assert "fail" not in {one.result for one in report.results}
    assert all(
        (one.judged == 0) == (one.result == "nothing") for one in report.results if one.name != "drops"
    )
    assert {"presence", "tunnels"} < {one.name for one in report.results if one.result == "nothing"}
    assert len(report.results) == len(FACTS)
    assert all(one.demands.endswith(".") for one in report.results)
    assert report.pods == 4


def test_what_is_said_of_a_state_doesnt_depend_on_how_it_came_there() -> None:
    states = [textbook()[0].cluster(), duplicated().cluster(), ClusterState(), textbook(3, 1)[0].cluster()]
    checker = Checker()
    for state in (*states, *reversed(states)):
        assert finished(checker, state) == judge(state)


# What may happen to a cluster, one thing after the other: each does or undoes it.
CHANGES: list[Callable[[Net, dict[str, Ns]], object]] = [
    lambda net, made: made["pod-2-1"].addr("eth0", "10.1.1.11/24"),
    lambda net, made: del_last(made["pod-2-1"]),
    lambda net, made: made["node-1"].change("ens3", mtu=1400),
    lambda net, made: made["node-1"].change("ens3", mtu=1500),
    lambda net, made: made["node-1"].change("ens3", mac=made["node-2"].named("ens3").mac),
    lambda net, made: made["node-1"].change("ens3", mac=b"\x02\0\0\0\x0f\x0f"),
    lambda net, made: made["node-1"].neigh("ens3", "192.168.0.2", "0a:58:00:00:00:99"),
    lambda net, made: made["node-2"].route("10.1.1.12/32", dev="cni0"),
    lambda net, made: made["node-2"].no_route("10.1.1.12/32"),
    lambda net, made: made["node-1"].conntrack(to_nobody()),
    lambda net, made: made["node-2"].change("veth-pod-2-1", xdp=1),
    lambda net, made: net.nodes.pop("node-3", None),
    lambda net, made: setattr(made["pod-2-2"], "gaps", (Gap("addrs", "it went away"),)),
    lambda net, made: setattr(made["pod-2-2"], "gaps", ()),
]


def del_last(ns: Ns) -> None:
    del ns.lists["addrs"][3:]  # what was added beyond its first three


def to_nobody() -> CtEntry:
    pod, service, gone = pack_ip("10.1.1.11"), pack_ip("10.96.0.10"), pack_ip("10.1.2.12")
    return CtEntry(17, pod, service, 4000, 53, gone, pod, 53, 4000, status=IPS_DST_NAT)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(CHANGES), max_size=12))
def test_following_changes_says_what_judging_anew_does(
    changes: list[Callable[[Net, dict[str, Ns]], object]],
) -> None:
    net, made = textbook(3)
    state, checker = net.cluster(), Checker()
    checker.judge(state)
    for change in changes:
        change(net, made)
        state = follow(state, net)
        assert finished(checker, state) == judge(state)


def follow(state: ClusterState, net: Net) -> ClusterState:
    """The net's state now, which shares with the one before what didn't change."""
    nodes = net.cluster().nodes
    return ClusterState(
        {
            name: apply(state.nodes[name], diff(state.nodes[name], node)) if name in state.nodes else node
            for name, node in nodes.items()
        }
    )


def test_answers_that_change_are_asked_for_again_alone() -> None:
    net, made = flannel(3)
    for node, other in ((0, 1), (0, 2), (2, 1)):
        made[node].neigh("flannel.1", f"10.1.{other + 1}.0", made[other].named("flannel.1").mac)
    state, checker = net.cluster(), Checker()
    assert finished(checker, state).problems == ()
    right = made[1].named("flannel.1").mac
    for mac, wrong in ((b"\x02\0\0\0\x0f\x0f", {"node-1", "node-3"}), (right, set())):
        made[1].change("flannel.1", mac=mac)
        state = follow(state, net)
        found = finished(checker, state)
        assert found == judge(state)
        assert {p.where.node for p in found.problems if p.kind == "wrong-neighbour"} == wrong


def test_a_node_whose_state_is_the_same_is_not_looked_at_again() -> None:
    looked: list[str] = []

    def find(look: Look) -> list[Problem]:
        looked.append(look.node.node)
        return []

    checker = Checker([Fact("one", "Nothing.", "nodes", (), ("links",), find)])
    net, made = textbook()
    first = net.cluster()
    checker.judge(first)
    assert sorted(looked) == ["node-1", "node-2"]
    looked.clear()
    made["node-1"].change("cni0", mtu=1400)
    second = ClusterState({**first.nodes, "node-1": net.cluster().nodes["node-1"]})
    checker.judge(second)
    assert looked == ["node-1"]


def test_a_problem_is_gone_when_its_cause_is_or_its_node() -> None:
    checker = Checker()
    net = duplicated()
    assert [p.kind for p in checker.judge(net.cluster()).problems] == ["duplicate-address"]
    assert checker.judge(textbook()[0].cluster()).problems == ()
    both = net.cluster()
    assert len(checker.judge(both).problems) == 1
    assert checker.judge(ClusterState({"node-1": both.nodes["node-1"]})).problems == ()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "node-2: addrs: not read yet"),
        (SectionStatus(1.0, whole=False, reason="no permission"), "node-2: addrs: no permission"),
        (SectionStatus(1.0, past=True), "node-2: addrs: not kept in the journal"),
    ],
)
def test_a_check_that_needs_a_section_that_isnt_whole_says_unknown(
    status: SectionStatus | None, said: str
) -> None:
    report = judge(with_status(textbook()[0].cluster(), "node-2", "addrs", status))
    assert result(report, "addresses") == "unknown"
    assert reason(report, "addresses") == said


def test_a_gap_in_one_namespace_leaves_the_others_judged() -> None:
    net, made = textbook()
    made["pod-2-1"].gaps = (Gap("addrs", "it went away"),)
    whole, partial = judge(textbook()[0]), judge(net)
    assert result(partial, "pod links") == "unknown"
    assert reason(partial, "pod links") == "default/pod-2-1 on node-2: addrs: it went away"
    judged = (
        {one.name: one.judged for one in whole.results},
        {one.name: one.judged for one in partial.results},
    )
    assert judged[0]["pod links"] == judged[1]["pod links"] + 1


def test_a_check_that_fails_on_a_node_takes_no_other_node_down() -> None:
    def find(look: Look) -> list[Problem]:
        if look.node.node == "node-1":
            raise ZeroDivisionError("by\nzero")
        look.judged = 1
        return [Problem("k", look.node.node, "error", "at risk", "h", "c", Where(look.node.node))]

    report = Checker([Fact("one", "Nothing.", "nodes", ("k",), ("links",), find)]).judge(
        textbook()[0].cluster()
    )
    assert [(p.kind, p.cause) for p in report.problems] == [("k", "node-2"), ("not-understood", "node-1")]
    assert report.problems[1].consequence.endswith("ZeroDivisionError: by\\nzero")
    assert reason(report, "one") == "node-1 is not understood"


def test_a_lost_collector_is_a_problem_and_puts_all_that_rests_on_it_in_doubt() -> None:
    lost = {"node-2": NodeHealth(connected=False, silent_s=40.0)}
    checker = Checker()
    checker.judge(duplicated().cluster())
    report = checker.judge(duplicated().cluster(), lost)
    kinds = {p.kind: p for p in report.problems}
    assert set(kinds) == {"collector-lost", "duplicate-address"}
    assert kinds["duplicate-address"].doubts == ("node-2's collector is not connected",)
    assert {one.result for one in report.results} == {"fail", "unknown"}
    assert judge(textbook()[0], lost).problems[0].where.node == "node-2"
    assert result(judge(textbook()[0], lost), "addresses") == "unknown"
    assert checker.judge(duplicated().cluster()).problems[0].doubts == ()


def test_a_check_that_takes_long_hasnt_passed_either_while_a_collector_is_lost() -> None:
    checker = Checker((), (PathsCheck(),))
    state = textbook(2, 1)[0].cluster()
    assert [one.result for one in finished(checker, state).results] == ["pass"]
    lost = checker.judge(state, {"node-2": NodeHealth(connected=False)}).results
    assert [(one.result, one.reason) for one in lost] == [("unknown", "node-2's collector is not connected")]


def test_a_silence_that_grows_changes_no_problem() -> None:
    checker = Checker()
    state = textbook()[0].cluster()
    reports = [checker.judge(state, {"node-1": NodeHealth(False, silent_s)}) for silent_s in (1.0, 2.0)]
    assert reports[0] == reports[1]


def test_late_sections_and_unreadable_ones_are_told() -> None:
    state = textbook()[0].cluster()
    late = judge(state, {"node-1": NodeHealth(late=("sockets",))}).problems
    assert [p.headline for p in late] == ["node-1's collector is late with sockets"]
    unread = with_status(state, "node-1", "ipsets", SectionStatus(1.0, whole=False, reason="no permission"))
    assert only(unread).headline == "node-1's collector can't read all of ipsets"


def test_a_collector_that_never_sent_anything_is_told() -> None:
    report = judge(textbook()[0], {"node-9": NodeHealth(connected=False)})
    assert [p.cause for p in report.problems] == ["node-9"]
    assert "node-9: addrs: not read yet" in reason(report, "addresses")


def test_a_collector_that_never_connected_is_told_once_and_leaves_other_checks_alone() -> None:
    checker, state = Checker(FACTS, (PathsCheck(),)), textbook(2, 1)[0].cluster()
    before = {one.name: one.result for one in finished(checker, state).results}
    awaited = {"node-9": NodeHealth(connected=False, awaited=True)}
    report = checker.judge(state, awaited)
    (problem,) = report.problems
    assert (problem.kind, problem.severity, problem.where.node) == ("collector-awaited", "warning", "node-9")
    assert problem.headline == "node-9 has been enrolled, but its collector has not connected yet"
    assert {one.name: one.result for one in report.results} == {**before, "collectors": "fail"}
    listed = NodeState("cluster/default", objects=Objects(kube_nodes={"node-9": KubeNode("node-9")}))
    known = ClusterState(state.nodes, state.bodies, {"default": listed})
    assert (
        reason(finished(checker, known, awaited), "paths") == f"{problem.headline}: nothing there is checked"
    )
    assert reason(finished(checker, known), "paths") == "no collector shows node-9"
    lost = checker.judge(state, {"node-9": NodeHealth(connected=False)})
    assert "node-9: addrs: not read yet" in reason(lost, "addresses")
    assert checker.judge(state, awaited).results == report.results


def test_a_state_that_the_server_cant_use_is_told() -> None:
    report = judge(textbook()[0], {"node-1": NodeHealth(fault="KeyError: 7")})
    assert [(p.kind, p.cause) for p in report.problems] == [("not-understood", "node-1")]
    assert result(report, "ranges") == "unknown"


def test_only_sections_that_differ_count_as_changed() -> None:
    net, made = textbook()
    old = net.cluster().nodes["node-1"]
    made["node-1"].change("cni0", mtu=1400)
    root = made["node-1"].build()
    same = msgspec.structs.replace(old.netns[root.key], links=root.links)
    new = msgspec.structs.replace(old, netns={**old.netns, root.key: same})
    assert changed_sections(old, new) == {"links"}
    status = {**old.status, "links": SectionStatus(9.0)}
    assert changed_sections(old, msgspec.structs.replace(old, status=status)) == frozenset()


def test_a_macvlan_pod_isnt_held_to_reach_its_own_node_which_it_never_does() -> None:
    net = Net()
    for n in (1, 2):
        node = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        net.macvlan(node, f"pod-{n}", "ens3", f"192.168.0.1{n}/24")
    assert [
        problem.headline for problem in finished(Checker((), (PathsCheck(),)), net.cluster()).problems
    ] == []

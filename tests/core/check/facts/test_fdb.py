"""Static forwarding entries of bridges that contradict where a pod is."""

from __future__ import annotations

import pytest

from netviz.core.model.l2 import NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE
from tests.core.check.judging import kinds, only
from tests.core.sim.build import textbook


def test_an_entry_that_leads_to_another_port() -> None:
    net, made = textbook()
    made["node-1"].fdb("veth-pod-1-2", made["pod-1-1"].named("eth0").mac, NUD_NOARP)
    problem = only(net)
    assert (
        problem.headline
        == "a static entry of cni0 on node-1 sends what is for default/pod-1-1 to veth-pod-1-2, not to veth-pod-1-1"
    )
    assert (problem.where.node, problem.where.dev) == ("node-1", "veth-pod-1-2")
    assert problem.fix[0].command.endswith("dev veth-pod-1-2 master static")


@pytest.mark.parametrize(
    ("port", "state"),
    [("veth-pod-1-1", NUD_NOARP), ("veth-pod-1-2", NUD_REACHABLE), ("veth-pod-1-2", NUD_PERMANENT)],
)
def test_a_right_entry_a_learned_one_and_a_local_one_are_no_problem(port: str, state: int) -> None:
    net, made = textbook()
    made["node-1"].fdb(port, made["pod-1-1"].named("eth0").mac, state)
    assert kinds(net) == []

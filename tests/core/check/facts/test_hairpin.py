"""A bridge port without hairpin mode among others that have it."""

from __future__ import annotations

from tests.core.check.judging import kinds, only
from tests.core.sim.build import textbook


def test_one_port_without() -> None:
    net, made = textbook(1, 3)
    for pod in ("pod-1-1", "pod-1-3"):
        made["node-1"].port(f"veth-{pod}", hairpin=True)
    problem = only(net)
    assert (
        problem.headline
        == "veth-pod-1-2 of default/pod-1-2 on node-1 has no hairpin mode, unlike the other ports of cni0"
    )
    assert problem.fix[0].command == "bridge link set dev veth-pod-1-2 hairpin on"


def test_a_bridge_without_hairpin_and_one_port_with_it_are_no_problem() -> None:
    net, made = textbook(1, 3)
    made["node-1"].port("veth-pod-1-1", hairpin=True)
    assert kinds(net) == []

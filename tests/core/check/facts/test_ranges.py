"""Pods' ranges of two nodes that overlap are a problem, unless the bridge leads out of the node."""

from __future__ import annotations

from tests.core.check.judging import kinds, only, problems
from tests.core.sim.build import Net, Ns


def cluster(*ranges: str) -> tuple[Net, list[Ns]]:
    """A node with one pod for each range."""
    net = Net()
    nodes = []
    for number, cidr in enumerate(ranges, 1):
        node = net.node(f"node-{number}")
        node.nic("ens3", f"192.168.0.{number}/24")
        node.bridge("cni0", cidr)
        net.pod(node, f"pod-{number}", "cni0")
        nodes.append(node)
    return net, nodes


def test_ranges_of_their_own_are_no_problem() -> None:
    net, _ = cluster("10.1.0.1/24", "10.1.1.1/24", "10.1.2.1/23")
    assert kinds(net) == []


def test_a_bridge_that_has_another_nodes_range() -> None:
    net, _ = cluster("10.1.1.1/24", "10.1.1.2/24")
    problem = only(net)
    assert problem.key == "overlapping-ranges:node-2:10.1.1.0/24"
    assert (
        problem.headline
        == "cni0 on node-2 has the range 10.1.1.0/24 for its pods, but node-1 has the same range"
    )
    assert (problem.where.node, problem.where.dev) == ("node-2", "cni0")


def test_each_range_is_named_once() -> None:
    net, _ = cluster("10.1.0.1/16", "10.1.1.1/24", "10.1.2.1/24", "10.2.0.1/16", "fd00::1/64")
    assert [p.cause for p in problems(net)] == ["node-2:10.1.1.0/24", "node-3:10.1.2.0/24"]


def test_a_bridge_with_the_nic_as_a_port_may_be_shared() -> None:
    net, nodes = cluster("10.1.1.1/24", "10.1.1.2/24")
    for node in nodes:
        node.change("ens3", master=node.named("cni0").ifindex)
    assert kinds(net) == []

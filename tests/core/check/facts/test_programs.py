"""A program on one link that its like don't have."""

from __future__ import annotations

from tests.core.check.judging import kinds, only
from tests.core.sim.build import textbook


def test_an_xdp_program_on_one_pods_link() -> None:
    net, made = textbook(1, 3)
    made["node-1"].change("veth-pod-1-2", xdp=2)
    problem = only(net)
    assert problem.headline == "veth-pod-1-2 on node-1 has an XDP program, most of its 3 pod links have none"
    assert problem.fix[0].command == "ip link set veth-pod-1-2 xdp off"
    assert (problem.harm, problem.affects.pods) == ("not known", ("default/pod-1-2",))


def test_a_tc_hook_on_one_nodes_nic() -> None:
    net, made = textbook(3, 1)
    made["node-2"].change("ens3", tc=("clsact",))
    problem = only(net)
    assert (problem.where.node, problem.where.dev) == ("node-2", "ens3")
    assert problem.check[0].command == "tc filter show dev ens3 ingress"


def test_programs_on_all_links_are_how_the_network_works() -> None:
    net, made = textbook(2, 2)
    for node, spaces in net.nodes.items():
        for name in ("ens3", *(f"veth-pod-{node[-1]}-{p}" for p in (1, 2))):
            spaces[0].change(name, tc=("clsact",))
    assert made
    assert kinds(net) == []

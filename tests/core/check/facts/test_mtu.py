"""MTUs that differ where nobody tells the sender; where ICMP does, it is a risk."""

from __future__ import annotations

from netviz.core.check.problem import Problem
from tests.core.check.judging import kinds, only, problems
from tests.core.sim.build import Net, textbook


def by_kind(net: Net) -> dict[str, Problem]:
    return {problem.kind: problem for problem in problems(net)}


def test_a_host_end_that_takes_less_than_the_pod_sends() -> None:
    net, made = textbook()
    made["node-1"].change("veth-pod-1-1", mtu=1400)
    made["node-1"].change("cni0", mtu=1400)  # it follows its smallest port
    problem = only(net)
    assert (
        problem.headline
        == "veth-pod-1-1 on node-1 has MTU 1400, but eth0 of default/pod-1-1 at its other end has 1500"
    )
    assert "that default/pod-1-1 sends are lost" in problem.consequence
    assert problem.fix[0].command == "ip link set veth-pod-1-1 mtu 1500"


def test_a_pod_that_takes_less_than_its_host_end_sends() -> None:
    net, made = textbook()
    made["pod-1-1"].change("eth0", mtu=1400)
    assert "that is sent to default/pod-1-1 are lost" in only(net).consequence


def test_pods_of_one_bridge_with_different_mtus() -> None:
    net, made = textbook(1, 3)
    made["node-1"].change("veth-pod-1-2", mtu=1400)
    made["pod-1-2"].change("eth0", mtu=1400)
    problem = only(net)
    assert problem.kind == "mtu-on-bridge"
    assert problem.headline == "default/pod-1-2 on node-1 has MTU 1400, the other pods on cni0 have 1500"


def test_a_nic_unlike_the_others_on_its_wire() -> None:
    net, made = textbook(3)
    made["node-2"].change("ens3", mtu=1400)
    problem = only(net)
    assert problem.headline == "ens3 on node-2 has MTU 1400, 2 other nodes on 192.168.0.0/24 have 1500"
    assert "What is sent to node-2 in packets of more than 1400 bytes" in problem.consequence
    assert problem.certainty == "likely"


def test_a_larger_nic_sends_what_the_others_dont_take() -> None:
    net, made = textbook(3)
    made["node-2"].change("ens3", mtu=9000)
    assert "What is sent to the others in packets of more than 1500 bytes" in only(net).consequence


def test_nics_that_all_take_less_than_pods_send_are_a_risk() -> None:
    net, made = textbook(2)
    for node in ("node-1", "node-2"):
        made[node].change("ens3", mtu=1400)
    assert kinds(net) == ["mtu-at-router"] * 2


def tunnelled(mtu: int = 1450, pods: int = 1450) -> Net:
    net = Net()
    for n in (1, 2):
        node = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.bridge("cni0", f"10.1.{n}.1/24", mtu=pods)
        node.vxlan("flannel.1", 1, f"192.168.0.{n}", f"10.1.{n}.0/32", mtu=mtu)
        node.route(f"10.1.{3 - n}.0/24", f"10.1.{3 - n}.0", dev="flannel.1")
        net.pod(node, f"pod-{n}", "cni0", f"10.1.{n}.2/24", via=f"10.1.{n}.1", mtu=pods)
    return net


def test_a_tunnel_with_room_for_its_headers_is_no_problem() -> None:
    assert kinds(tunnelled()) == []


def test_a_tunnel_that_promises_more_than_its_wire_has_room_for() -> None:
    net = tunnelled(1500, 1500)
    assert set(kinds(net)) == {"mtu-under-tunnel"}
    assert by_kind(net)["mtu-under-tunnel"].headline.endswith("but ens3 below it has room for 1450")


def test_pods_that_send_more_than_their_tunnel_takes_are_a_risk() -> None:
    problem = by_kind(tunnelled(1450, 1500))["mtu-at-router"]
    assert problem.headline.endswith("has MTU 1450, the node's pods have 1500")
    assert (problem.severity, problem.harm) == ("warning", "at risk")


def test_a_bridge_that_was_set_smaller_than_its_ports_is_a_risk() -> None:
    net, made = textbook(1)
    made["node-1"].change("cni0", mtu=1400)
    assert only(net).headline == "cni0 on node-1 has MTU 1400, the node's pods have 1500"

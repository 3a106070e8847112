"""Routes to single addresses that lead where a pod once was."""

from __future__ import annotations

from netviz.core.model.netns import Pod
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, Ns, textbook


def test_a_route_by_a_veth_that_somebody_left_behind() -> None:
    net, made = textbook()
    node = made["node-2"]
    net.veth(node, "left0", node, "left1")
    node.route("10.1.1.11/32", dev="left0")
    problem = only(net)
    assert (
        problem.headline
        == "node-2 has a leftover route to default/pod-1-1 (10.1.1.11) by left0, but the pod is on node-1"
    )
    assert (problem.where.node, problem.where.dev) == ("node-2", "left0")
    assert problem.fix[0].command == "ip route del 10.1.1.11/32 dev left0".replace("/32", "")


def test_a_route_by_a_bridge_that_only_pods_hang_on() -> None:
    net, made = textbook()
    made["node-2"].route("10.1.1.11/32", dev="cni0")
    assert only(net).where.dev == "cni0"


def routed(*addrs: str) -> tuple[Net, Ns, list[Ns]]:
    net = Net()
    node = net.node("node-1")
    pods = []
    for number, addr in enumerate(addrs):
        pod = net.netns("node-1", f"pod-{number}", pod=Pod(f"pod-{number}", "default"))
        net.veth(pod, "eth0", node, f"cali{number}")
        node.conf4(f"cali{number}", proxy_arp=1)
        pod.addr("eth0", f"{addr}/32")
        node.route(f"{addr}/32", dev=f"cali{number}")
        pods.append(pod)
    return net, node, pods


def test_routes_to_pods_by_their_own_veth_or_their_node_are_right() -> None:
    net, node, _ = routed("10.1.1.11", "10.1.1.12")
    node.nic("ens3", "192.168.0.1/24")
    other = net.node("node-2")
    other.nic("ens3", "192.168.0.2/24")
    other.route("10.1.1.11/32", "192.168.0.1")
    assert kinds(net) == []


def test_a_route_to_a_pod_by_another_pods_veth() -> None:
    net, node, _ = routed("10.1.1.11", "10.1.1.12")
    node.no_route("10.1.1.11/32")
    node.route("10.1.1.11/32", dev="cali1")
    assert only(net).headline.endswith("by cali1, but the pod isn't there")


def test_a_route_to_an_address_that_nobody_has_any_more() -> None:
    net, node, _ = routed("10.1.1.11")
    node.route("10.1.1.99/32", dev="cali0")
    problem = only(net)
    assert problem.headline == "node-1 has a leftover route to 10.1.1.99 by cali0: no pod has that address"
    assert (problem.severity, problem.harm) == ("warning", "at risk")


def test_a_second_address_or_link_of_the_pod_is_no_leftover() -> None:
    net, node, (pod,) = routed("10.1.1.11")
    pod.addr("lo", "10.1.1.50/32")
    node.route("10.1.1.50/32", dev="cali0")
    assert kinds(net) == []

"""Permanent neighbour entries that contradict who has the address, wherever the link leads; the machine with the entry is to blame."""

from __future__ import annotations

from netviz.core.model.addr import format_mac
from netviz.core.model.l2 import NUD_REACHABLE
from netviz.core.model.netns import Pod
from tests.core.check.facts.test_mtu import tunnelled
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, textbook

WRONG = "0a:58:00:00:00:99"


def test_a_node_with_a_wrong_entry_for_another_node() -> None:
    net, made = textbook()
    made["node-1"].neigh("ens3", "192.168.0.2", WRONG)
    problem = only(net)
    assert (
        problem.headline
        == "node-1 has a permanent neighbour entry for 192.168.0.2 (node-2) on ens3 with a wrong MAC address"
    )
    assert (problem.where.node, problem.where.dev) == ("node-1", "ens3")
    assert problem.fix[0].command == "ip neigh del 192.168.0.2 dev ens3"
    assert (problem.affects.pairs, len(problem.affects.pods)) == (8, 4)


def test_a_right_entry_a_learned_one_and_one_for_a_stranger_are_no_problem() -> None:
    net, made = textbook()
    made["node-1"].neigh("ens3", "192.168.0.2", made["node-2"].named("ens3").mac)
    made["node-2"].neigh("ens3", "192.168.0.1", WRONG, NUD_REACHABLE)
    made["node-1"].neigh("ens3", "192.168.0.254", WRONG)
    assert kinds(net) == []


def test_a_pod_with_a_wrong_entry_for_its_gateway() -> None:
    net, made = textbook()
    made["pod-1-1"].neigh("eth0", "10.1.1.1", WRONG)
    problem = only(net)
    assert (problem.where.netns, problem.where.dev) == ("default/pod-1-1", "eth0")
    assert (
        problem.check[0].command == "nsenter --net=/run/netns/node-1-pod-1-1 ip neigh show 10.1.1.1 dev eth0"
    )
    assert problem.affects.pods == ("default/pod-1-1",)


def test_a_pod_with_a_wrong_entry_for_a_pod_of_its_bridge() -> None:
    net, made = textbook()
    made["pod-1-1"].neigh("eth0", "10.1.1.12", WRONG)
    assert only(net).affects.pods == ("default/pod-1-1", "default/pod-1-2")


def test_a_node_with_a_wrong_entry_for_its_pod() -> None:
    net, made = textbook()
    made["node-1"].neigh("cni0", "10.1.1.11", WRONG)
    assert (only(net).where.netns, only(net).where.dev) == ("", "cni0")


def test_a_pod_without_a_bridge_hears_its_host_end_alone() -> None:
    net = Net()
    node = net.node("node-1")
    pod = net.netns("node-1", "web", pod=Pod("web", "default"))
    net.veth(pod, "eth0", node, "cali1")
    node.conf4("cali1", proxy_arp=1)
    pod.addr("eth0", "10.1.1.11/32")
    pod.route("169.254.1.1/32", dev="eth0")
    pod.route("0.0.0.0/0", "169.254.1.1", dev="eth0")
    pod.neigh("eth0", "169.254.1.1", node.named("cali1").mac)
    assert kinds(net) == []
    pod.lists["neighs"].clear()
    pod.neigh("eth0", "169.254.1.1", WRONG)
    assert only(net).kind == "wrong-neighbour"


def test_a_tunnel_with_a_wrong_entry_for_its_other_end() -> None:
    net = tunnelled()
    ends = [ns for spaces in net.nodes.values() for ns in spaces if ns.root]
    right = ends[1].named("flannel.1").mac
    ends[0].neigh("flannel.1", "10.1.2.0", right)
    assert kinds(net) == []
    ends[0].lists["neighs"].clear()
    ends[0].neigh("flannel.1", "10.1.2.0", WRONG)
    command = only(net).fix[0].command
    assert command == f"ip neigh replace 10.1.2.0 lladdr {format_mac(right)} dev flannel.1 nud permanent"


def test_a_macvlan_with_another_entry_for_its_router_than_its_neighbours_have_learned() -> None:
    net = Net()
    node = net.node("node-1")
    node.nic("ens3", "192.168.0.1/24")
    pods = [net.macvlan(node, f"pod-{n}", "ens3", f"192.168.0.1{n}/24") for n in (1, 2)]
    node.neigh("ens3", "192.168.0.254", "02:00:00:00:0f:0f", NUD_REACHABLE)
    pods[0].neigh("eth0", "192.168.0.254", WRONG)
    problem = only(net)
    assert (problem.certainty, problem.where.netns) == ("likely", "default/pod-1")
    assert problem.consequence.endswith("node-1 has learned 02:00:00:00:0f:0f.")

"""A pod's link that is down at one of its ends, or ends where its gateway isn't."""

from __future__ import annotations

from netviz.core.model.l3 import Addr
from netviz.core.model.link import BR_STATE_BLOCKING
from netviz.core.model.netns import Pod
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, textbook


def test_the_host_end_is_down() -> None:
    net, made = textbook()
    made["node-1"].down("veth-pod-1-1")
    made["pod-1-1"].change("eth0", flags=made["pod-1-1"].named("eth0").flags & ~0x10000)
    problem = only(net)
    assert problem.headline == "veth-pod-1-1 on node-1, the host end of default/pod-1-1's eth0, is down"
    assert (problem.where.node, problem.where.netns, problem.where.dev) == ("node-1", "", "veth-pod-1-1")
    assert [one.command for one in problem.fix] == ["ip link set veth-pod-1-1 up"]
    assert problem.affects.pods == ("default/pod-1-1",)


def test_the_pods_end_is_down() -> None:
    net, made = textbook()
    made["pod-1-1"].down("eth0")
    problem = only(net)
    assert problem.headline == "eth0 of default/pod-1-1 on node-1 is down"
    assert problem.where.netns == "default/pod-1-1"
    assert problem.fix[0].command == "nsenter --net=/run/netns/node-1-pod-1-1 ip link set eth0 up"


def test_a_pod_without_a_link() -> None:
    net, made = textbook()
    pod = net.netns("node-1", "bare", pod=made["pod-1-1"].pod)
    assert pod.links
    assert only(net).headline == "default/pod-1-1 on node-1 has no link but its loopback"
    assert only(net).grace_s > 0


def test_a_port_that_blocks() -> None:
    net, made = textbook()
    made["node-1"].port("veth-pod-1-1", state=BR_STATE_BLOCKING)
    assert only(net).kind == "bridge-port-blocked"


def test_a_host_end_on_another_bridge_than_its_gateway() -> None:
    net, made = textbook()
    node = made["node-1"]
    node.bridge("cni1")
    node.change("veth-pod-1-1", master=node.named("cni1").ifindex)
    problem = only(net)
    assert (
        problem.headline
        == "veth-pod-1-1 of default/pod-1-1 on node-1 is a port of cni1, but its gateway 10.1.1.1 is at cni0"
    )
    assert problem.fix[0].command == "ip link set veth-pod-1-1 master cni0"


def old_range(addr: str = "10.9.0.1/24") -> tuple[Net, dict]:  # type: ignore[type-arg]
    net, made = textbook()
    node = made["node-1"]
    bridge = node.named("cni0").ifindex
    node.lists["addrs"] = [a for a in node.lists["addrs"] if a.ifindex != bridge]
    if addr:
        node.addr("cni0", addr)
    return net, made


def test_a_bridge_of_another_range_than_its_pods() -> None:
    net, _ = old_range()
    problem = only(net)
    assert (
        problem.headline
        == "cni0 on node-1 has 10.9.0.1/24, but its pods are in 10.1.1.0/24 with the gateway 10.1.1.1"
    )
    assert problem.affects.pods == ("default/pod-1-1", "default/pod-1-2")
    assert problem.fix[0].command == "ip addr add 10.1.1.1/24 dev cni0"


def test_a_bridge_without_the_gateways_address_is_no_problem_where_somebody_else_has_it() -> None:
    net, made = old_range("")
    assert only(net).kind == "bridge-wrong-range"
    made["pod-1-2"].add("addrs", Addr(2, bytes((10, 1, 1, 1)), 24))
    assert kinds(net) == []
    net, made = old_range("")
    made["node-1"].change("ens3", master=made["node-1"].named("cni0").ifindex)
    assert kinds(net) == []


def test_new_pods_of_another_range_beside_old_ones() -> None:
    net, made = textbook()
    net.pod(made["node-1"], "new", "cni0", "10.1.5.11/24", via="10.1.5.1")
    problem = only(net)
    assert (problem.kind, problem.affects.pods) == ("bridge-wrong-range", ("default/new",))


def test_a_host_end_that_doesnt_answer_for_its_pods_gateway_nobody_else_has() -> None:
    net = Net()
    node = net.node("node-1")
    pod = net.netns("node-1", "web", pod=Pod("web", "default"))
    net.veth(pod, "eth0", node, "cali1")
    pod.addr("eth0", "10.1.1.11/32")
    pod.route("169.254.1.1/32", dev="eth0")
    pod.route("0.0.0.0/0", "169.254.1.1", dev="eth0")
    problem = only(net)
    assert (
        problem.headline
        == "cali1 on node-1 doesn't answer for default/web's gateway 169.254.1.1: proxy_arp is off"
    )
    assert problem.fix[0].command == "sysctl -w net/ipv4/conf/cali1/proxy_arp=1"
    node.conf4("cali1", proxy_arp=1)
    assert kinds(net) == []


def test_namespaces_that_nobody_calls_pods_are_held_to_their_bridge_too() -> None:
    net, made = textbook()
    for name in ("pod-1-1", "pod-1-2"):
        made[name].pod = None
    assert kinds(net) == []
    made["node-1"].lists["addrs"] = [
        a for a in made["node-1"].lists["addrs"] if a.addr[:3] != b"\x0a\x01\x01"
    ]
    made["node-1"].addr("cni0", "10.9.0.1/24")
    assert only(net).kind == "bridge-wrong-range"
    made["pod-1-1"].down("eth0")
    assert kinds(net) == ["bridge-wrong-range"]

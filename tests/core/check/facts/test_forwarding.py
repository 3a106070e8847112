"""A node that is its pods' gateway has to forward, both families, by every device that pods' packets come in by."""

from __future__ import annotations

from netviz.core.check.facts.forwarding import GRACE_S
from tests.core.check.judging import kinds, only, problems
from tests.core.sim.build import Net, Ns, textbook


def off(node: Ns, name: str) -> None:
    node.lists["sysctls"] = [one for one in node.lists["sysctls"] if one.name != name]
    node.sysctl(name, 0)


def forward_nothing(node: Ns) -> None:
    """Write 0 to ip_forward: the kernel sets all devices."""
    off(node, "net.ipv4.ip_forward")
    for link in list(node.links.values()):
        if link.ipv4 is not None:
            node.conf4(link.ifname, forwarding=0)


def test_a_node_that_forwards_nothing() -> None:
    net, made = textbook()
    forward_nothing(made["node-1"])
    problem = only(net)
    assert problem.headline == "node-1 doesn't forward IPv4: net.ipv4.ip_forward is 0"
    assert problem.fix[0].command == "sysctl -w net.ipv4.ip_forward=1"
    assert problem.affects.pods == ("default/pod-1-1", "default/pod-1-2")


def test_ip_forward_stops_no_device_that_was_switched_on_again() -> None:
    net, made = textbook()
    off(made["node-1"], "net.ipv4.ip_forward")
    assert kinds(net) == []
    made["node-1"].conf4("cni0", forwarding=0)
    assert [p.where.dev for p in problems(net)] == ["cni0"]


def test_devices_that_are_all_off_are_told_when_ip_forward_has_been_read_too() -> None:
    net, made = textbook()
    forward_nothing(made["node-1"])
    made["node-1"].lists["sysctls"] = [
        one for one in made["node-1"].lists["sysctls"] if one.name != "net.ipv4.ip_forward"
    ]
    made["node-1"].sysctl("net.ipv4.ip_forward", 1)
    assert {problem.grace_s for problem in problems(net)} == {GRACE_S}


def test_a_node_that_forwards_in_neither_family_is_one_problem() -> None:
    net, made = textbook()
    forward_nothing(made["node-1"])
    off(made["node-1"], "net.ipv6.conf.all.forwarding")
    made["node-1"].addr("cni0", "fd00:1::1/64")
    made["pod-1-1"].addr("eth0", "fd00:1::11/64")
    made["pod-1-1"].route("::/0", "fd00:1::1")
    problem = only(net)
    assert problem.headline == "node-1 doesn't forward IPv4: net.ipv4.ip_forward is 0"
    assert problem.also == ("node-1 doesn't forward IPv6: net.ipv6.conf.all.forwarding is 0",)
    assert [one.command for one in problem.fix] == [
        "sysctl -w net.ipv4.ip_forward=1",
        "sysctl -w net.ipv6.conf.all.forwarding=1",
    ]


def test_a_device_that_forwards_nothing() -> None:
    net, made = textbook()
    made["node-1"].conf4("cni0", forwarding=0)
    made["node-2"].conf4("ens3", forwarding=0)
    found = {(p.where.node, p.where.dev): p.headline for p in problems(net)}
    assert found == {
        (
            "node-1",
            "cni0",
        ): "node-1 forwards nothing that comes in by cni0: net.ipv4.conf.cni0.forwarding is 0",
        (
            "node-2",
            "ens3",
        ): "node-2 forwards nothing that comes in by ens3: net.ipv4.conf.ens3.forwarding is 0",
    }


def test_ipv6_counts_where_pods_have_it() -> None:
    net, made = textbook()
    off(made["node-1"], "net.ipv6.conf.all.forwarding")
    assert kinds(net) == []
    made["node-1"].addr("cni0", "fd00:1::1/64")
    made["pod-1-1"].addr("eth0", "fd00:1::11/64")
    made["pod-1-1"].route("::/0", "fd00:1::1")
    assert only(net).headline == "node-1 doesn't forward IPv6: net.ipv6.conf.all.forwarding is 0"


def test_a_node_that_isnt_its_pods_gateway_neednt_forward() -> None:
    net = Net()
    node = net.node("node-1")
    node.nic("ens3", "10.1.1.1/24")
    node.bridge("br0")
    net.pod(node, "web", "br0", "10.1.1.11/24", via="10.1.1.254")
    node.change("ens3", master=node.named("br0").ifindex)
    off(node, "net.ipv4.ip_forward")
    assert "forwarding-off" not in kinds(net)

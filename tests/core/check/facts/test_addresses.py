"""An address that two have is a problem; one that may be repeated isn't."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.check.claims import CLAIMS
from netviz.core.check.wiring import Wiring
from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import ClusterState
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, textbook


def test_two_pods_of_a_node() -> None:
    net, made = textbook()
    made["pod-1-2"].addr("eth0", "10.1.1.11/24")
    problem = only(net)
    assert (
        problem.headline
        == "default/pod-1-1 on node-1 and default/pod-1-2 on node-1 both have the address 10.1.1.11"
    )
    assert problem.affects.pods == ("default/pod-1-1", "default/pod-1-2")
    assert {one.node for one in problem.check} == {"node-1"}


def test_two_pods_that_share_addresses_of_both_families_are_one_problem() -> None:
    net, made = textbook()
    made["pod-1-1"].addr("eth0", "fd00:1::11/64")
    made["pod-1-2"].addr("eth0", "10.1.1.11/24")
    alone = only(net).key
    made["pod-1-2"].addr("eth0", "fd00:1::11/64")
    problem = only(net)
    assert problem.key == alone
    assert problem.headline.endswith("10.1.1.11")
    assert problem.also == (problem.headline.replace("10.1.1.11", "fd00:1::11"),)
    assert len(problem.check) == 4


def test_pods_of_two_nodes() -> None:
    net, made = textbook()
    made["pod-2-2"].addr("eth0", "10.1.1.11/24")
    assert (only(net).kind, only(net).where.node) == ("duplicate-address", "node-2")


@pytest.mark.parametrize("addr", ["192.168.0.2", "10.1.2.1"])
def test_a_pod_and_a_node(addr: str) -> None:
    net, made = textbook()
    made["pod-1-1"].addr("eth0", f"{addr}/24")
    assert "duplicate-address" in kinds(net)


def test_a_pods_address_on_a_nodes_loopback_is_the_loopbacks_fault() -> None:
    net, made = textbook()
    made["node-1"].addr("lo", "10.1.2.11/32")
    net.nodes["node-1"][0].lists["addrs"] = [
        msgspec.structs.replace(a, scope=0) if a.addr == pack_ip("10.1.2.11") else a
        for a in net.nodes["node-1"][0].lists["addrs"]
    ]
    problem = only(net)
    assert (problem.where.node, problem.where.dev) == ("node-1", "lo")
    assert [one.command for one in problem.fix] == ["ip addr del 10.1.2.11/32 dev lo"]


@pytest.mark.parametrize("addr", ["169.254.1.1", "fe80::7", "127.0.0.5"])
def test_local_addresses_repeat_by_right(addr: str) -> None:
    net, made = textbook()
    for pod in ("pod-1-1", "pod-1-2"):
        made[pod].addr("eth0", f"{addr}/{128 if ':' in addr else 32}")
    assert kinds(net) == []


def test_further_links_of_pods_and_the_nodes_own_bridges_repeat_by_right() -> None:
    net, made = textbook()
    for pod in ("pod-1-1", "pod-2-1"):
        made[pod].link("net1")
        made[pod].addr("net1", "172.20.0.2/24")
    for node in ("node-1", "node-2"):
        made[node].bridge("docker0", "172.17.0.1/16")
    assert kinds(net) == []


def test_namespaces_that_are_no_pods_are_compared_within_their_node() -> None:
    def containers(*nodes: str) -> Net:
        net, _ = textbook()
        for number, node in enumerate(nodes):
            ns = net.netns(node, f"container-{number}")
            ns.link("eth0")
            ns.addr("eth0", "172.17.0.2/16")
        return net

    assert kinds(containers("node-1", "node-2")) == []
    assert kinds(containers("node-1", "node-1")) == ["duplicate-address"]


def test_a_namespace_known_by_its_veth_and_by_itself_holds_its_address_once() -> None:
    net, made = textbook()
    cluster = net.cluster()
    node = cluster.nodes["node-1"]
    pod = node.netns[made["pod-1-1"].key]
    by_veth = msgspec.structs.replace(pod.netns, key=NetnsKey("node-1", 0, 3), pod=None, name="", holders=())
    twice = {**node.netns, by_veth.key: msgspec.structs.replace(pod, netns=by_veth)}
    seen_twice = msgspec.structs.replace(node, netns=twice)
    assert kinds(ClusterState({**cluster.nodes, "node-1": seen_twice})) == []
    first = {key: ns for key, ns in twice.items() if key != pod.key}
    before = msgspec.structs.replace(node, netns=first)
    assert pack_ip("10.1.1.11") in CLAIMS.build(Wiring(before))

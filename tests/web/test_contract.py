"""Alerts: a duplicated pod address is flagged on both pods, and nothing is flagged that may be."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Addr
from netviz.core.model.link import IFF_UP, Link
from netviz.core.model.netns import Gap, Netns, Pod
from netviz.core.state.delta import section_of
from netviz.core.state.node import ClusterState, NetnsState, NodeState, SectionStatus
from netviz.topology.contract import overlapping_cidrs
from netviz.topology.graph import Alert
from netviz.topology.projector import project
from tests.web.states import UP, pod_network


def with_addr(state: NodeState, ino: int, ifindex: int, addr: str, **fields: int) -> NodeState:
    """A node with one more address in a namespace."""
    key = NetnsKey(state.node, 4, ino)
    ns = state.netns[key]
    more = Addr(ifindex, pack_ip(addr), 24, **fields)
    new = msgspec.structs.replace(ns, addrs={**ns.addrs, more.key: more})
    return msgspec.structs.replace(state, netns={**state.netns, key: new})


def with_link(state: NodeState, ino: int, link: Link) -> NodeState:
    """A node with one more link, or another one in its place."""
    key = NetnsKey(state.node, 4, ino)
    ns = state.netns[key]
    new = msgspec.structs.replace(ns, links={**ns.links, link.ifindex: link})
    return msgspec.structs.replace(state, netns={**state.netns, key: new})


def alerts(*states: NodeState) -> list[Alert]:
    return list(project(ClusterState({state.node: state for state in states}), {}).alerts.values())


A, B = pod_network(), pod_network(node="b", third=2)


def test_a_sound_network_raises_no_alert() -> None:
    assert alerts(A, B) == []


def test_an_address_of_two_pods_is_flagged_on_both() -> None:
    (alert,) = alerts(with_addr(A, 11, 2, "10.1.1.2"), B)
    assert (alert.kind, alert.severity, alert.addr) == ("duplicate-address", "error", "10.1.1.2")
    assert alert.netns == ("a:4:10:0", "a:4:11:0")
    assert alert.links == ("a:4:10:0:2", "a:4:11:0:2")
    assert alert.message == "10.1.1.2 is the address of pod default/web-0 on a and pod default/web-1 on a"


def test_pods_of_different_nodes_are_compared_too() -> None:
    (alert,) = alerts(A, with_addr(B, 10, 2, "10.1.1.2"))
    assert alert.netns == ("a:4:10:0", "b:4:10:0")


@pytest.mark.parametrize("addr", ["192.168.0.2", "10.1.2.1"])
def test_a_pod_with_a_nodes_address_is_flagged_with_the_node(addr: str) -> None:
    (alert,) = alerts(with_addr(A, 10, 2, addr), B)
    assert set(alert.netns) == {"a:4:10:0", "b:4:1:0"}


@pytest.mark.parametrize("addr", ["169.254.1.1", "fe80::7", "127.0.0.5", "::1"])
def test_local_addresses_repeat_by_right(addr: str) -> None:
    assert alerts(with_addr(with_addr(A, 10, 2, addr), 11, 2, addr)) == []


def test_loopbacks_second_networks_and_narrow_scopes_repeat_by_right() -> None:
    twice = with_addr(with_addr(A, 10, 1, "10.9.9.9"), 11, 1, "10.9.9.9")
    assert alerts(twice) == []
    second = with_link(with_link(A, 10, Link(3, "net1", flags=UP)), 11, Link(3, "net1", flags=UP))
    assert alerts(with_addr(with_addr(second, 10, 3, "172.20.0.2"), 11, 3, "172.20.0.2")) == []
    assert alerts(with_addr(with_addr(A, 10, 2, "10.9.9.9", scope=253), 11, 2, "10.9.9.9", scope=253)) == []


def test_service_addresses_and_docker_bridges_of_nodes_repeat_by_right() -> None:
    nodes = []
    for state in (A, B):
        both = with_link(state, 1, Link(50, "kube-ipvs0", "dummy", flags=UP))
        both = with_link(both, 1, Link(51, "docker0", "bridge", flags=IFF_UP))
        nodes.append(with_addr(with_addr(both, 1, 50, "10.96.0.10"), 1, 51, "172.17.0.1"))
    assert alerts(*nodes) == []


def test_gateway_addresses_on_the_nodes_ends_of_veths_repeat_by_right() -> None:
    assert alerts(with_addr(with_addr(A, 1, 100, "10.1.1.2"), 1, 101, "10.1.1.2")) == []


def test_namespaces_without_a_pod_are_compared_within_their_node_only() -> None:
    def plain(node: str, *inodes: int) -> NodeState:
        found = {}
        for ino in inodes:
            key = NetnsKey(node, 4, ino)
            found[key] = NetnsState(
                Netns(key, name=f"c{ino}"),
                links=section_of([Link(2, "eth0", flags=UP)]),
                addrs=section_of([Addr(2, pack_ip("172.17.0.2"), 16)]),
            )
        return NodeState(node, netns=found)

    assert alerts(plain("a", 5), plain("b", 6)) == []
    (alert,) = alerts(plain("a", 5, 6), plain("b", 7))
    assert alert.netns == ("a:4:5:0", "a:4:6:0")


def test_a_pod_without_an_uplink_is_flagged_only_when_that_is_certain() -> None:
    down = with_link(A, 10, Link(2, "eth0", "veth", flags=IFF_UP, link=100, link_nsid=0))
    (alert,) = alerts(down)
    assert (alert.kind, alert.netns) == ("no-uplink", ("a:4:10:0",))
    unsure = msgspec.structs.replace(down, status={"links": SectionStatus(1.0, whole=False)})
    assert alerts(unsure) == []
    key = NetnsKey("a", 4, 10)
    record = Netns(key, pod=Pod("web-0", "default"), gaps=(Gap("links", "closed"),))
    gap = msgspec.structs.replace(down.netns[key], netns=record)
    assert alerts(msgspec.structs.replace(down, netns={**down.netns, key: gap})) == []


def test_overlapping_pod_cidrs_are_flagged_unless_the_bridge_is_stretched() -> None:
    same = pod_network(pods=1, node="b", third=1)
    assert "overlapping-pod-cidrs" in {alert.kind for alert in alerts(A, same)}
    stretched = with_link(same, 1, Link(60, "vxlan0", "vxlan", flags=UP, master=3))
    assert "overlapping-pod-cidrs" not in {alert.kind for alert in alerts(A, stretched)}


def test_overlaps_are_found_within_and_beside() -> None:
    found = overlapping_cidrs(
        {"a": ["10.0.0.0/8"], "b": ["10.1.0.0/16"], "c": ["10.1.2.0/24", "fd00::/64"], "d": ["11.0.0.0/8"]}
    )
    assert [alert.key for alert in found] == [
        "overlapping-pod-cidrs:b:10.1.0.0/16",
        "overlapping-pod-cidrs:c:10.1.2.0/24",
    ]

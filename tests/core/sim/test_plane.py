"""The forwarding plane: both drivers follow what the kinds say, and a kind more is one entry in the list.

[pod-1] eth0 --- veth-pod-1 [br0, node-1] veth-pod-2 --- eth0 [pod-2]      and macvlans over one device
"""

from __future__ import annotations

import pytest

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import (
    MACVLAN_BRIDGE,
    MACVLAN_PASSTHRU,
    MACVLAN_PRIVATE,
    MACVLAN_VEPA,
    Link,
)
from netviz.core.model.netns import Pod
from netviz.core.sim.copies import Copies, Onward
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.plane.domain import broadcast_domain, takers
from netviz.core.sim.plane.kinds import KINDS
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Transmit
from netviz.core.sim.trace import Disposition, place_of
from netviz.core.state.node import NetnsState
from tests.core.sim.build import Net, Ns


def bridged(pods: int = 3) -> tuple[Net, list[Ns]]:
    net = Net()
    node = net.node("node-1")
    node.bridge("br0", "10.0.0.254/24")
    made = [net.pod(node, f"pod-{n}", "br0", f"10.0.0.{n}/24") for n in range(1, pods + 1)]
    return net, made


def macvlans(modes: tuple[int, ...]) -> tuple[Net, list[Ns]]:
    net = Net()
    node = net.node("node-1")
    node.nic("eth0", "10.0.0.254/24")
    made = [net.macvlan(node, f"pod-{n}", "eth0", f"10.0.0.{n}/24", mode) for n, mode in enumerate(modes, 1)]
    return net, made


def run_from(net: Net, one: Ns, other: Ns) -> tuple[Run, LinkKey, Link]:
    cluster = net.cluster()
    run = Run(cluster, resolve_flow(cluster, str(one.key), str(other.key)))
    return run, LinkKey(one.key, one.named("eth0").ifindex), other.named("eth0")


@pytest.mark.parametrize("modes", [None, (MACVLAN_BRIDGE,) * 2, (MACVLAN_PRIVATE,) * 2, (MACVLAN_VEPA,) * 2])
def test_who_takes_a_frame_is_where_a_trace_brings_it(modes: tuple[int, ...] | None) -> None:
    """With a neighbour entry, so that the trace doesn't ask the other driver who is there."""
    net, (one, other, *_) = bridged() if modes is None else macvlans(modes)
    mac = other.named("eth0").mac
    one.neigh("eth0", "10.0.0.2", mac)
    other.neigh("eth0", "10.0.0.1", one.named("eth0").mac)
    run, start, _ = run_from(net, one, other)
    found, _ = takers(run, start, mac)
    reached = net.trace(str(one.key), str(other.key)).branches[0].forward.hops[-1].netns == other.key
    assert reached is any(heard.link.netns == other.key for heard in found)


def test_a_request_is_heard_by_all_on_the_bridge_and_by_the_bridge() -> None:
    net, pods = bridged()
    run, start, _ = run_from(net, pods[0], pods[1])
    heard = {heard.link.netns for heard in broadcast_domain(run, start, mac=BROADCAST_MAC).heard}
    assert heard == {pods[1].key, pods[2].key, next(iter(net.nodes.values()))[0].key}


@pytest.mark.parametrize(
    ("mode", "hears"),
    [(MACVLAN_BRIDGE, True), (MACVLAN_PRIVATE, False), (MACVLAN_VEPA, False), (MACVLAN_PASSTHRU, False)],
)
def test_a_macvlans_siblings_hear_its_request_in_bridge_mode_alone(mode: int, hears: bool) -> None:
    net, (one, other) = macvlans((mode, mode))
    run, start, link = run_from(net, one, other)
    domain = broadcast_domain(run, start, mac=BROADCAST_MAC)
    assert (LinkKey(other.key, link.ifindex) in [heard.link for heard in domain.heard]) is hears
    assert [left.link for left in domain.left] == [LinkKey(net.nodes["node-1"][0].key, 2)]


def cord(run: Run, ns: NetnsState, link: Link, _packet: Packet, _nexthop: bytes) -> Copies:
    """A kind of the tests' own: what goes in at one end comes out at the other."""
    peer = peer_of(run.node(ns.key), LinkKey(ns.key, link.ifindex)).key
    assert peer is not None
    far = run.netns(peer.netns)
    name, place = far.links[peer.ifindex].ifname, place_of(far.netns)

    def what() -> Transmit:
        return Transmit("cross veth", peer=peer, peer_ifname=name, where=place)

    return (Onward(peer, received=True, what=what, scrub=True),)


def test_a_kind_more_is_one_entry_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced packets, ARP requests and their answers all go through it, on a bridge and by a route."""
    net, pods = bridged(2)
    assert net.trace("pod-1", "pod-2").disposition is Disposition.NO_LISTENER
    for ns in (*pods, net.nodes["node-1"][0]):
        for link in list(ns.links.values()):
            if link.kind == "veth":
                ns.change(link.ifname, kind="cord")
    assert net.trace("pod-1", "pod-2").disposition is Disposition.UNKNOWN
    monkeypatch.setattr("netviz.core.state.resolve.PAIR_KINDS", ("cord",))
    monkeypatch.setitem(KINDS, "cord", Kind(copies=cord))
    trace = net.trace("pod-1", "pod-2")
    assert trace.disposition is Disposition.NO_LISTENER
    assert trace.certainty == "certain"
    kinds = {step.kind for hop in trace.branches[0].forward.hops for step in hop.steps}
    assert {"neigh", "bridge", "link_tx", "link_rx"} <= kinds


def test_every_kind_says_something_of_what_it_transmits() -> None:
    taps = {"macvtap", "ipvtap"}  # a program sends by these, which isn't followed
    silent = {name for name, kind in KINDS.items() if kind.copies is None and kind.xmit is None}
    assert silent == taps


def test_a_pod_of_its_own_hears_nothing_of_another_segment() -> None:
    net, pods = bridged(2)
    node = net.nodes["node-1"][0]
    node.bridge("br1", "10.1.0.254/24")
    apart = net.netns("node-1", "apart", pod=Pod("apart", "default", source="file"))
    net.veth(apart, "eth0", node, "veth-apart")
    node.change("veth-apart", master=node.named("br1").ifindex, slave_kind="bridge")
    run, start, _ = run_from(net, pods[0], pods[1])
    assert apart.key not in {heard.link.netns for heard in broadcast_domain(run, start).heard}

"""Bridges that filter VLANs, from constructed state: the kernel of the tests cannot.

    [pod-1-1] eth0 -- veth-pod-1-1 \\            pvid and untagged VLAN of each port as the test says
                                     cni0
    [pod-1-2] eth0 -- veth-pod-1-2 /  \\_ cni0.10 (a VLAN device on the bridge itself)

Source: net/bridge/br_vlan.c, __allowed_ingress, br_allowed_egress, br_handle_vlan; br_input.c,
br_handle_frame_finish, br_pass_frame_up; br_fdb.c, br_fdb_find_rcu (Linux 6.18).
"""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.l2 import NTF_STICKY, NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE, BridgeVlan
from netviz.core.model.link import (
    BR_STATE_BLOCKING,
    BR_STATE_LEARNING,
    IFF_UP,
    BridgeInfo,
    BridgePort,
    VlanInfo,
)
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import Net, Ns, textbook

DELIVERED, DROPPED, UNKNOWN = Disposition.DELIVERED, Disposition.DROPPED, Disposition.UNKNOWN


def filtering(**vids: int) -> tuple[Net, dict[str, Ns]]:
    """Make cni0 filter, with each port's pvid; `own` is the bridge's."""
    net, made = textbook(1)
    node = made["node-1"]
    node.change("cni0", info=BridgeInfo(vlan_filtering=True))
    for name, vid in vids.items():
        dev = "cni0" if name == "own" else f"veth-pod-1-{name[1:]}"
        node.add("vlans", BridgeVlan(node.named(dev).ifindex, vid, pvid=True, untagged=True))
    return net, made


def ends(trace: Trace) -> tuple[Disposition, Disposition | None]:
    reply = trace.branches[0].reply
    return trace.disposition, reply.disposition if reply is not None else None


def test_constructed_bridge_vlan_filtering_joins_ports_of_one_vlan() -> None:
    net, _made = filtering(p1=7, p2=7, own=7)
    assert ends(net.trace("pod-1-1", "pod-1-2")) == (DELIVERED, DELIVERED)
    assert ends(net.trace("pod-1-1", "10.1.1.1", "icmp")) == (DELIVERED, DELIVERED)


def test_constructed_bridge_vlan_filtering_parts_vlans() -> None:
    net, made = filtering(p1=7, p2=8, own=7)
    assert net.trace("pod-1-1", "pod-1-2").reason == "NEIGH_FAILED"
    made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
    assert net.trace("pod-1-1", "pod-1-2").disposition is DROPPED
    assert net.trace("pod-1-2", "10.1.1.1", "icmp").reason == "NEIGH_FAILED"


def test_constructed_bridge_vlan_a_port_without_a_pvid_takes_nothing_untagged() -> None:
    net, made = filtering(p2=7, own=7)
    made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
    trace = net.trace("pod-1-1", "pod-1-2")
    assert (trace.disposition, trace.branches[0].forward.hops[-1].steps[-1].dev) == (DROPPED, "veth-pod-1-1")


@pytest.mark.parametrize("state", [BR_STATE_BLOCKING, BR_STATE_LEARNING])
def test_constructed_bridge_vlan_state(state: int) -> None:
    net, made = filtering(p1=7, p2=7, own=7)
    vlans = made["node-1"].lists["vlans"]
    vlans[0] = msgspec.structs.replace(vlans[0], state=state)
    assert net.trace("pod-1-1", "pod-1-2").disposition is DROPPED


def test_constructed_bridge_vlan_tagged_passes_into_a_device_on_the_bridge() -> None:
    """The bridge has VLAN 7 tagged: frames come up with their tag, and cni0.7 takes it off."""
    net, made = filtering(p1=7)
    node = made["node-1"]
    bridge = node.named("cni0")
    node.add("vlans", BridgeVlan(bridge.ifindex, 7))
    node.link("cni0.7", "vlan", info=VlanInfo(7), link=bridge.ifindex, mac=bridge.mac)
    node.addr("cni0.7", "10.1.1.7/24")
    assert ends(net.trace("pod-1-1", "10.1.1.7", "icmp")) == (DELIVERED, DELIVERED)


def test_constructed_bridge_vlan_the_fdb_is_one_of_each_vlan() -> None:
    """An entry of another VLAN says nothing: the frame is flooded to who takes it."""
    net, made = filtering(p1=7, p2=7, own=7)
    mac = made["pod-1-2"].named("eth0").mac
    made["pod-1-1"].neigh("eth0", "10.1.1.12", mac)
    made["node-1"].fdb("veth-pod-1-1", mac, NUD_NOARP, vlan=8)
    trace = net.trace("pod-1-1", "pod-1-2")
    assert ends(trace) == (DELIVERED, DELIVERED)
    assert "flood" in [s.action for h in trace.branches[0].forward.hops for s in h.steps]


def test_a_bridge_without_filtering_passes_tags_through() -> None:
    """VLAN devices in both pods meet across a bridge that knows no VLANs."""
    net, made = textbook(1)
    for number in (1, 2):
        pod = made[f"pod-1-{number}"]
        eth = pod.named("eth0")
        pod.link("eth0.5", "vlan", info=VlanInfo(5), link=eth.ifindex, mac=eth.mac)
        pod.addr("eth0.5", f"10.5.0.{number}/24")
    assert ends(net.trace("pod-1-1", "10.5.0.2", "icmp")) == (DELIVERED, DELIVERED)
    made["pod-1-2"].change("eth0.5", info=VlanInfo(6))
    assert net.trace("pod-1-1", "10.5.0.2", "icmp").reason == "NEIGH_FAILED"


def test_constructed_qinq_through_a_bridge() -> None:
    """802.1Q within 802.1ad: both tags are put on, and taken off in turn."""
    net, made = textbook(1)
    for number in (1, 2):
        pod = made[f"pod-1-{number}"]
        eth = pod.named("eth0")
        outer = pod.link("s", "vlan", info=VlanInfo(100, 0x88A8), link=eth.ifindex, mac=eth.mac)
        pod.link("c", "vlan", info=VlanInfo(5), link=outer.ifindex, mac=eth.mac)
        pod.addr("c", f"10.5.0.{number}/24")
    trace = net.trace("pod-1-1", "10.5.0.2", "icmp")
    assert ends(trace) == (DELIVERED, DELIVERED)
    assert [s.action for h in trace.branches[0].forward.hops for s in h.steps].count("untag") == 2


def test_a_static_entry_moves_to_where_its_mac_is_heard_unless_it_is_sticky() -> None:
    """pod-1-2's answer to the ARP request moves its static entry (br_fdb_update), not a sticky one."""
    net, made = textbook(1, 3)
    mac = made["pod-1-2"].named("eth0").mac
    made["node-1"].fdb("veth-pod-1-3", mac, NUD_NOARP)
    assert net.trace("pod-1-1", "pod-1-2").disposition is DELIVERED
    made["node-1"].lists["fdb"].clear()
    made["node-1"].fdb("veth-pod-1-3", mac, NUD_NOARP, flags=NTF_STICKY)
    assert (net.trace("pod-1-1", "pod-1-2").disposition, net.trace("pod-1-1", "pod-1-2").reason) in (
        (DROPPED, "NEIGH_FAILED"),
        (DROPPED, "OTHERHOST"),
    )


@pytest.mark.parametrize(
    ("state", "expected"), [(None, DROPPED), (NUD_NOARP, DELIVERED), (NUD_REACHABLE, UNKNOWN)]
)
def test_a_locked_port_lets_in_what_the_bridge_has_behind_it(
    state: int | None, expected: Disposition
) -> None:
    net, made = textbook(1)
    made["node-1"].port("veth-pod-1-1", locked=True)
    if state is not None:
        made["node-1"].fdb("veth-pod-1-1", made["pod-1-1"].named("eth0").mac, state)
    assert net.trace("pod-1-1", "pod-1-2").disposition is expected
    assert net.trace("pod-1-2", "pod-1-1").disposition is expected


def test_a_backup_port_takes_over_while_the_port_is_down() -> None:
    """pod-1-2 has a second link behind the backup port, with the same MAC."""
    net, made = textbook(1)
    node, pod = made["node-1"], made["pod-1-2"]
    mac = pod.named("eth0").mac
    net.veth(pod, "eth1", node, "spare")
    pod.change("eth1", mac=mac)
    pod.addr("eth1", "10.1.1.12/24")
    spare = node.change("spare", master=node.named("cni0").ifindex, port=BridgePort(), slave_kind="bridge")
    made["pod-1-1"].neigh("eth0", "10.1.1.12", mac)
    node.fdb("veth-pod-1-2", mac, NUD_NOARP)
    node.change("veth-pod-1-2", flags=IFF_UP)
    node.port("veth-pod-1-2", backup_port=spare.ifindex)
    forward = net.trace("pod-1-1", "pod-1-2").branches[0].forward
    assert "spare" in [s.dev for h in forward.hops for s in h.steps]
    assert forward.disposition is DELIVERED


@pytest.mark.parametrize("field", ["mcast_querier", "other_querier6"])
def test_snooping_with_a_querier_hides_neighbour_solicitations(field: str) -> None:
    """Without somebody who asks for group members the solicitation is flooded; with, members alone get it."""
    net, made = textbook(1)
    for number in (1, 2):
        made[f"pod-1-{number}"].addr("eth0", f"fd00::{number}/64")
    assert net.trace("fd00::1", "fd00::2", "icmp").disposition is DELIVERED
    made["node-1"].change("cni0", info=BridgeInfo(**{field: True}))
    trace = net.trace("fd00::1", "fd00::2", "icmp")
    assert (trace.disposition, "multicast snooping" in trace.reason) == (UNKNOWN, True)
    assert net.trace("pod-1-1", "pod-1-2").disposition is DELIVERED  # ARP is broadcast
    made["node-1"].change("cni0", info=BridgeInfo(**{field: True}, mcast_snooping=False))
    assert net.trace("fd00::1", "fd00::2", "icmp").disposition is DELIVERED


def test_mst_and_vlan_tunnels_are_unknown_by_name() -> None:
    net, made = textbook(1)
    made["node-1"].change("cni0", info=BridgeInfo(mst=True))
    assert net.trace("pod-1-1", "pod-1-2").disposition is UNKNOWN
    net, made = textbook(1)
    made["node-1"].port("veth-pod-1-2", vlan_tunnel=True)
    assert net.trace("pod-1-1", "pod-1-2").disposition is UNKNOWN


def test_a_permanent_entry_is_the_bridges_own() -> None:
    net, made = textbook(1)
    mac = made["pod-1-2"].named("eth0").mac
    made["pod-1-1"].neigh("eth0", "10.1.1.12", mac)
    made["node-1"].fdb("veth-pod-1-2", mac, NUD_PERMANENT)
    assert net.trace("pod-1-1", "pod-1-2").reason == "OTHERHOST"

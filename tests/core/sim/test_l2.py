"""Bridges, veth, neighbours, macvlan, VXLAN and the wire between nodes."""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.l2 import (
    NTF_PROXY,
    NUD_FAILED,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_REACHABLE,
    Fdb,
    Neigh,
)
from netviz.core.model.l3 import RTNH_F_ONLINK, Nexthop
from netviz.core.model.link import IFF_BROADCAST, VxlanInfo
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.render import render_text
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.step import why
from tests.core.sim.build import Net, Ns, textbook


def kinds(trace: Trace) -> list[str]:
    return [step.kind for hop in trace.branches[0].forward.hops for step in hop.steps]


def last(trace: Trace) -> tuple[str, str, str]:
    step = trace.branches[0].forward.hops[-1].steps[-1]
    return step.kind, step.dev, why(step)


class TestBridge:
    """[pod-1-1] eth0--veth-pod-1-1 \\
                                      cni0 (node-1)
       [pod-1-2] eth0--veth-pod-1-2 /
    """

    @pytest.mark.parametrize("state", [0, 1, 2, 4])
    def test_a_port_that_does_not_forward_takes_no_frames(self, state: int) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-1", state=state)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert trace.disposition is Disposition.DROPPED

    def test_only_forwarding_lets_frames_out(self) -> None:
        net, made = textbook(1)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        made["node-1"].port("veth-pod-1-2", state=2)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert trace.disposition is Disposition.DROPPED
        assert last(trace)[:2] == ("bridge", "cni0")

    def test_isolated_ports_do_not_see_each_other_but_see_the_bridge(self) -> None:
        net, made = textbook(1)
        for pod in ("pod-1-1", "pod-1-2"):
            made["node-1"].port(f"veth-{pod}", isolated=True)
        assert net.trace("pod-1-1", "pod-1-2").reason == "NEIGH_FAILED"
        assert net.trace("pod-1-1", "10.1.1.1", "icmp").disposition is Disposition.DELIVERED

    def test_isolation_needs_both_ports(self) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-1", isolated=True)
        assert net.trace("pod-1-1", "pod-1-2").disposition is Disposition.DELIVERED

    def test_a_static_fdb_entry_on_the_wrong_port_is_followed_until_its_mac_is_heard_elsewhere(self) -> None:
        net, made = textbook(1, 3)
        made["node-1"].fdb("veth-pod-1-3", made["pod-1-2"].named("eth0").mac, NUD_NOARP)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "OTHERHOST")
        assert trace.branches[0].forward.hops[-1].place.pod == "default/pod-1-3"

    def test_a_learned_entry_is_followed(self) -> None:
        net, made = textbook(1)
        mac = made["pod-1-2"].named("eth0").mac
        made["pod-1-1"].neigh("eth0", "10.1.1.12", mac)
        made["node-1"].fdb("veth-pod-1-2", mac, NUD_REACHABLE)
        assert net.trace("pod-1-1", "pod-1-2").disposition is Disposition.DELIVERED

    def test_an_unknown_mac_is_flooded_to_who_takes_it(self) -> None:
        net, made = textbook(1, 3)
        made["pod-1-1"].neigh("eth0", "10.1.1.13", made["pod-1-3"].named("eth0").mac)
        trace = net.trace("pod-1-1", "pod-1-3")
        assert trace.disposition is Disposition.DELIVERED
        assert "flood" in [s.action for h in trace.branches[0].forward.hops for s in h.steps]

    def test_a_port_that_does_not_flood_is_left_out(self) -> None:
        net, made = textbook(1)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        made["node-1"].port("veth-pod-1-2", unicast_flood=False)
        assert net.trace("pod-1-1", "pod-1-2").reason == "NO_TX_TARGET"

    def test_without_learning_the_reply_is_flooded(self) -> None:
        net, made = textbook(1)
        for pod in ("pod-1-1", "pod-1-2"):
            made["node-1"].port(f"veth-{pod}", learning=False)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is Disposition.DELIVERED

    def test_hairpin(self) -> None:
        net, made = textbook(1)
        mac = made["pod-1-2"].named("eth0").mac
        made["pod-1-1"].neigh("eth0", "10.1.1.12", mac)
        made["node-1"].fdb("veth-pod-1-1", mac, NUD_NOARP)
        assert net.trace("pod-1-1", "pod-1-2").reason == "NOT_SPECIFIED"
        made["node-1"].port("veth-pod-1-1", hairpin=True)
        assert net.trace("pod-1-1", "pod-1-2").reason == "OTHERHOST"


class TestVeth:
    """[pod-1-1] eth0--veth-pod-1-1-cni0"""

    def test_the_peer_is_down(self) -> None:
        net, made = textbook(1)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        made["node-1"].change("veth-pod-1-1", flags=IFF_BROADCAST)
        assert net.trace("pod-1-1", "pod-1-2").reason == "DEV_READY"

    def test_a_device_without_carrier_takes_nothing(self) -> None:
        net, made = textbook(1)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        made["pod-1-1"].change("eth0", flags=0x1003)
        assert net.trace("pod-1-1", "pod-1-2").reason == "QDISC_DROP"

    def test_nor_does_it_take_a_request(self) -> None:
        """[node-1] ens3, without carrier: no entry is learned there, so the packet waits in vain."""
        net, made = textbook()
        made["node-1"].change("ens3", flags=0x1003)
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NEIGH_FAILED")
        last = trace.branches[0].forward.hops[-1].steps[-1]
        assert why(last).startswith("ens3 has no carrier, so the ARP request for 192.168.0.2 isn't sent")
        assert headline_of(trace) == "ens3 of node-1 has no carrier"
        made["node-1"].neigh("ens3", "192.168.0.2", made["node-2"].named("ens3").mac)
        assert net.trace("pod-1-1", "pod-2-1").reason == "QDISC_DROP"

    def test_nor_is_one_heard_there(self) -> None:
        """node-1 asks for [node-2] ens3, which is without carrier: nobody answers."""
        net, made = textbook()
        made["node-2"].change("ens3", flags=0x1003)
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NEIGH_FAILED")
        said = "node-2 doesn't answer node-1 for 192.168.0.2: ens3 is without carrier"
        assert headline_of(trace) == said

    def test_a_smaller_mtu_at_the_other_end_drops_silently(self) -> None:
        net, made = textbook(1)
        made["node-1"].change("veth-pod-1-1", mtu=1400)
        small = net.trace("pod-1-1", "pod-1-2", "udp", 53, length=1404)
        large = net.trace("pod-1-1", "pod-1-2", "udp", 53, length=1405)
        assert small.disposition is Disposition.DELIVERED
        assert (large.disposition, large.reason) == (Disposition.DROPPED, "PKT_TOO_BIG")

    def test_an_unproved_peer_is_unknown(self) -> None:
        net, made = textbook(1)
        made["node-1"].change("veth-pod-1-1", link=99)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert trace.disposition is Disposition.UNKNOWN

    def test_a_program_on_a_link_is_opaque(self) -> None:
        net, made = textbook(1)
        made["node-1"].change("veth-pod-1-2", tc=("clsact",))
        trace = net.trace("pod-1-1", "pod-1-2")
        assert (trace.disposition, last(trace)[0]) == (Disposition.UNKNOWN, "opaque"), last(trace)
        assert "clsact" in trace.reason

    def test_xdp_is_opaque(self) -> None:
        net, made = textbook(1)
        made["pod-1-2"].change("eth0", xdp=1)
        assert "XDP" in net.trace("pod-1-1", "pod-1-2").reason


class TestNeigh:
    def test_a_wrong_permanent_entry_sends_the_frame_to_nobody(self) -> None:
        net, made = textbook(1)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", "02:00:00:00:99:99")
        assert net.trace("pod-1-1", "pod-1-2").reason == "OTHERHOST"

    def test_a_wrong_entry_between_nodes(self) -> None:
        net, made = textbook()
        made["node-1"].neigh("ens3", "192.168.0.2", "02:00:00:00:99:99")
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "OTHERHOST")
        assert "node-2" in last(trace)[2]
        names = [(hop.place.name, hop.steps[-1].kind) for hop in trace.branches[0].forward.hops]
        assert names[-2:] == [("node-1", "link_tx"), ("node-2", "link_rx")]

    def test_a_failed_entry_is_asked_again(self) -> None:
        net, made = textbook(1)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", b"", NUD_FAILED)
        assert net.trace("pod-1-1", "pod-1-2").disposition is Disposition.DELIVERED

    def test_nobody_answers(self) -> None:
        net, _made = textbook(1)
        assert net.trace("pod-1-1", "10.1.1.77").reason == "NEIGH_FAILED"

    def test_a_failed_entry_towards_the_unknown_is_believed(self) -> None:
        net, made = textbook(1)
        assert net.trace("pod-1-1", "203.0.113.1").disposition is Disposition.LEFT_NETWORK
        made["node-1"].neigh("ens3", "192.168.0.254", b"", NUD_FAILED)
        assert net.trace("pod-1-1", "203.0.113.1").reason == "NEIGH_FAILED"

    def test_two_owners_make_two_branches(self) -> None:
        """pod-1-3 has pod-1-2's address as well: whoever answers first gets the packet."""
        net, made = textbook(1, 3)
        made["pod-1-3"].addr("eth0", "10.1.1.12/24")
        trace = net.trace("pod-1-1", "10.1.1.12", "tcp", 80)
        assert trace.certainty == "branch"
        ends = [b.forward.hops[-1].place.pod for b in trace.branches]
        assert ends == ["default/pod-1-2", "default/pod-1-3"]
        assert [b.probability for b in trace.branches] == [None, None]

    def test_arp_ignore(self) -> None:
        net, made = textbook(1)
        made["pod-1-2"].addr("lo", "10.9.9.9/32")
        made["pod-1-1"].route("10.9.9.9/32", dev="eth0")
        assert net.trace("pod-1-1", "10.9.9.9", "tcp", 80).disposition is Disposition.DELIVERED
        made["pod-1-2"].conf4("eth0", arp_ignore=1)
        assert net.trace("pod-1-1", "10.9.9.9", "tcp", 80).reason == "NEIGH_FAILED"

    def test_proxy_arp_as_calico_does_it(self) -> None:
        """[a] eth0--cali1 node cali2--eth0 [b]: /32 addresses, gateway 169.254.1.1 answered by proxy_arp."""
        net = Net()
        node = net.node("node-1")
        node.nic("ens3", "192.168.0.1/24")
        node.route("0.0.0.0/0", "192.168.0.254")
        for number, name in ((1, "a"), (2, "b")):
            pod = net.netns("node-1", name)
            net.veth(pod, "eth0", node, f"cali{number}")
            pod.addr("eth0", f"10.65.0.{number}/32")
            pod.route("169.254.1.1/32", dev="eth0")
            via = Nexthop(pod.named("eth0").ifindex, pack_ip("169.254.1.1"), flags=RTNH_F_ONLINK)
            pod.route("0.0.0.0/0", nexthops=(via,), scope=0)
            node.route(f"10.65.0.{number}/32", dev=f"cali{number}")
            pod.listen("tcp", 80)
        assert net.trace("a", "b").reason == "NEIGH_FAILED"
        for number in (1, 2):
            node.conf4(f"cali{number}", proxy_arp=1)
        trace = net.trace("a", "b")
        assert trace.disposition is Disposition.DELIVERED
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is Disposition.DELIVERED

    def test_a_proxy_entry_answers(self) -> None:
        net, made = textbook(1)
        node = made["node-1"]
        made["pod-1-1"].route("10.7.0.0/24", dev="eth0")
        node.route("10.7.0.0/24", "192.168.0.254")
        assert net.trace("pod-1-1", "10.7.0.1").reason == "NEIGH_FAILED"
        node.add("neighs", Neigh(node.named("cni0").ifindex, pack_ip("10.7.0.1"), flags=NTF_PROXY))
        assert net.trace("pod-1-1", "10.7.0.1").disposition is Disposition.LEFT_NETWORK

    def test_ipv6_neighbours_answer_only_on_the_device_that_has_the_address(self) -> None:
        net, made = textbook(1)
        for number in (1, 2):
            made[f"pod-1-{number}"].addr("eth0", f"fd00::{number}/64")
        made["pod-1-2"].listen("tcp", 80, "::")
        assert net.trace("fd00::1", "fd00::2").disposition is Disposition.DELIVERED
        made["pod-1-2"].addr("lo", "fd00::9/128")
        assert net.trace("fd00::1", "fd00::9").reason == "NEIGH_FAILED"


class TestMacvlan:
    """[a] eth0 \\
                  ens3 (node-1) ---- the wire
       [b] eth0 /
    """

    def pair(self, mode: int) -> tuple[Net, Ns, Ns]:
        net = Net()
        node = net.node("node-1")
        node.nic("ens3", "192.168.0.1/24")
        a = net.macvlan(node, "a", "ens3", "192.168.0.11/24", mode)
        b = net.macvlan(node, "b", "ens3", "192.168.0.12/24", mode)
        b.listen("tcp", 80)
        node.listen("tcp", 80)
        return net, a, b

    def test_bridge_mode_joins_siblings(self) -> None:
        net, _a, _b = self.pair(4)
        assert net.trace("a", "b").disposition is Disposition.DELIVERED

    def test_private_mode_does_not(self) -> None:
        net, _a, _b = self.pair(1)
        assert net.trace("a", "b").reason == "NEIGH_FAILED"

    def test_a_switch_for_vepa_mode_may_send_frames_back(self) -> None:
        net, _a, _b = self.pair(2)
        assert net.trace("a", "b").disposition is Disposition.LEFT_NETWORK

    @pytest.mark.parametrize(("src", "dst"), [("a", "192.168.0.1"), ("node-1", "192.168.0.11")])
    def test_the_lower_device_is_out_of_reach(self, src: str, dst: str) -> None:
        net, _a, _b = self.pair(4)
        trace = net.trace(src, dst)
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NEIGH_FAILED")
        assert "exchange nothing with the host of their lower device" in render_text(trace)


class TestVxlan:
    """flannel: node-1 and node-2 with flannel.1 (VNI 1) over ens3; static neighbours and remotes.

    [pod-1] - cni0 - flannel.1 ==(VXLAN over ens3)== flannel.1 - cni0 - [pod-2]
    """

    def build(self) -> tuple[Net, dict[int, Ns]]:
        net = Net()
        nodes = {n: net.node(f"node-{n}") for n in (1, 2)}
        for n, node in nodes.items():
            node.nic("ens3", f"192.168.0.{n}/24")
            node.bridge("cni0", f"10.244.{n}.1/24", mtu=1450)
            node.vxlan("flannel.1", 1, f"192.168.0.{n}", f"10.244.{n}.0/32")
            pod = net.pod(node, f"pod-{n}", "cni0", f"10.244.{n}.2/24", via=f"10.244.{n}.1", mtu=1450)
            pod.listen("tcp", 80)
            pod.listen("udp", 53)
        for n, node in nodes.items():
            m = 3 - n
            far = nodes[m].named("flannel.1").mac
            index = node.named("flannel.1").ifindex
            via = Nexthop(index, pack_ip(f"10.244.{m}.0"), flags=RTNH_F_ONLINK)
            node.route(f"10.244.{m}.0/24", nexthops=(via,), scope=0)
            node.neigh("flannel.1", f"10.244.{m}.0", far, NUD_PERMANENT)
            node.add("fdb", Fdb(index, far, state=NUD_PERMANENT, dst=pack_ip(f"192.168.0.{m}")))
        return net, nodes

    def test_a_pod_on_another_node(self) -> None:
        net, _nodes = self.build()
        trace = net.trace("pod-1", "pod-2")
        assert (trace.disposition, trace.certainty) == (Disposition.DELIVERED, "certain")
        assert {"encap", "decap"} <= set(kinds(trace))
        outer = next(
            s.packet.fields()["encap"]
            for h in trace.branches[0].forward.hops
            for s in h.steps
            if s.kind == "encap"
        )
        assert [(o["src"], o["dst"], o["dport"], o["vni"], o["len"]) for o in outer] == [
            ("192.168.0.1", "192.168.0.2", 8472, 1, 110)
        ]
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is Disposition.DELIVERED

    def test_no_remote(self) -> None:
        net, nodes = self.build()
        nodes[1].lists["fdb"] = []
        assert net.trace("pod-1", "pod-2").reason == "NO_TX_TARGET"

    def test_another_vni_on_the_other_side(self) -> None:
        net, nodes = self.build()
        nodes[2].change("flannel.1", info=VxlanInfo(vni=7, port=8472))
        assert net.trace("pod-1", "pod-2").reason == "VXLAN_VNI_NOT_FOUND"

    def test_the_underlay_is_too_small_for_the_outer_packet(self) -> None:
        net, nodes = self.build()
        nodes[1].change("flannel.1", mtu=1500)
        nodes[1].change("cni0", mtu=1500)
        nodes[1].change("veth-pod-1", mtu=1500)
        net.nodes["node-1"][1].change("eth0", mtu=1500)
        trace = net.trace("pod-1", "pod-2", "udp", 53, length=1500)
        assert "fragment" in [s.action for h in trace.branches[0].forward.hops for s in h.steps]


class TestOverheard:
    """node-1 sends to pod-2-1 by way of node-3; node-2, which answers directly, has a wrong entry for node-1."""

    @pytest.mark.parametrize(
        ("state", "asks", "expected"),
        [
            (NUD_REACHABLE, True, Disposition.DELIVERED),  # node-1's question for node-3 has put it right
            (NUD_REACHABLE, False, Disposition.DROPPED),
            (NUD_PERMANENT, True, Disposition.DROPPED),
        ],
    )
    def test_a_question_for_somebody_else_updates_an_entry(
        self, state: int, asks: bool, expected: Disposition
    ) -> None:
        net, made = textbook(3)
        made["node-1"].no_route("10.1.2.0/24")
        made["node-1"].route("10.1.2.0/24", "192.168.0.3")
        made["node-2"].neigh("ens3", "192.168.0.1", net.new_mac(), state)
        if not asks:
            made["node-1"].neigh("ens3", "192.168.0.3", made["node-3"].named("ens3").mac, NUD_REACHABLE)
        answer = net.trace("node-1", "pod-2-1", "tcp", 80).branches[0].reply
        assert answer is not None
        assert answer.disposition is expected

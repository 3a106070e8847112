"""Where the state cannot tell what the kernel would do, the answer is UNKNOWN, by name.

pod-1-1 10.1.1.11 - cni0 (node-1) ens3 192.168.0.1 ---- 192.168.0.2 ens3 (node-2) cni0 - pod-2-1 10.1.2.11
"""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_SRC_NAT, CtEntry
from netviz.core.model.ipvs import IpvsServer, IpvsService
from netviz.core.model.l2 import NUD_NOARP, NUD_REACHABLE
from netviz.core.model.netns import Gap
from netviz.core.sim.conntrack.nat_unique import jhash2
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition, Step, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import SectionStatus
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    POSTROUTING,
    PREROUTING,
    chain,
    ct_state,
    e,
    verdict,
)

UNKNOWN = Disposition.UNKNOWN


@pytest.fixture
def net() -> tuple[Net, Ns]:
    """The textbook cluster and its first node, which tracks connections."""
    made, parts = textbook()
    chain(parts["node-1"], "forward", (*ct_state(2), verdict(ACCEPT)), hook=FORWARD)
    return made, parts["node-1"]


def entry(src: str, dst: str, sport: int, dport: int, **fields: object) -> CtEntry:
    a, b = pack_ip(src), pack_ip(dst)
    made = CtEntry(6, a, b, sport, dport, b, a, dport, sport)
    return msgspec.structs.replace(made, **fields)


def end(trace: Trace) -> tuple[Disposition, str]:
    return trace.disposition, trace.reason


def steps(trace: Trace, kind: str) -> list[Step]:
    return [s for hop in trace.branches[0].forward.hops for s in hop.steps if s.kind == kind]


class TestConnections:
    def test_a_gap_in_the_table(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.gaps = (Gap("conntrack", "200000 of 300000 entries are held"),)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (UNKNOWN, "connections not read")

    def test_changes_left_out_under_load(self, net: tuple[Net, Ns]) -> None:
        made, _node = net
        cluster = made.cluster()
        shed = {**cluster.nodes["node-1"].status, "conntrack": SectionStatus(1.0, shed=7)}
        nodes = {**cluster.nodes, "node-1": msgspec.structs.replace(cluster.nodes["node-1"], status=shed)}
        cluster = msgspec.structs.replace(cluster, nodes=nodes)
        flow = resolve_flow(cluster, "pod-1-1", "pod-2-1")
        assert end(simulate(cluster, flow)) == (UNKNOWN, "connections not read")

    def test_a_known_connection_needs_no_whole_table(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.gaps = (Gap("conntrack", "cut"),)
        node.add("conntrack", entry("10.1.1.11", "10.1.2.11", 40000, 80))
        assert made.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED

    def test_a_full_table(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.sysctl("net.netfilter.nf_conntrack_max", 2)
        node.add("conntrack", entry("10.9.9.9", "10.1.2.11", 1, 80))
        assert made.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED
        node.add("conntrack", entry("10.9.9.9", "10.1.2.11", 2, 80))
        assert end(made.trace("pod-1-1", "pod-2-1")) == (UNKNOWN, "full connection table")

    def test_what_a_helper_may_expect(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("conntrack", entry("10.1.1.12", "10.1.2.11", 5000, 21, helper="ftp"))
        assert end(made.trace("pod-1-1", "pod-2-1")) == (UNKNOWN, "expectation of helper ftp")
        assert made.trace("pod-1-1", "pod-2-2").disposition is Disposition.DELIVERED

    def test_entries_of_another_zone_are_others(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("conntrack", entry("10.1.1.11", "10.1.2.11", 40000, 80, zone=7, status=2))
        assert steps(made.trace("pod-1-1", "pod-2-1"), "conntrack")[0].action == "new"

    def test_a_zone_that_a_rule_sets(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("conntrack", entry("10.1.1.11", "10.1.2.11", 40000, 80, zone=7, status=2))
        zone = (e("immediate", dreg=1, data=b"\x07\0"), e("ct", key=17, sreg=1))
        chain(node, "raw", zone, hook=PREROUTING, priority=-300)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert steps(trace, "conntrack")[0].action == "established"
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is Disposition.DELIVERED

    def test_a_zone_of_one_direction_is_unknown(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        zone = (e("immediate", dreg=1, data=b"\x07\0"), e("ct", key=17, sreg=1, direction=0))
        chain(node, "raw", zone, hook=PREROUTING, priority=-300)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (UNKNOWN, "nft ct zone of one direction")

    def test_a_syn_on_a_closed_connection_leaves_a_choice(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("conntrack", entry("10.1.1.11", "10.1.2.11", 40000, 80, status=2, tcp_state=7))
        trace = made.trace("pod-1-1", "pod-2-1")
        found = [b.forward.hops[1].steps for b in trace.branches]
        assert [[s.action for s in one if s.kind == "conntrack"] for one in found] == [
            ["assume new", "new"],
            ["assume known", "established"],
        ]

    def test_a_syn_against_a_connection_under_way_is_invalid(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("conntrack", entry("10.1.2.11", "10.1.1.11", 80, 40000, status=2, tcp_state=3))
        assert steps(made.trace("pod-1-1", "pod-2-1"), "conntrack")[0].action == "invalid"


class TestPorts:
    """Masquerading on node-1's way out."""

    def masquerade(self, node: Ns, flags: int = 0) -> None:
        chain(node, "post", (e("masq", flags=flags),), hook=POSTROUTING, type="nat", priority=100)

    def ports(self, trace: Trace) -> tuple[object, object]:
        """The source port after the translation, and the answer's disposition."""
        reply = trace.branches[0].reply
        step = steps(trace, "nat")[-1]
        return step.packet.fields()["sport"], reply.disposition if reply is not None else None

    def test_kept_where_it_is_free(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node)
        assert self.ports(made.trace("pod-1-1", "pod-2-1")) == (40000, Disposition.DELIVERED)

    @pytest.mark.parametrize("flags", [4, 16])
    @pytest.mark.parametrize("proto", ["tcp", "icmp"])
    def test_random_is_not_known_and_the_answer_finds_back(
        self, net: tuple[Net, Ns], flags: int, proto: str
    ) -> None:
        made, node = net
        self.masquerade(node, flags)
        trace = made.trace("pod-1-1", "pod-2-1", proto)
        assert self.ports(trace) == (None, Disposition.DELIVERED)
        reply = trace.branches[0].reply
        assert reply is not None
        last = reply.hops[-1].steps[-1].packet.fields()
        assert (last["dst"], last["sport"] is None, last["dport"] is None) == ("10.1.1.11", False, False)

    def test_a_clash_makes_the_port_unknown(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node)
        clash = entry("10.1.1.12", "10.1.2.11", 40000, 80, rdst=pack_ip("192.168.0.1"), status=IPS_SRC_NAT)
        node.add("conntrack", clash)
        assert self.ports(made.trace("pod-1-1", "pod-2-1")) == (None, Disposition.DELIVERED)

    def test_a_source_is_translated_as_it_is_for_others(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node)
        other = entry("10.1.1.11", "10.1.2.12", 40000, 80, status=IPS_SRC_NAT)
        node.add("conntrack", msgspec.structs.replace(other, rdst=pack_ip("192.168.0.1"), rdport=1234))
        assert self.ports(made.trace("pod-1-1", "pod-2-1")) == (1234, Disposition.DELIVERED)

    def test_a_rule_that_looks_at_an_unknown_port_forks(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node, 4)
        looks = (
            e("payload", dreg=1, base=2, offset=0, len=2),
            e("cmp", sreg=1, op=0, data=b"\x9c\x40"),
            verdict(DROP),
        )
        chain(node, "last", looks, hook=POSTROUTING, priority=300)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert {b.forward.disposition for b in trace.branches} == {Disposition.DROPPED, Disposition.DELIVERED}

    def test_a_range_of_ports(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        ports = (
            e("immediate", dreg=1, data=pack_ip("192.168.0.1")),
            e("immediate", dreg=2, data=(5000).to_bytes(2, "big")),
            e("immediate", dreg=3, data=(6000).to_bytes(2, "big")),
            e("nat", type=0, family=2, reg_addr_min=1, reg_proto_min=2, reg_proto_max=3),
        )
        chain(node, "post", ports, hook=POSTROUTING, type="nat", priority=100)
        assert self.ports(made.trace("pod-1-1", "pod-2-1"))[0] is None
        assert self.ports(made.trace("pod-1-1", "pod-2-1", sport=5500))[0] == 5500

    def test_a_small_range_of_ports_is_followed_port_by_port(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        ports = (
            e("immediate", dreg=1, data=pack_ip("10.1.2.11")),
            e("immediate", dreg=2, data=(80).to_bytes(2, "big")),
            e("immediate", dreg=3, data=(81).to_bytes(2, "big")),
            e("nat", type=1, family=2, reg_addr_min=1, reg_proto_min=2, reg_proto_max=3),
        )
        chain(node, "pre", ports, hook=PREROUTING, type="nat", priority=-100)
        trace = made.trace("pod-1-1", "10.96.0.1", "tcp", 8080)
        assert [(b.probability, b.forward.disposition) for b in trace.branches] == [
            (0.5, Disposition.DELIVERED),
            (0.5, Disposition.NO_LISTENER),
        ]

    def test_the_kernels_hash(self) -> None:
        """Values of jhash2 over the words 1, 2, ... with initval 7, from a C program around the kernel's formula."""
        expected = [3735928566, 3003314766, 2045805855, 4225110701, 3166055193, 1515141918, 1063004859]
        assert [jhash2(list(range(1, count + 1)), 7) for count in range(7)] == expected


class TestBridgePorts:
    @pytest.mark.parametrize("setting", ["neigh_suppress", "proxy_arp", "proxy_arp_wifi"])
    def test_a_bridge_that_may_answer_itself(self, setting: str) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-2", **{setting: True})
        trace = net.trace("pod-1-1", "pod-1-2")
        assert (trace.disposition, setting in trace.reason) == (UNKNOWN, True)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        made["pod-1-2"].neigh("eth0", "10.1.1.11", made["pod-1-1"].named("eth0").mac)
        assert net.trace("pod-1-1", "pod-1-2").disposition is Disposition.DELIVERED

    def test_a_locked_port_needs_an_entry(self) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-1", locked=True)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        assert net.trace("pod-1-1", "pod-1-2").disposition is Disposition.DROPPED
        made["node-1"].fdb("veth-pod-1-1", made["pod-1-1"].named("eth0").mac, NUD_NOARP)
        made["pod-1-2"].neigh("eth0", "10.1.1.11", made["pod-1-1"].named("eth0").mac)
        assert net.trace("pod-1-1", "pod-1-2").disposition is Disposition.DELIVERED

    def test_a_locked_port_and_a_learned_entry(self) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-1", locked=True)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        made["node-1"].fdb("veth-pod-1-1", made["pod-1-1"].named("eth0").mac, NUD_REACHABLE)
        assert end(net.trace("pod-1-1", "pod-1-2")) == (UNKNOWN, "locked bridge port")

    def test_a_vlan_tunnel(self) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-1", vlan_tunnel=True)
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        assert end(net.trace("pod-1-1", "pod-1-2")) == (UNKNOWN, "bridge VLAN tunnel")

    def test_a_learned_entry_that_leads_to_nobody_may_have_aged(self) -> None:
        net, made = textbook(1, 3)
        mac = made["pod-1-2"].named("eth0").mac
        made["pod-1-1"].neigh("eth0", "10.1.1.12", mac)
        made["node-1"].fdb("veth-pod-1-3", mac, NUD_REACHABLE)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert [b.forward.disposition for b in trace.branches] == [Disposition.DROPPED, Disposition.DELIVERED]

    def test_resolution_does_not_go_through_programs(self) -> None:
        net, made = textbook(1)
        made["node-1"].change("veth-pod-1-2", xdp=2)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert (trace.disposition, "veth-pod-1-2" in trace.reason) == (UNKNOWN, True)


class TestIpvsConstructed:
    """IPVS whose connections could not be read: whether a server's packet is an answer isn't known."""

    def test_a_servers_answer(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        server = IpvsServer(pack_ip("10.1.2.11"), 80)
        node.add("ipvs", IpvsService(6, pack_ip("10.96.0.1"), 80, scheduler="rr", servers=(server,)))
        node.gaps = (Gap("ipvs_conns", "no"),)
        reply = made.trace("pod-1-1", "pod-2-1", "tcp", 80).branches[0].reply
        assert reply is not None
        assert (reply.disposition, reply.reason) == (UNKNOWN, "IPVS connections not read")

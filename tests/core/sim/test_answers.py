"""Where answers and ICMP errors go, which routes senders ask for, and what sockets bound to a device do."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.addr import format_ip, pack_ip, pack_prefix
from netviz.core.model.l3 import FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, RTN_LOCAL, Nexthop
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition, Step, Trace
from netviz.core.sim.walk import simulate
from netviz.core.sim.words.evidence import evidence_of
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import INPUT, OUTPUT, POSTROUTING, chain, dnat, e, snat


def pair() -> tuple[Net, Ns, Ns]:
    """Two nodes on a subnet:   a 10.0.0.1 -- wire -- b 10.0.0.2 and 10.9.0.2 on a device of its own"""
    net = Net()
    a, b = net.node("a"), net.node("b")
    a.nic("eth0", "10.0.0.1/24", "fd00::1/64")
    b.nic("eth0", "10.0.0.2/24", "fd00::2/64")
    b.nic("eth1", "10.9.0.2/24")
    return net, a, b


def bound_to(net: Net, dev: int, src: str, dst: str, proto: str) -> Trace:
    cluster = net.cluster()
    flow = resolve_flow(cluster, src, dst, proto, dport=None if proto == "icmp" else 80)
    return simulate(cluster, msgspec.structs.replace(flow, oif=dev))


def last(trace: Trace) -> Step:
    return trace.branches[0].forward.hops[-1].steps[-1]


class TestErrors:
    """The textbook network: a pod's packet is refused on its way, and its sender is told."""

    @pytest.mark.parametrize(
        ("name", "reason", "icmp"),
        [("ttl", "IP_INHDR", (11, 0)), ("mtu", "PKT_TOO_BIG", (3, 4)), ("route", "IP_INNOROUTES", (3, 0))],
    )
    def test_the_sender_of_a_dropped_packet_is_told(
        self, name: str, reason: str, icmp: tuple[int, int]
    ) -> None:
        net, made = textbook(2)
        fields: dict[str, object] = {}
        if name == "mtu":
            made["node-1"].change("ens3", mtu=1300)
            fields = {"length": 1400, "df": True}
        if name == "route":
            made["node-1"].no_route("10.1.2.0/24")
            made["node-1"].no_route("0.0.0.0/0")
        cluster = net.cluster()
        flow = resolve_flow(cluster, "pod-1-1", "pod-2-1", "udp", dport=80, **fields)  # type: ignore[arg-type]
        if name == "ttl":
            flow = msgspec.structs.replace(flow, ttl=1)
        trace = simulate(cluster, flow)
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, reason)
        reply = trace.branches[0].reply
        assert reply is not None
        answer = reply.hops[0].steps[0].packet
        assert (answer.icmp_type, answer.icmp_code) == icmp
        assert reply.disposition is Disposition.DELIVERED
        assert reply.hops[-1].place.pod == "default/pod-1-1"

    def test_an_unreachable_neighbour_is_told_too(self) -> None:
        net, _ = textbook(2)
        trace = net.trace("pod-1-1", "10.1.2.77")
        assert trace.reason == "NEIGH_FAILED"
        reply = trace.branches[0].reply
        assert reply is not None
        assert reply.hops[0].place.name == "node-2"
        assert reply.hops[0].steps[0].packet.icmp_code == 1

    @pytest.mark.parametrize("inbound", [0, 1])
    def test_the_setting_that_chose_an_errors_source_is_named(self, inbound: int) -> None:
        net, made = textbook(2)
        made["node-2"].sysctl("net.ipv4.icmp_errors_use_inbound_ifaddr", inbound)
        reply = net.trace("pod-1-1", "10.1.2.77").branches[0].reply
        assert reply is not None
        assert reply.hops[0].steps[0].what.inbound is bool(inbound)


class TestSenders:
    def test_a_ping_without_a_source_is_routed_before_it_has_one(self) -> None:
        net, a, _ = pair()
        a.rule(10, src=pack_ip("10.0.0.1"), src_len=32, action=FR_ACT_UNREACHABLE)
        assert net.trace("a", "10.0.0.2", "icmp").disposition is Disposition.DELIVERED
        assert net.trace("10.0.0.1", "10.0.0.2", "icmp").reason == "IP_OUTNOROUTES"

    def test_tcp_asks_again_with_the_source(self) -> None:
        net, a, _ = pair()
        a.rule(10, src=pack_ip("10.0.0.1"), src_len=32, action=FR_ACT_UNREACHABLE)
        assert net.trace("a", "10.0.0.2", "tcp").reason == "IP_OUTNOROUTES"

    def test_a_datagram_may_do_either(self) -> None:
        net, a, b = pair()
        b.listen("udp", 80)
        a.rule(10, src=pack_ip("10.0.0.1"), src_len=32, action=FR_ACT_UNREACHABLE)
        ends = {branch.forward.disposition for branch in net.trace("a", "10.0.0.2", "udp", 80).branches}
        assert ends == {Disposition.DELIVERED, Disposition.DROPPED}

    def test_what_is_bound_to_a_device_goes_out_of_it_without_a_route(self) -> None:
        net, a, b = pair()
        b.listen("tcp", 80)
        a.rule(10, action=FR_ACT_BLACKHOLE)
        eth0 = a.named("eth0").ifindex
        assert net.trace("10.0.0.1", "10.0.0.2", "tcp", 80).reason == "IP_OUTNOROUTES"
        assert bound_to(net, eth0, "10.0.0.1", "10.0.0.2", "tcp").disposition is Disposition.DELIVERED

    def test_so_does_what_a_translation_routes_again(self) -> None:
        net, a, b = pair()
        b.listen("tcp", 80)
        a.rule(10, action=FR_ACT_BLACKHOLE)
        chain(a, "out", dnat("10.0.0.2"), hook=OUTPUT, type="nat", priority=-100)
        eth0 = a.named("eth0").ifindex
        assert bound_to(net, eth0, "10.0.0.1", "10.0.0.9", "tcp").disposition is Disposition.DELIVERED

    def test_what_is_bound_to_a_device_that_is_down_goes_nowhere(self) -> None:
        net, a, _ = pair()
        a.nic("eth1", "10.8.0.1/24")
        a.down("eth1")
        a.rule(10, action=FR_ACT_BLACKHOLE)
        step = last(bound_to(net, a.named("eth1").ifindex, "10.0.0.1", "10.0.0.2", "tcp"))
        assert (step.reason, step.what.errno) == ("IP_OUTNOROUTES", "ENETUNREACH")

    def test_a_listener_bound_to_another_device_takes_nothing(self) -> None:
        net, _, b = pair()
        b.listen("tcp", 80, ifindex=b.named("eth1").ifindex)
        assert net.trace("a", "10.0.0.2", "tcp", 80).disposition is Disposition.NO_LISTENER

    @pytest.mark.parametrize("proto", ["icmp", "udp", "tcp"])
    def test_a_sender_bound_to_a_device_hears_nothing_that_comes_by_another(self, proto: str) -> None:
        net, a, b = pair()
        a.nic("eth2", "10.9.0.1/24")
        b.listen("tcp", 80)
        b.listen("udp", 80, addr="10.0.0.2")
        b.no_route("10.0.0.0/24")
        b.route("10.0.0.0/24", via="10.9.0.1")
        trace = bound_to(net, a.named("eth0").ifindex, "10.0.0.1", "10.0.0.2", proto)
        reply = trace.branches[0].reply
        assert reply is not None
        assert (reply.disposition, reply.reason) == (Disposition.DROPPED, "NO_SOCKET")
        unbound = net.trace("10.0.0.1", "10.0.0.2", proto, None if proto == "icmp" else 80).branches[0].reply
        assert unbound is not None
        assert unbound.disposition is Disposition.DELIVERED

    def test_looped_back_packets_come_by_the_device_with_the_address(self) -> None:
        net, _, b = pair()
        b.listen("tcp", 80, ifindex=b.named("eth1").ifindex)
        assert net.trace("b", "10.9.0.2", "tcp", 80).disposition is Disposition.DELIVERED
        assert net.trace("b", "10.0.0.2", "tcp", 80).disposition is Disposition.NO_LISTENER


class TestListeners:
    @pytest.mark.parametrize(("dst", "df"), [("10.0.0.2", True), ("fd00::2", False)])
    def test_a_datagrams_answer_must_not_be_fragmented(self, dst: str, df: bool) -> None:
        net, _, b = pair()
        b.listen("udp", 80, "::")
        reply = net.trace("a", dst, "udp", 80).branches[0].reply
        assert reply is not None
        assert reply.hops[-1].steps[-1].packet.df is df

    def test_a_datagrams_answer_may_have_no_route_before_it_has_a_source(self) -> None:
        net, _, b = pair()
        b.listen("udp", 80)
        low, length = pack_prefix("10.0.0.0/8")
        b.rule(10, src=low, src_len=length, invert=True, action=FR_ACT_UNREACHABLE)
        replies = [branch.reply for branch in net.trace("a", "10.0.0.2", "udp", 80).branches]
        assert [reply.disposition for reply in replies if reply is not None] == [
            Disposition.DROPPED,
            Disposition.DELIVERED,
        ]

    def test_an_answer_whose_port_translation_had_to_change_is_not_the_senders(self) -> None:
        net, _, b = pair()
        b.addr("eth0", "10.0.0.3/24")
        b.listen("udp", 80)
        chain(b, "post", snat("10.0.0.3"), hook=POSTROUTING, type="nat", priority=100)
        replies = [branch.reply for branch in net.trace("a", "10.0.0.3", "udp", 80).branches]
        assert [reply.disposition for reply in replies if reply is not None] == [
            Disposition.NO_LISTENER,
            Disposition.DELIVERED,
        ]


class TestForeignAddresses:
    """A policy rule makes an address local that nobody has: IPv4 finds no route for what would answer from it."""

    @pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
    @pytest.mark.parametrize("listening", [True, False])
    @pytest.mark.parametrize("own", [True, False])
    def test_nobody_answers_from_an_address_that_is_not_here(
        self, proto: str, listening: bool, own: bool
    ) -> None:
        trace = self.ask(proto, listening=listening, own=own)
        assert trace.disposition is (
            Disposition.DELIVERED if listening or proto == "icmp" else Disposition.NO_LISTENER
        )
        assert (trace.branches[-1].reply is not None) == own  # the first of UDP's has another source

    def test_a_transparent_socket_does(self) -> None:
        assert self.ask("tcp", listening=True, transparent=True).branches[0].reply is not None

    @pytest.mark.parametrize("own", [True, False])
    def test_a_refusal_at_the_input_hook_is_not_told(self, own: bool) -> None:
        trace = self.ask("udp", rejects=True, own=own)
        assert trace.disposition is Disposition.REJECTED
        assert (trace.branches[0].reply is not None) == own

    @staticmethod
    def ask(
        proto: str,
        *,
        listening: bool = False,
        transparent: bool = False,
        own: bool = False,
        rejects: bool = False,
    ) -> Trace:
        net, a, b = pair()
        a.route("10.8.0.0/24", "10.0.0.2")
        loop = (Nexthop(b.named("lo").ifindex),)
        b.rule(50, table_id=100)
        table = 255 if own else 100
        b.route("10.8.0.0/24", table_id=table, type=RTN_LOCAL, scope=254, nexthops=loop)
        if listening and proto != "icmp":
            b.listen(proto, 80, transparent=transparent)
        if rejects:
            chain(b, "input", (e("reject", type=0, icmp_code=3),), hook=INPUT)
        return net.trace("a", "10.8.0.8", proto, None if proto == "icmp" else 80)


class TestNeighbours:
    def test_what_keeps_a_neighbour_silent_is_named(self) -> None:
        net, _, b = pair()
        b.conf4("eth0", arp_ignore=8)
        trace = net.trace("a", "10.0.0.2")
        assert trace.reason == "NEIGH_FAILED"
        assert evidence_of(last(trace))["silent"] == ["b: arp_ignore of eth0 is 8"]

    def test_a_question_that_is_refused_for_its_source_is_named(self) -> None:
        net, _, b = pair()
        b.conf4("eth0", rp_filter=1)
        b.route("10.0.0.1/32", dev="eth1")
        said = evidence_of(last(net.trace("a", "10.0.0.2")))["silent"]
        assert [text.partition(" is refused on")[0] for text in said] == ["b: a request from 10.0.0.1"]

    def test_a_closed_bridge_port_is_named(self) -> None:
        net, made = textbook(1)
        made["node-1"].port("veth-pod-1-1", state=0)
        trace = net.trace("pod-1-1", "10.1.1.1")
        assert trace.reason == "NEIGH_FAILED"
        assert evidence_of(last(trace))["closed"] == ["veth-pod-1-1, a port of cni0, is in state disabled"]

    @pytest.mark.parametrize(("announce", "asked_from"), [(1, "10.0.0.1"), (2, "10.0.0.1")])
    def test_arp_announce_chooses_who_asks(self, announce: int, asked_from: str) -> None:
        net, a, _ = pair()
        a.nic("eth1", "10.7.0.1/24")
        a.conf4("eth0", arp_announce=announce)
        trace = net.trace("10.7.0.1", "10.0.0.2")
        steps = [step for hop in trace.branches[0].forward.hops for step in hop.steps if step.kind == "neigh"]
        assert evidence_of(steps[0])["asked_from"] == f"{asked_from} (arp_announce {announce})"
        assert format_ip(trace.flow.src) == "10.7.0.1"

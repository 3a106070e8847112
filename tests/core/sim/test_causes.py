"""What keeps a packet from arriving is named: the cause and the place, not the place alone."""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_CONFIRMED, IPS_DST_NAT, IPS_SRC_NAT, CtEntry
from netviz.core.model.link import BR_STATE_FORWARDING, BridgePort
from netviz.core.model.netfilter import NFPROTO_ARP, NftExpr
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.outcome import outcome_of
from netviz.core.sim.render import render_text
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.step import why
from tests.core.sim.build import UP, Net, Ns, textbook
from tests.core.sim.nft import DROP, FORWARD, POSTROUTING, chain, daddr, dnat, e, snat, verdict


def last_words(trace: Trace, branch: int = 0) -> str:
    return why(trace.branches[branch].forward.hops[-1].steps[-1])


class TestSharedMac:
    """node-2 and node-3 are clones: their NICs have one MAC.  node-1 ---- switch ---- node-2, node-3"""

    def clones(self) -> tuple[Net, dict[str, Ns]]:
        net, made = textbook(3)
        made["node-3"].change("ens3", mac=made["node-2"].named("ens3").mac)
        return net, made

    def test_frames_may_go_to_either(self) -> None:
        trace = self.clones()[0].trace("pod-1-1", "pod-2-1")
        assert trace.certainty == "branch"
        assert {branch.forward.disposition for branch in trace.branches} == {
            Disposition.DELIVERED,
            Disposition.DROPPED,
        }
        assert "node-2 and node-3 have the same MAC" in render_text(trace)

    def test_the_answer_to_a_request_goes_back_to_no_clone(self) -> None:
        """node-3's reply is to the MAC that it comes from: the switch has just learned that this is at node-3's port."""
        trace = self.clones()[0].trace("pod-2-1", "pod-3-1")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NEIGH_FAILED")
        assert trace.certainty == "certain"
        assert trace.branches[0].reply is not None  # the sender is told
        assert "the answer comes from 02:00:" in render_text(trace)
        assert outcome_of(trace) == "broken"
        assert headline_of(trace).startswith("node-2 and node-3 have the same MAC 02:00:")

    def test_a_switch_sends_nothing_back_where_it_came_from(self) -> None:
        net, made = self.clones()
        made["node-2"].neigh("ens3", "192.168.0.3", made["node-3"].named("ens3").mac)
        trace = net.trace("pod-2-1", "pod-3-1")
        assert (trace.disposition, trace.certainty) == (Disposition.DROPPED, "certain")
        assert "sends no frame back by the port that it came from" in last_words(trace)
        assert headline_of(trace).startswith("node-2 and node-3 have the same MAC 02:00:")

    def test_nor_does_a_bridge(self) -> None:
        net, made = textbook()
        made["pod-1-2"].change("eth0", mac=made["pod-1-1"].named("eth0").mac)
        trace = net.trace("pod-1-1", "pod-1-2")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NEIGH_FAILED")
        assert headline_of(trace).startswith("links of node-1 have the same MAC 02:00:")
        assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED


class TestNoFreePort:
    """Everything from the pods to the router's side is masqueraded to port 40000."""

    def clash(self, proto: str, tcp_state: int = 0) -> Trace:
        net, made = textbook()
        number = {"udp": 17, "tcp": 6}[proto]
        port = e("immediate", dreg=9, data=(40000).to_bytes(2, "big"))
        masq = e("masq", reg_proto_min=9, reg_proto_max=9)
        chain(made["node-1"], "post", (port, masq), hook=POSTROUTING, priority=100, type="nat")
        src, node, server = (pack_ip(a) for a in ("10.1.1.12", "192.168.0.1", "203.0.113.9"))
        taken = CtEntry(
            number,
            src,
            server,
            5555,
            53,
            server,
            node,
            53,
            40000,
            status=IPS_CONFIRMED | IPS_SRC_NAT,
            tcp_state=tcp_state,
        )
        made["node-1"].conntrack(taken)
        return net.trace("pod-1-1", "203.0.113.9", proto, 53)

    def test_the_packet_is_dropped(self) -> None:
        trace = self.clash("udp")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NETFILTER_DROP")
        assert "No port is free" in last_words(trace)

    def test_tcp_may_take_the_port_of_a_connection_in_time_wait(self) -> None:
        assert self.clash("tcp", tcp_state=7).disposition is Disposition.UNKNOWN
        assert self.clash("tcp", tcp_state=3).disposition is Disposition.DROPPED


class TestRedirect:
    """pod-1-1's node routes 10.77.0.0/24 back to its own bridge and rejects it.

    Source: net/ipv4/route.c, ip_rt_send_redirect; net/ipv4/icmp.c, icmpv4_xrlim_allow (Linux 6.18).
    """

    def rejecting(self, kind: int = 0) -> tuple[Net, Ns]:
        net, made = textbook()
        node = made["node-1"]
        node.route("10.77.0.0/24", "10.1.1.12")
        rejected = (*daddr("10.77.0.5"), e("reject", type=kind, icmp_code=3))
        chain(node, "forward", rejected, hook=FORWARD)
        return net, node

    def test_what_would_go_back_is_rejected_silently(self) -> None:
        trace = self.rejecting()[0].trace("pod-1-1", "10.77.0.5")
        assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NETFILTER_DROP")
        assert trace.branches[0].reply is None
        assert "has just been sent a redirect" in last_words(trace)

    def test_a_reset_is_sent_nevertheless(self) -> None:
        assert self.rejecting(kind=1)[0].trace("pod-1-1", "10.77.0.5").disposition is Disposition.REJECTED

    def test_without_redirects_the_error_is_sent(self) -> None:
        net, node = self.rejecting()
        node.conf4("cni0", send_redirects=0)
        node.sysctl("net.ipv4.conf.all.send_redirects", 0)
        assert net.trace("pod-1-1", "10.77.0.5").disposition is Disposition.REJECTED

    @pytest.mark.parametrize("name", ["icmp_ratelimit", "icmp_ratemask"])
    def test_without_a_limit_the_error_is_sent(self, name: str) -> None:
        net, node = self.rejecting()
        node.sysctl(f"net.ipv4.{name}", 0)
        assert net.trace("pod-1-1", "10.77.0.5").disposition is Disposition.REJECTED

    def test_what_comes_from_behind_a_router_gets_no_redirect(self) -> None:
        net, node = self.rejecting()
        node.route("10.88.0.0/24", "192.168.0.9")
        trace = net.trace("pod-2-1", "10.77.0.5")
        assert trace.disposition is not Disposition.DROPPED or "redirect" not in last_words(trace)


class TestNobodyAnswers:
    def test_the_bridge_kept_another_range(self) -> None:
        net, made = textbook()
        made["node-1"].net.pod(made["node-1"], "new", "cni0", "10.1.5.11/24", via="10.1.5.1")
        assert "cni0 of node-1 has 10.1.1.1/24, another range" in last_words(net.trace("new", "pod-2-1"))

    def routed(self, proxy: int, default: bool) -> Trace:
        """A pod with a /32 behind a veth of its node: its gateway 169.254.1.1 is whoever answers for it."""
        net, made = textbook()
        node = made["node-1"]
        pod = net.netns("node-1", "ptp")
        net.veth(pod, "eth0", node, "cali1")
        node.conf4("cali1", proxy_arp=proxy)
        pod.addr("eth0", "10.1.1.77/32")
        pod.route("169.254.1.1/32", dev="eth0")
        pod.route("0.0.0.0/0", "169.254.1.1", dev="eth0")
        node.route("10.1.1.77/32", dev="cali1")
        if not default:
            node.no_route("0.0.0.0/0")
        return net.trace("ptp", "pod-2-1")

    def test_who_would_answer_for_others_lacks_a_route(self) -> None:
        assert self.routed(1, default=True).disposition is Disposition.DELIVERED
        words = last_words(self.routed(1, default=False))
        assert "node-1 answers for others on cali1 (proxy_arp), but has no route to it" in words

    def test_who_has_a_route_does_not_answer_for_others(self) -> None:
        assert "node-1: proxy_arp of cali1 is off" in last_words(self.routed(0, default=True))

    def test_the_rule_that_drops_the_request(self) -> None:
        net, made = textbook()
        drop = (*(verdict(DROP),),)
        chain(made["pod-1-2"], "in", drop, hook=0, family=NFPROTO_ARP)
        words = last_words(net.trace("pod-1-1", "pod-1-2"))
        assert "the request is dropped on its path, by arp t in on node-1: drop" in words

    def test_the_rule_that_drops_the_answer(self) -> None:
        net, made = textbook()
        chain(made["pod-1-2"], "out", (verdict(DROP),), hook=1, family=NFPROTO_ARP)
        words = last_words(net.trace("pod-1-1", "pod-1-2"))
        assert "the answer is dropped on its path, by arp t out on node-1: drop" in words

    def test_the_link_that_is_down(self) -> None:
        net, made = textbook()
        made["pod-1-2"].change("eth0", flags=UP & ~1)
        assert "default/pod-1-2 has it on eth0, which is down" in last_words(
            net.trace("pod-1-1", "10.1.1.12")
        )

    def test_the_port_that_takes_nothing(self) -> None:
        net, made = textbook()
        made["node-1"].change("veth-pod-1-2", port=BridgePort(state=BR_STATE_FORWARDING - 3))
        assert "veth-pod-1-2, a port of cni0, is in state disabled" in last_words(
            net.trace("pod-1-1", "10.1.1.99")
        )

    def test_nobody_has_it(self) -> None:
        net, _ = textbook()
        words = last_words(net.trace("pod-1-1", "10.1.1.99"))
        assert "no known namespace that hears it has this address" in words


class TestNotTranslatedBack:
    """Whose answer misses the place where the packet was translated."""

    def reply_words(self, trace: Trace) -> str:
        reply = trace.branches[0].reply
        assert reply is not None
        assert reply.disposition is Disposition.NO_LISTENER
        return why(reply.hops[-1].steps[-1])

    def test_the_answer_takes_another_path(self) -> None:
        """pod-1-1 asks node-2's port; node-2 sends it to pod-3-1, whose node answers pod-1-1 straight away."""
        net, made = textbook(3)
        node = made["node-2"]
        chain(node, "pre", (*daddr("192.168.0.2"), *dnat("10.1.3.11", 80)), hook=0, priority=-100, type="nat")
        trace = net.trace("pod-1-1", "192.168.0.2", "tcp", 31000)
        words = self.reply_words(trace)
        assert (
            "comes from 10.1.3.11:80, but the client asked 192.168.0.2:31000: node node-2 translated that"
            in words
        )
        assert "The answer's path misses node node-2" in words

    @pytest.mark.parametrize("call", [0, 1])
    def test_the_bridge_does_not_translate(self, call: int) -> None:
        """pod-1-1 asks a service of which the endpoint is pod-1-2, on the same bridge."""
        net, made = textbook()
        node = made["node-1"]
        chain(node, "pre", (*daddr("10.96.0.10"), *dnat("10.1.1.12", 80)), hook=0, priority=-100, type="nat")
        node.sysctl("net.bridge.bridge-nf-call-iptables", call)
        trace = net.trace("pod-1-1", "10.96.0.10", "tcp", 80)
        if call:
            assert trace.branches[0].reply is not None
            assert trace.branches[0].reply.disposition is Disposition.DELIVERED
        else:
            assert "bridges the answer without translating it (net.bridge.bridge-nf-call-iptables is 0)" in (
                self.reply_words(trace)
            )


class TestEdge:
    """What leaves the known network: judged there. Nodes have eth1 beside ens3, and their default route by it."""

    def two_nics(self, *rules: tuple[NftExpr, ...]) -> tuple[Net, dict[str, Ns]]:
        net, made = textbook()
        node = made["node-1"]
        node.nic("eth1", "198.51.100.1/24")
        node.no_route("0.0.0.0/0")
        node.route("0.0.0.0/0", "198.51.100.254")
        chain(node, "post", *rules, hook=POSTROUTING, priority=100, type="nat")
        return net, made

    def test_the_source_is_another_links_address(self) -> None:
        net, _ = self.two_nics(
            (
                e("meta", dreg=1, key=7),
                e("cmp", sreg=1, op=0, data=b"eth1".ljust(16, b"\0")),
                *snat("192.168.0.1"),
            )
        )
        trace = net.trace("pod-1-1", "203.0.113.9")
        assert trace.disposition is Disposition.LEFT_NETWORK
        assert "Its source 192.168.0.1 is the address of ens3, not of eth1" in last_words(trace)
        assert outcome_of(trace) == "uncertain"
        assert (
            headline_of(trace)
            == "Packets to 203.0.113.9 leave by eth1 of node-1 with ens3's address 192.168.0.1"
        )

    def test_a_private_source_that_nobody_has_translated(self) -> None:
        net, _ = self.two_nics()
        trace = net.trace("pod-1-1", "203.0.113.9")
        assert "Its source 10.1.1.11 is private and nobody has translated it" in last_words(trace)
        assert outcome_of(trace) == "good"  # a router further on may translate it, or know the pods

    def test_what_leaves_with_its_links_own_address_is_good(self) -> None:
        net, _ = self.two_nics((e("masq"),))
        trace = net.trace("pod-1-1", "203.0.113.9")
        assert outcome_of(trace) == "good"
        assert "Its source" not in last_words(trace)

    def test_a_services_address_that_escapes(self) -> None:
        """A macvlan's packets never meet the rules of its node."""
        net, made = textbook()
        node = made["node-1"]
        pod = net.macvlan(node, "mv", "ens3", "192.168.0.77/24")
        pod.route("0.0.0.0/0", "192.168.0.254")
        chain(node, "pre", (*daddr("10.96.0.10"), *dnat("10.1.1.11", 80)), hook=0, priority=-100, type="nat")
        trace = net.trace("mv", "10.96.0.10")
        assert "NAT rules of node node-1 name 10.96.0.10, but none has translated this packet" in last_words(
            trace
        )
        assert outcome_of(trace) == "uncertain"
        assert outcome_of(net.trace("mv", "10.96.0.11")) == "good"


class TestHeadlines:
    """The headline names the cause, not where the packet was last seen."""

    def test_a_connection_to_an_endpoint_that_is_gone(self) -> None:
        net, made = textbook()
        service, gone, pod = (pack_ip(a) for a in ("10.96.0.10", "10.1.2.99", "10.1.1.11"))
        entry = CtEntry(
            17, pod, service, 40053, 53, gone, pod, 8080, 40053, status=IPS_CONFIRMED | IPS_DST_NAT
        )
        made["node-1"].conntrack(entry)
        rule = (*daddr("10.96.0.10"), *dnat("10.1.2.11", 53))
        chain(made["node-1"], "pre", rule, hook=0, priority=-100, type="nat")
        assert net.trace("pod-1-1", "10.96.0.10", "udp", 53).disposition is Disposition.DELIVERED
        trace = net.trace("pod-1-1", "10.96.0.10", "udp", 53, sport=40053)
        assert headline_of(trace) == (
            "A conntrack entry of node-1 sends udp source port 40053 to 10.1.2.99, which nobody has"
        )

    def test_clones(self) -> None:
        trace = TestSharedMac().clones()[0].trace("pod-2-1", "pod-3-1")
        assert headline_of(trace).startswith("node-2 and node-3 have the same MAC 02:00:")

    def test_a_silent_rejection(self) -> None:
        trace = TestRedirect().rejecting()[0].trace("pod-1-1", "10.77.0.5")
        assert headline_of(trace).startswith("node-1 rejects packets to 10.77.0.5 silently")

    def test_who_does_not_answer(self) -> None:
        trace = TestNobodyAnswers().routed(1, default=False)
        assert headline_of(trace) == (
            "node-1 doesn't answer namespace ptp for 169.254.1.1: cali1 has proxy_arp, but no route"
        )

    def test_the_link_that_is_too_small_on_its_own_node(self) -> None:
        net, made = textbook()
        made["node-2"].change("ens3", mtu=1400)
        trace = net.trace("pod-2-1", "pod-1-1", "udp", length=1450)
        assert headline_of(trace) == "ens3 of node-2 takes at most 1400 bytes, not 1450"

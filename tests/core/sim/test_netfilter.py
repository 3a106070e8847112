"""nftables, connection tracking and translation on the node between two pods.

pod-1-1 10.1.1.11 - cni0 (node-1) ens3 192.168.0.1 ---- 192.168.0.2 ens3 (node-2) cni0 - pod-2-1 10.1.2.11
"""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_DST_NAT, IPS_SEEN_REPLY, CtEntry
from netviz.core.model.link import BridgeInfo
from netviz.core.model.netfilter import (
    NFPROTO_ARP,
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NFPROTO_NETDEV,
    NftExpr,
    SetElem,
    XtTable,
)
from netviz.core.model.netns import Gap
from netviz.core.sim.trace import Disposition, Path, Step, Trace
from netviz.core.sim.words.evidence import evidence_of
from netviz.core.sim.words.step import why
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    GOTO,
    INPUT,
    JUMP,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    RETURN,
    chain,
    ct_state,
    daddr,
    dnat,
    dport,
    e,
    elements,
    l4proto,
    saddr,
    snat,
    table,
    verdict,
)

ACCEPTED, DROPPED = Disposition.DELIVERED, Disposition.DROPPED


def steps(path: Path, kind: str) -> list[Step]:
    return [step for hop in path.hops for step in hop.steps if step.kind == kind]


def end(trace: Trace) -> tuple[Disposition, str]:
    return trace.disposition, trace.reason


@pytest.fixture
def net() -> tuple[Net, Ns]:
    """The textbook cluster and its first node."""
    made, parts = textbook()
    return made, parts["node-1"]


class TestFilter:
    def test_a_matching_rule_drops_and_is_named(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(
            node,
            "forward",
            (*saddr("10.9.9.9"), verdict(ACCEPT)),
            (*saddr("10.1.1.11"), verdict(DROP)),
            hook=FORWARD,
        )
        trace = made.trace("pod-1-1", "pod-2-1")
        assert end(trace) == (DROPPED, "NETFILTER_DROP")
        step = trace.branches[0].forward.hops[-1].steps[-1]
        assert (step.kind, evidence_of(step)["rule"], step.what.hit.handle) == (
            "netfilter",
            "ip saddr 10.1.1.11 drop",
            11,
        )
        assert made.trace("pod-1-2", "pod-2-1").disposition is ACCEPTED

    def test_the_policy(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (*dport(80), verdict(ACCEPT)), hook=FORWARD, policy=DROP)
        assert made.trace("pod-1-1", "pod-2-1", "udp", 53).disposition is DROPPED
        trace = made.trace("pod-1-1", "pod-2-1", "tcp", 80)
        assert trace.disposition is ACCEPTED
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is DROPPED

    def test_accept_ends_one_chain_not_the_hook(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "first", (verdict(ACCEPT),), hook=FORWARD, priority=-1)
        chain(node, "second", (verdict(DROP),), hook=FORWARD, priority=0, family=NFPROTO_INET)
        assert made.trace("pod-1-1", "pod-2-1").disposition is DROPPED

    def test_priorities_order_chains(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        mark = (e("immediate", dreg=1, data=b"\x07\0\0\0"), e("meta", key=3, sreg=1))
        is_marked = (e("meta", dreg=1, key=3), e("cmp", sreg=1, op=0, data=b"\x07\0\0\0"))
        chain(node, "late", (*is_marked, verdict(DROP)), hook=FORWARD, priority=10)
        chain(node, "early", mark, hook=FORWARD, priority=-10)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert trace.disposition is DROPPED
        assert trace.branches[0].forward.hops[-1].steps[-1].packet.mark == 7

    def test_jump_goto_and_return(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "inner", (*saddr("10.1.1.12"), verdict(RETURN)), (verdict(GOTO, "last"),))
        chain(node, "last", (*dport(81), verdict(DROP)))
        chain(node, "forward", (verdict(JUMP, "inner"),), (*dport(53), verdict(DROP)), hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1", "tcp", 81).disposition is DROPPED
        assert made.trace("pod-1-2", "pod-2-1", "tcp", 81).disposition is Disposition.NO_LISTENER
        assert made.trace("pod-1-2", "pod-2-1", "udp", 53).disposition is DROPPED
        # last is entered by goto from inner, so its end returns to forward.
        assert made.trace("pod-1-1", "pod-2-1", "udp", 53).disposition is DROPPED

    def test_input_and_output_hooks(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "in", (*l4proto(1), verdict(DROP)), hook=INPUT)
        chain(node, "out", (*dport(99), verdict(DROP)), hook=OUTPUT)
        assert made.trace("pod-1-1", "192.168.0.1", "icmp").disposition is DROPPED
        assert made.trace("pod-1-1", "pod-2-1", "icmp").disposition is ACCEPTED
        assert made.trace("node-1", "pod-2-1", "tcp", 99).disposition is DROPPED

    def test_a_reset_about_a_bridged_packet_leaves_by_its_port_as_from_who_was_asked(
        self, net: tuple[Net, Ns]
    ) -> None:
        """nf_send_reset, nf_bridge_info_exists: it passes neither OUTPUT nor the bridge."""
        made, node = net
        node.change("cni0", info=BridgeInfo(nf_call_iptables=True))
        chain(node, "forward", (*dport(80), e("reject", type=1)), hook=FORWARD)
        chain(node, "output", (verdict(DROP),), hook=OUTPUT)
        branch = made.trace("pod-1-1", "pod-1-2").branches[0]
        assert (branch.forward.disposition, branch.forward.reason) == (Disposition.REJECTED, "tcp-reset")
        assert branch.reply is not None
        assert branch.reply.disposition is Disposition.DELIVERED
        asked = branch.forward.hops[-1].steps[-1].packet
        answer = branch.reply.hops[0].steps[0].packet
        assert (answer.smac, answer.dmac) == (asked.dmac, asked.smac)
        node.lists["routes"] = []
        assert made.trace("pod-1-1", "pod-1-2").reason == "NETFILTER_DROP"

    def test_a_dormant_table_does_nothing(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        table(node, "asleep", flags=1)
        chain(node, "forward", (verdict(DROP),), hook=FORWARD, tbl="asleep")
        assert made.trace("pod-1-1", "pod-2-1").disposition is ACCEPTED

    @pytest.mark.parametrize(
        ("attrs", "reason"),
        [
            ({"type": 0, "icmp_code": 3}, "icmp-port-unreachable"),
            ({"type": 2, "icmp_code": 3}, "icmp-admin-prohibited"),
            ({"type": 1}, "tcp-reset"),
        ],
    )
    def test_reject(self, net: tuple[Net, Ns], attrs: dict[str, int], reason: str) -> None:
        made, node = net
        chain(node, "forward", (*dport(80), e("reject", **attrs)), hook=FORWARD)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert end(trace) == (Disposition.REJECTED, reason)
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is ACCEPTED

    def test_nobody_is_told_of_a_piece(self, net: tuple[Net, Ns]) -> None:
        """nf_send_unreach checks the packet's checksum, which a fragment that was not put together can't have."""
        made, node = net
        chain(node, "forward", (e("reject", type=0, icmp_code=3),), hook=FORWARD)
        whole = made.trace("pod-1-1", "pod-2-1", "udp", 80, length=1400)
        assert whole.disposition is Disposition.REJECTED
        pieces = made.trace("pod-1-1", "pod-2-1", "udp", 80, length=3000)
        assert (pieces.reason, pieces.branches[0].reply) == ("NETFILTER_DROP", None)

    def test_ct_state_lets_only_answers_back(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        new_from_pods = (*saddr("10.1.1.11"), *ct_state(8), verdict(ACCEPT))
        chain(node, "forward", (*ct_state(2 | 4), verdict(ACCEPT)), new_from_pods, hook=FORWARD, policy=DROP)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert trace.disposition is ACCEPTED
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is ACCEPTED
        assert made.trace("pod-2-1", "pod-1-1").disposition is DROPPED

    def test_bridge_chains_see_bridged_frames(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (*daddr("10.1.1.12"), verdict(DROP)), hook=FORWARD, family=NFPROTO_BRIDGE)
        assert made.trace("pod-1-1", "pod-1-2").disposition is DROPPED
        assert made.trace("pod-1-1", "pod-2-1").disposition is ACCEPTED

    def test_netdev_ingress(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "in", (*daddr("10.1.1.11"), verdict(DROP)), hook=0, family=NFPROTO_NETDEV, devs=("ens3",))
        trace = made.trace("pod-1-1", "pod-2-1")
        assert trace.disposition is ACCEPTED
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is DROPPED


class TestSets:
    def test_a_plain_set_and_its_negation(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        elements(node, "pods", SetElem(pack_ip("10.1.1.11")))
        load = e("payload", dreg=1, base=1, offset=12, len=4)
        chain(node, "forward", (load, e("lookup", set="pods", sreg=1), verdict(DROP)), hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1").disposition is DROPPED
        assert made.trace("pod-1-2", "pod-2-1").disposition is ACCEPTED
        node.lists["nft_chains"] = []
        chain(node, "forward", (load, e("lookup", set="pods", sreg=1, flags=1), verdict(DROP)), hook=FORWARD)
        assert made.trace("pod-1-2", "pod-2-1").disposition is DROPPED

    def test_intervals(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        bounds = [SetElem(pack_ip("10.1.1.11")), SetElem(pack_ip("10.1.1.12"), end=True)]
        elements(node, "range", *bounds, flags=4)
        load = e("payload", dreg=1, base=1, offset=12, len=4)
        chain(node, "forward", (load, e("lookup", set="range", sreg=1), verdict(DROP)), hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1").disposition is DROPPED
        assert made.trace("pod-1-2", "pod-2-1").disposition is ACCEPTED

    def test_a_verdict_map_over_a_concatenation(self, net: tuple[Net, Ns]) -> None:
        """As kube-proxy's nftables mode: ip daddr . meta l4proto . th dport vmap @services"""
        made, node = net
        key = pack_ip("10.96.0.1") + b"\x06\0\0\0" + (80).to_bytes(2, "big") + b"\0\0"
        elements(
            node, "services", SetElem(key, verdict=GOTO, chain="svc"), key_len=12, fields=(4, 1, 2), flags=8
        )
        loads = (
            e("payload", dreg=1, base=1, offset=16, len=4),
            e("meta", dreg=9, key=16),
            e("payload", dreg=10, base=2, offset=2, len=2),
            e("lookup", set="services", sreg=1, dreg=0),
        )
        chain(node, "svc", dnat("10.1.2.11", 80))
        chain(node, "pre", loads, hook=PREROUTING, priority=-100, type="nat")
        node.route("10.96.0.0/12", "192.168.0.254")
        trace = made.trace("pod-1-1", "10.96.0.1", "tcp", 80)
        assert trace.disposition is ACCEPTED
        assert trace.branches[0].forward.hops[-1].place.pod == "default/pod-2-1"
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is ACCEPTED
        assert made.trace("pod-1-1", "10.96.0.1", "tcp", 81).disposition is Disposition.LEFT_NETWORK

    def test_concatenated_ranges(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        low = pack_ip("10.1.1.0") + (70).to_bytes(2, "big") + b"\0\0"
        high = pack_ip("10.1.1.255") + (90).to_bytes(2, "big") + b"\0\0"
        elements(node, "acl", SetElem(low, high), key_len=8, fields=(4, 2), flags=4 | 0x80)
        loads = (
            e("payload", dreg=1, base=1, offset=12, len=4),
            e("payload", dreg=9, base=2, offset=2, len=2),
            e("lookup", set="acl", sreg=1),
        )
        chain(node, "forward", (*loads, verdict(DROP)), hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1", "tcp", 80).disposition is DROPPED
        assert made.trace("pod-1-1", "pod-2-1", "tcp", 91).disposition is Disposition.NO_LISTENER


class TestNat:
    def masquerade(self, node: Ns) -> None:
        rule = (
            e("payload", dreg=1, base=1, offset=12, len=3),
            e("cmp", sreg=1, op=0, data=bytes((10, 1, 1))),
            e("payload", dreg=1, base=1, offset=16, len=2),
            e("cmp", sreg=1, op=1, data=bytes((10, 1))),
            e("counter"),
            e("masq"),
        )
        chain(node, "post", rule, hook=POSTROUTING, priority=100, type="nat")

    def test_masquerade_only_for_what_leaves(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node)
        out = made.trace("pod-1-1", "203.0.113.5", "udp", 53)
        assert out.disposition is Disposition.LEFT_NETWORK
        assert out.branches[0].forward.hops[-1].steps[-1].packet.src == pack_ip("192.168.0.1")
        inside = made.trace("pod-1-1", "pod-2-1")
        assert inside.branches[0].forward.hops[-1].steps[-1].packet.src == pack_ip("10.1.1.11")

    def test_the_reply_is_translated_back(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node)
        trace = made.trace("pod-1-1", "192.168.0.2", "icmp")
        assert trace.branches[0].forward.hops[-1].steps[-1].packet.src == pack_ip("192.168.0.1")
        reply = trace.branches[0].reply
        assert reply is not None
        assert reply.disposition is ACCEPTED
        assert steps(reply, "nat")[-1].diff == {"dst": ("192.168.0.1", "10.1.1.11")}

    def test_a_port_unreachable_finds_its_way_back_through_nat(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.masquerade(node)
        trace = made.trace("pod-1-1", "192.168.0.2", "udp", 99)
        assert end(trace) == (Disposition.NO_LISTENER, "icmp-port-unreachable")
        reply = trace.branches[0].reply
        assert reply is not None
        assert (reply.disposition, reply.hops[-1].place.pod) == (ACCEPTED, "default/pod-1-1")

    def test_dnat_in_output_routes_again(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(
            node,
            "out",
            (*daddr("203.0.113.7"), *dnat("10.1.1.12", 80)),
            hook=OUTPUT,
            priority=-100,
            type="nat",
        )
        trace = made.trace("node-1", "203.0.113.7", "tcp", 8080)
        assert trace.disposition is ACCEPTED
        assert trace.branches[0].forward.hops[-1].place.pod == "default/pod-1-2"

    def test_snat(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(
            node,
            "post",
            (*daddr("10.1.2.11"), *snat("192.168.0.1")),
            hook=POSTROUTING,
            priority=100,
            type="nat",
        )
        trace = made.trace("pod-1-1", "pod-2-1")
        assert trace.branches[0].forward.hops[-1].steps[-1].packet.src == pack_ip("192.168.0.1")
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is ACCEPTED

    def test_an_established_connection_keeps_its_mapping(self, net: tuple[Net, Ns]) -> None:
        """The rule says pod-1-2; the entry that is there says pod-2-1."""
        made, node = net
        chain(
            node,
            "pre",
            (*daddr("10.96.0.1"), *dnat("10.1.1.12", 80)),
            hook=PREROUTING,
            priority=-100,
            type="nat",
        )
        node.route("10.96.0.0/12", "192.168.0.254")
        assert (
            made.trace("pod-1-1", "10.96.0.1", "tcp", 80).branches[0].forward.hops[-1].place.pod
            == "default/pod-1-2"
        )
        entry = CtEntry(
            6,
            pack_ip("10.1.1.11"),
            pack_ip("10.96.0.1"),
            40000,
            80,
            pack_ip("10.1.2.11"),
            pack_ip("10.1.1.11"),
            80,
            40000,
            status=IPS_SEEN_REPLY | IPS_DST_NAT | 0x188,
        )
        node.conntrack(entry)
        assert (
            made.trace("pod-1-1", "10.96.0.1", "tcp", 80).branches[0].forward.hops[-1].place.pod
            == "default/pod-2-1"
        )
        assert made.trace("pod-1-1", "10.96.0.1", "tcp", 80, sport=41000).branches[0].forward.hops[
            -1
        ].place.pod == ("default/pod-1-2")

    def test_numgen_makes_a_branch_an_endpoint(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        for number, pod in ((0, "10.1.1.12"), (1, "10.1.2.11")):
            chain(node, f"ep{number}", dnat(pod, 80))
        picks = [SetElem(n.to_bytes(4, "little"), verdict=GOTO, chain=f"ep{n}") for n in (0, 1)]
        elements(node, "eps", *picks)
        rule = (
            *daddr("10.96.0.1"),
            e("numgen", dreg=1, modulus=2, type=1),
            e("lookup", set="eps", sreg=1, dreg=0),
        )
        chain(node, "pre", rule, hook=PREROUTING, priority=-100, type="nat")
        node.route("10.96.0.0/12", "192.168.0.254")
        trace = made.trace("pod-1-1", "10.96.0.1", "tcp", 80)
        assert (trace.disposition, trace.certainty) == (ACCEPTED, "branch")
        assert [b.probability for b in trace.branches] == [0.5, 0.5]
        assert [b.forward.hops[-1].place.pod for b in trace.branches] == [
            "default/pod-1-2",
            "default/pod-2-1",
        ]


class TestResolution:
    """Rules that stop address resolution between two pods of a bridge."""

    def test_an_arp_chain_stops_the_question(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        asks_for_me = (
            e("payload", dreg=1, base=1, offset=24, len=4),
            e("cmp", sreg=1, op=0, data=pack_ip("10.1.1.1")),
        )
        chain(node, "in", (*asks_for_me, verdict(DROP)), hook=0, family=NFPROTO_ARP)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (DROPPED, "NEIGH_FAILED")
        assert made.trace("pod-2-1", "pod-2-2").disposition is ACCEPTED

    def test_an_arp_chain_stops_the_answer(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        is_reply = (e("payload", dreg=1, base=1, offset=6, len=2), e("cmp", sreg=1, op=0, data=b"\0\x02"))
        chain(node, "out", (*is_reply, verdict(DROP)), hook=1, family=NFPROTO_ARP)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (DROPPED, "NEIGH_FAILED")

    @pytest.mark.parametrize(
        ("offset", "hook", "expected"),
        [
            (14, 1, (DROPPED, "NEIGH_FAILED")),  # the answer says that somebody else is there
            (24, 1, (ACCEPTED, "")),  # whom it is said to is not looked at
            (24, 0, (Disposition.UNKNOWN, "filtered address resolution")),  # the question asks for another
        ],
    )
    def test_changed_addresses(
        self, net: tuple[Net, Ns], offset: int, hook: int, expected: tuple[Disposition, str]
    ) -> None:
        """Measured on Linux 6.18 by what the requester's neighbour entry becomes."""
        made, node = net
        operation = b"\0\2" if hook == 1 else b"\0\1"
        lies = (
            e("payload", dreg=1, base=1, offset=6, len=2),
            e("cmp", sreg=1, op=0, data=operation),
            e("immediate", dreg=1, data=pack_ip("10.1.1.9")),
            e("payload", sreg=1, base=1, offset=offset, len=4),
        )
        chain(node, "changes", lies, hook=hook, family=NFPROTO_ARP)
        assert end(made.trace("pod-1-1", "pod-2-1")) == expected

    @pytest.mark.parametrize(
        ("family", "hook", "devs"), [(NFPROTO_BRIDGE, FORWARD, ()), (NFPROTO_NETDEV, 1, ("veth-pod-1-2",))]
    )
    def test_chains_of_bridges_and_devices_see_arp_too(
        self, net: tuple[Net, Ns], family: int, hook: int, devs: tuple[str, ...]
    ) -> None:
        made, node = net
        is_arp = (e("meta", dreg=1, key=1), e("cmp", sreg=1, op=0, data=b"\x08\x06"))
        chain(node, "stop", (*is_arp, verdict(DROP)), hook=hook, family=family, devs=devs)
        assert end(made.trace("pod-1-1", "pod-1-2")) == (DROPPED, "NEIGH_FAILED")
        assert made.trace("pod-1-1", "pod-2-1").disposition is ACCEPTED

    @pytest.mark.parametrize(("allowed", "reason"), [((), "NEIGH_FAILED"), ((135, 136), "")])
    def test_an_ipv6_input_policy_needs_to_allow_discovery(
        self, net: tuple[Net, Ns], allowed: tuple[int, ...], reason: str
    ) -> None:
        made, _node = net
        pods = [ns for ns in made.nodes["node-1"] if not ns.root]
        for number, pod in enumerate(pods, 1):
            pod.addr("eth0", f"fd00::{number}/64")
        pods[1].listen("tcp", 80, "::")
        rules = [
            (
                e("payload", dreg=1, base=2, offset=0, len=1),
                e("cmp", sreg=1, op=0, data=bytes([kind])),
                verdict(ACCEPT),
            )
            for kind in allowed
        ]
        chain(
            pods[1],
            "in",
            *rules,
            (*l4proto(6), *dport(80), verdict(ACCEPT)),
            hook=INPUT,
            policy=DROP,
            family=NFPROTO_IPV6,
        )
        assert made.trace("fd00::1", "fd00::2", "tcp", 80).reason == reason


class TestUnknown:
    def test_an_unmodelled_match_forks(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        rule = (*saddr("10.1.1.11"), e("match", name="u32", rev=0, info=b""), verdict(DROP))
        chain(node, "forward", rule, hook=FORWARD)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.certainty) == (Disposition.UNKNOWN, "branch")
        assert [b.forward.disposition for b in trace.branches] == [DROPPED, ACCEPTED]
        guess = steps(trace.branches[0].forward, "netfilter")[0]
        assert (guess.what.expression, guess.certainty) == ("match u32", "unknown")

    def test_a_fork_that_ends_alike_is_no_doubt_about_the_end(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (e("limit", rate=1), verdict(ACCEPT)), (verdict(ACCEPT),), hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1").disposition is ACCEPTED

    def test_an_unmodelled_match_without_effect_is_no_fork(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (e("limit", rate=1), e("log")), hook=FORWARD)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.certainty) == (ACCEPTED, "certain")

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("queue", "nft queue 0 (a program outside the kernel decides)"),
            ("synproxy", "nft synproxy"),
            ("fwd", "fwd outside a nat chain"),
            ("newthing", "nft newthing"),
        ],
    )
    def test_an_unmodelled_statement_stops(self, net: tuple[Net, Ns], name: str, reason: str) -> None:
        made, node = net
        chain(node, "forward", (e(name, flags=0),), hook=FORWARD)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (Disposition.UNKNOWN, reason)

    @pytest.mark.parametrize(
        ("asks", "matches"),
        [
            (ct_state(8), True),
            ((e("ct", dreg=1, key=3), e("cmp", sreg=1, op=0, data=bytes(4))), False),
            ((e("ct", dreg=1, key=17), e("cmp", sreg=1, op=0, data=b"\5\0")), False),
            ((e("ct", dreg=1, key=1), e("cmp", sreg=1, op=0, data=b"\0")), False),
        ],
    )
    def test_of_a_template_nft_reads_the_state_alone(
        self, net: tuple[Net, Ns], asks: tuple[NftExpr, ...], matches: bool
    ) -> None:
        """Measured on Linux 6.18: after `ct zone set 5`, state new matches; mark, zone and direction break."""
        made, node = net
        zone = (e("immediate", dreg=1, data=b"\5\0"), e("ct", sreg=1, key=17))
        chain(node, "raw", zone, (*asks, verdict(DROP)), hook=PREROUTING, priority=-300)
        chain(node, "later", (*ct_state(8), verdict(ACCEPT)), hook=FORWARD, policy=DROP)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert trace.disposition is (DROPPED if matches else ACCEPTED)

    @pytest.mark.parametrize(
        ("rule", "where"),
        [
            ((e("immediate", dreg=1, data=pack_ip("10.1.1.12")), e("dup", sreg_addr=1)), "10.1.1.12"),
            ((e("immediate", dreg=1, data=b"\2\0\0\0"), e("dup", sreg_dev=1)), "ens3"),
            ((e("target", name="TEE", rev=1, info=pack_ip("10.1.1.12") + bytes(36)),), "10.1.1.12"),
        ],
    )
    def test_a_copy_is_named_and_not_followed(
        self, net: tuple[Net, Ns], rule: tuple[NftExpr, ...], where: str
    ) -> None:
        made, node = net
        chain(node, "forward", (*saddr("10.1.1.11"), *rule), hook=FORWARD)
        trace = made.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.certainty) == (ACCEPTED, "certain")
        [there] = steps(trace.branches[0].forward, "netfilter")
        assert evidence_of(there)["copies_sent_to"] == [where]
        assert f"A copy is sent to {where}; it is not followed." in why(there)
        answer = trace.branches[0].reply
        assert answer is not None
        assert not any(step.copies for step in steps(answer, "netfilter"))

    def test_an_unmodelled_target_is_named(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (e("target", name="SYNPROXY", rev=0, info=b""),), hook=FORWARD)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (
            Disposition.UNKNOWN,
            "nft target SYNPROXY revision 0",
        )

    def test_an_unknown_value_makes_its_comparison_unknown(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        rule = (e("meta", dreg=1, key=20), e("cmp", sreg=1, op=0, data=b"\1\0\0\0"), verdict(DROP))
        chain(node, "forward", rule, hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1").certainty == "branch"

    def test_legacy_tables_are_unknown(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("xt_tables", XtTable(2, "filter"))
        assert "legacy xtables table filter" in made.trace("pod-1-1", "pod-2-1").reason
        assert made.trace("pod-1-1", "pod-1-2").disposition is ACCEPTED

    def test_rules_that_are_not_in_the_state(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (verdict(DROP),), hook=FORWARD)
        made.bodies.clear()
        assert "rules not in the state" in made.trace("pod-1-1", "pod-2-1").reason

    def test_translations_that_are_not_in_the_state(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "post", (e("masq"),), hook=POSTROUTING, priority=100, type="nat")
        made.bodies.clear()
        assert "rules not in the state" in made.trace("pod-1-1", "pod-2-1").reason

    def test_a_jump_loop(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "a", (verdict(GOTO, "b"),))
        chain(node, "b", (verdict(GOTO, "a"),))
        chain(node, "forward", (verdict(JUMP, "a"),), hook=FORWARD)
        assert "jump loop" in made.trace("pod-1-1", "pod-2-1").reason

    def test_unread_rules(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.gaps = (Gap("nft_chains", "not permitted"),)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (Disposition.UNKNOWN, "nft_chains not read")

    def test_bridged_packets_through_ip_hooks(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "forward", (verdict(DROP),), hook=FORWARD)
        assert end(made.trace("pod-1-1", "pod-1-2")) == (Disposition.DELIVERED, "")
        node.change("cni0", info=BridgeInfo(nf_call_iptables=True))
        assert end(made.trace("pod-1-1", "pod-1-2")) == (Disposition.DROPPED, "NETFILTER_DROP")

    @pytest.mark.parametrize(
        ("family", "seen_by", "expected"),
        [(NFPROTO_BRIDGE, -200, DROPPED), (NFPROTO_IPV4, 0, ACCEPTED)],
    )
    def test_ip_hooks_take_a_bridged_frame_for_this_hosts(
        self, net: tuple[Net, Ns], family: int, seen_by: int, expected: Disposition
    ) -> None:
        made, node = net
        node.change("cni0", info=BridgeInfo(nf_call_iptables=True))
        for_others = (e("meta", key=19, dreg=1), e("cmp", sreg=1, op=0, data=b"\3"), verdict(DROP))
        chain(node, "forward", for_others, hook=FORWARD, priority=seen_by, family=family)
        for hidden in (False, True):
            if hidden:  # what a rule says that the frame is stays so, behind the IP hooks too
                said = (e("immediate", dreg=1, data=b"\3"), e("meta", key=19, sreg=1))
                chain(node, "pre", said, hook=PREROUTING, priority=-300, family=NFPROTO_BRIDGE)
            assert made.trace("pod-1-1", "pod-1-2").disposition is expected

    @pytest.mark.parametrize("by", ["net.bridge.bridge-nf-call-iptables", "the bridge's own setting"])
    def test_what_calls_the_ip_hooks_for_bridged_packets_is_named(self, net: tuple[Net, Ns], by: str) -> None:
        made, node = net
        chain(node, "forward", (verdict(DROP),), hook=FORWARD)
        if by.startswith("net."):
            node.sysctl(by, 1)
        else:
            node.change("cni0", info=BridgeInfo(nf_call_iptables=True))
        step = made.trace("pod-1-1", "pod-1-2").branches[0].forward.hops[-1].steps[-1]
        assert step.what.called_by == by

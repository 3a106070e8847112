"""nftables expressions one by one, on the node between two pods, and what this kernel lacks on constructed state.

pod-1-1 10.1.1.11 - cni0 (node-1) ens3 192.168.0.1 ---- 192.168.0.2 ens3 (node-2) cni0 - pod-2-1 10.1.2.11
"""

from __future__ import annotations

from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.l3 import Nexthop
from netviz.core.model.netfilter import (
    NF_DROP,
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    NFPROTO_NETDEV,
    NftExpr,
    NftObject,
    SetElem,
)
from netviz.core.sim.nft.jhash import jhash, jhash2
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    chain,
    ct_state,
    daddr,
    dport,
    e,
    elements,
    l4proto,
    saddr,
    verdict,
)

DELIVERED, DROPPED, UNKNOWN = Disposition.DELIVERED, Disposition.DROPPED, Disposition.UNKNOWN
Rule = tuple[NftExpr, ...]


def end(trace: Trace) -> tuple[Disposition, str]:
    return trace.disposition, trace.reason


def cmp(data: bytes, op: int = 0) -> NftExpr:
    return e("cmp", sreg=1, op=op, data=data)


def load(what: str, **attrs: Any) -> NftExpr:
    return e(what, dreg=1, **attrs)


def put(base: int, offset: int, data: bytes, csum: int = 1) -> Rule:
    """Write header bytes."""
    write = e("payload", sreg=1, base=base, offset=offset, len=len(data), csum_type=csum)
    return e("immediate", dreg=1, data=data), write


@pytest.fixture
def net() -> tuple[Net, Ns]:
    """The textbook cluster and its first node."""
    made, parts = textbook()
    return made, parts["node-1"]


def matches(net: tuple[Net, Ns], *exprs: NftExpr, hook: int = FORWARD, **flow: Any) -> bool | None:
    """Tell whether a rule of these expressions drops the packet from pod-1-1 to pod-2-1; None: it may."""
    made, node = net
    node.lists["nft_chains"] = []
    chain(node, "c", (*exprs, verdict(DROP)), hook=hook)
    trace = made.trace("pod-1-1", "pod-2-1", flow.pop("proto", "tcp"), flow.pop("dport", 80), **flow)
    if trace.certainty == "branch":
        return None
    return end(trace) == (DROPPED, "NETFILTER_DROP")


class TestHeaders:
    @pytest.mark.parametrize(
        ("base", "offset", "data", "field", "value"),
        [
            (1, 8, b"\x21", "ttl", 32),
            (1, 1, b"\x10", "tos", 16),
            (1, 12, pack_ip("10.1.1.99"), "src", pack_ip("10.1.1.99")),
            (2, 0, b"\x0d\x05", "sport", 3333),
        ],
    )
    def test_a_written_field_is_what_the_next_sees(
        self, net: tuple[Net, Ns], base: int, offset: int, data: bytes, field: str, value: object
    ) -> None:
        made, node = net
        chain(node, "c", put(base, offset, data), hook=FORWARD)
        step = made.trace("pod-1-1", "pod-2-1").branches[0].forward.hops[-1].steps[-1]
        assert getattr(step.packet, field) == value

    def test_a_new_port_is_who_answers(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "c", put(2, 2, (80).to_bytes(2, "big")), hook=FORWARD)
        assert made.trace("pod-1-1", "pod-2-1", "tcp", 99).disposition is DELIVERED

    @pytest.mark.parametrize(
        ("base", "offset", "data", "csum"), [(2, 4, bytes(4), 1), (2, 2, b"\0\x50", 0), (1, 9, b"\x11", 1)]
    )
    def test_what_breaks_the_packet_is_unknown(
        self, net: tuple[Net, Ns], base: int, offset: int, data: bytes, csum: int
    ) -> None:
        made, node = net
        chain(node, "c", put(base, offset, data, csum), hook=FORWARD)
        assert end(made.trace("pod-1-1", "pod-2-1", "tcp", 99)) == (UNKNOWN, "nft payload set")

    def test_bytes_beyond_the_packet_break_the_rule(self, net: tuple[Net, Ns]) -> None:
        assert matches(net, load("payload", base=2, offset=200, len=2), cmp(b"\0\0", 1)) is False

    def test_the_hosts_own_packet_has_no_link_header(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(
            node,
            "c",
            (load("payload", base=0, offset=0, len=6), cmp(bytes(6), 1), verdict(DROP)),
            hook=OUTPUT,
        )
        assert made.trace("node-1", "pod-2-1").disposition is DELIVERED

    @pytest.mark.parametrize(("kind", "found"), [(2, True), (4, True), (8, True), (34, False)])
    def test_a_syns_options(self, net: tuple[Net, Ns], kind: int, found: bool) -> None:
        option = load("exthdr", type=kind, offset=0, len=1, op=1, flags=1)
        assert matches(net, option, cmp(b"\1")) is found
        assert matches(net, option, cmp(b"\0"), proto="udp", dport=53) is True

    def test_an_options_value_is_unknown_and_strippable(self, net: tuple[Net, Ns]) -> None:
        size = load("exthdr", type=2, offset=2, len=2, op=1)
        assert matches(net, size, cmp(b"\x01\0", 4)) is None
        strip = e("exthdr", type=2, offset=0, len=0, op=1)
        assert matches(net, strip, load("exthdr", type=2, offset=0, len=1, op=1, flags=1), cmp(b"\0")) is None

    def test_there_are_no_extension_headers(self, net: tuple[Net, Ns]) -> None:
        assert matches(net, load("exthdr", type=7, offset=0, len=1, op=2, flags=1), cmp(b"\0")) is True
        assert matches(net, load("exthdr", type=44, offset=0, len=1, flags=1), cmp(b"\0")) is False

    def test_the_flow_label_is_unknown_but_not_the_traffic_class(self) -> None:
        made, parts = textbook()
        one, two = parts["pod-1-1"], parts["pod-1-2"]
        one.addr("eth0", "fd00::1/64")
        two.addr("eth0", "fd00::2/64")
        two.listen("tcp", 80, "::")
        first = load("payload", base=1, offset=0, len=2)
        dscp = e("bitwise", sreg=1, dreg=1, len=2, op=0, mask=b"\x0f\xc0", xor=bytes(2))
        label = e("bitwise", sreg=1, dreg=1, len=2, op=0, mask=b"\0\x0f", xor=bytes(2))
        chain(two, "c", (first, dscp, cmp(b"\x01\0"), verdict(DROP)), hook=INPUT, family=NFPROTO_INET)
        assert made.trace("fd00::1", "fd00::2", "tcp", 80, tos=0x10).disposition is DROPPED
        assert made.trace("fd00::1", "fd00::2", "tcp", 80).disposition is DELIVERED
        two.lists["nft_chains"] = []
        chain(two, "d", (first, label, cmp(bytes(2)), verdict(DROP)), hook=INPUT, family=NFPROTO_INET)
        assert made.trace("fd00::1", "fd00::2", "tcp", 80).certainty == "branch"


class TestChance:
    def test_odds_of_a_comparison(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        draw = (load("numgen", modulus=100, type=1), e("byteorder", sreg=1, dreg=1, op=1, len=4, size=4))
        chain(
            node,
            "c",
            (*saddr("10.1.1.11"), *draw, cmp((30).to_bytes(4, "big"), 2), verdict(DROP)),
            hook=FORWARD,
        )
        trace = made.trace("pod-1-1", "pod-2-1")
        assert [(b.forward.disposition, b.probability) for b in trace.branches] == [
            (DROPPED, 0.3),
            (DELIVERED, 0.7),
        ]

    def test_a_comparison_that_no_number_changes_is_certain(self, net: tuple[Net, Ns]) -> None:
        draw = (load("meta", key=24), e("byteorder", sreg=1, dreg=1, op=1, len=4, size=4))
        assert matches(net, *draw, cmp(bytes(4), 2)) is False

    def test_a_map_has_a_branch_an_outcome(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        picks = [SetElem(n.to_bytes(4, "little"), verdict=DROP if n else ACCEPT) for n in range(4)]
        elements(node, "m", *picks)
        rule = (*saddr("10.1.1.11"), load("numgen", modulus=8, type=0), e("lookup", set="m", sreg=1, dreg=0))
        chain(node, "c", rule, hook=FORWARD)
        odds = [b.probability for b in made.trace("pod-1-1", "pod-2-1").branches]
        assert odds == [1 / 8, 1 / 8, 1 / 8, 1 / 8, 4 / 8]

    def test_a_seeded_hash_is_certain_and_a_secret_one_is_not(self, net: tuple[Net, Ns]) -> None:
        source = e("payload", dreg=2, base=1, offset=12, len=4)
        number = jhash(pack_ip("10.1.1.11"), 7) * 5 >> 32
        seeded = e("hash", sreg=2, dreg=1, len=4, modulus=5, seed=7, offset=3)
        assert matches(net, source, seeded, cmp((number + 3).to_bytes(4, "little"))) is True
        assert matches(net, source, e("hash", sreg=2, dreg=1, len=4, modulus=5), cmp(bytes(4))) is None
        assert matches(net, e("hash", dreg=1, modulus=5, type=1), cmp(bytes(4))) is None

    @pytest.mark.parametrize("words", [1, 2, 3, 4, 7])
    def test_both_forms_of_the_hash_agree(self, words: int) -> None:
        data = bytes(range(words * 4))
        numbers = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        assert jhash(data, 99) == jhash2(numbers, 99)


class TestLimits:
    @pytest.mark.parametrize(
        ("expr", "found"),
        [
            (e("limit", rate=1), None),
            (e("quota", bytes=10, flags=1), True),
            (e("quota", bytes=10, flags=0), False),
            (e("quota", bytes=1000, flags=0), None),
            (e("connlimit", count=100, flags=0), True),
            (e("connlimit", count=0, flags=1), True),
            (e("connlimit", count=1, flags=1), None),
        ],
    )
    def test_what_a_packet_alone_decides(
        self, net: tuple[Net, Ns], expr: NftExpr, found: bool | None
    ) -> None:
        made, node = net
        if expr.name == "connlimit":
            node.conntrack(
                CtEntry(
                    17,
                    pack_ip("1.1.1.1"),
                    pack_ip("2.2.2.2"),
                    1,
                    2,
                    pack_ip("2.2.2.2"),
                    pack_ip("1.1.1.1"),
                    2,
                    1,
                )
            )
        assert matches((made, node), expr) is found

    def test_named_objects(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.add("nft_objects", NftObject(2, "t", "q", "quota", {"bytes": 10, "flags": 1}))
        assert matches((made, node), e("objref", imm_type=2, imm_name="q")) is True
        assert matches((made, node), e("objref", imm_type=1, imm_name="c")) is True
        assert matches((made, node), e("objref", imm_type=4, imm_name="gone")) is None

    @pytest.mark.parametrize(("kind", "name"), [(6, "tunnel"), (10, "synproxy")])
    def test_objects_that_are_not_modelled(self, net: tuple[Net, Ns], kind: int, name: str) -> None:
        made, node = net
        chain(node, "c", (e("objref", imm_type=kind, imm_name="o"),), hook=FORWARD)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (UNKNOWN, f"nft {name}")


class TestDynamicSets:
    SOURCE = e("payload", dreg=1, base=1, offset=12, len=4)
    LOOKUP = e("lookup", set="s", sreg=1)

    def sets(self, node: Ns, *elems: SetElem) -> None:
        elements(node, "s", *elems, flags=0x20 | 0x10)

    def test_an_added_element_is_found(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.sets(node)
        assert matches((made, node), self.SOURCE, self.LOOKUP) is False
        add = e("dynset", set_name="s", op=0, sreg_key=1)
        assert matches((made, node), self.SOURCE, add, self.LOOKUP) is True

    def test_a_deleted_element_is_not(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.sets(node, SetElem(pack_ip("10.1.1.11")))
        delete = e("dynset", set_name="s", op=2, sreg_key=1)
        assert matches((made, node), self.SOURCE, self.LOOKUP) is True
        assert matches((made, node), self.SOURCE, delete, self.LOOKUP) is False

    @pytest.mark.parametrize(("flags", "first"), [(0, True), (1, False)])
    def test_a_new_elements_limit_is_unused(self, net: tuple[Net, Ns], flags: int, first: bool) -> None:
        made, node = net
        limit = {"name": "limit", "attrs": {"rate": 1, "unit": 1, "flags": flags}}
        add = e("dynset", set_name="s", op=1, sreg_key=1, expr=limit)
        self.sets(node)
        assert matches((made, node), self.SOURCE, add) is first
        node.lists["nft_sets"] = []
        self.sets(node, SetElem(pack_ip("10.1.1.11"), exprs=(e("limit", rate=1, flags=flags),)))
        assert matches((made, node), self.SOURCE, add) is None

    def test_objects_by_map(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        self.sets(node, SetElem(pack_ip("10.1.1.11"), objref="c"))
        node.lists["nft_sets"] = [
            type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "obj_type": 1})
            for one in node.lists["nft_sets"]
        ]
        assert matches((made, node), self.SOURCE, e("objref", set_sreg=1, set_name="s")) is True


class TestConnections:
    def test_counters_of_a_new_connection(self, net: tuple[Net, Ns]) -> None:
        one = (1).to_bytes(8, "little")
        assert matches(net, load("ct", key=14), cmp(one)) is True
        assert matches(net, load("ct", key=14, direction=1), cmp(bytes(8))) is True
        assert matches(net, load("ct", key=15), cmp((60).to_bytes(8, "little"))) is True

    def test_labels_that_a_rule_sets(self, net: tuple[Net, Ns]) -> None:
        bit = (2).to_bytes(16, "little")
        put_label = (e("immediate", dreg=1, data=bit), e("ct", key=13, sreg=1))
        assert matches(net, *put_label, load("ct", key=13), cmp(bit)) is True
        assert matches(net, load("ct", key=13), cmp(bytes(16))) is True

    @pytest.mark.parametrize(("key", "found"), [(5, None), (23, None), (6, False)])
    def test_what_no_state_tells(self, net: tuple[Net, Ns], key: int, found: bool | None) -> None:
        assert matches(net, load("ct", key=key), cmp(bytes(4), 1)) is found

    def test_only_route_chains_look_for_a_route_again(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        mark = (e("immediate", dreg=1, data=b"\x07\0\0\0"), e("meta", key=3, sreg=1))
        node.rule(100, fwmark=7, fwmask=0xFFFFFFFF, action=6)
        chain(node, "c", mark, hook=OUTPUT, priority=-150)
        assert made.trace("node-1", "pod-2-1").disposition is DELIVERED
        node.lists["nft_chains"] = []
        chain(node, "c", mark, hook=OUTPUT, priority=-150, type="route")
        assert made.trace("node-1", "pod-2-1").reason == "NETFILTER_DROP"

    def test_flows_are_offloaded_only_when_under_way(self, net: tuple[Net, Ns]) -> None:
        """This kernel has no flow tables; from nft_flow_offload_eval."""
        made, node = net
        assert matches((made, node), e("flow_offload", table_name="ft")) is False

    def test_an_offloaded_flow_passes_the_hooks_by(self, net: tuple[Net, Ns]) -> None:
        """This kernel has no flow tables; from nf_flow_offload_ip_hook."""
        made, node = net
        chain(node, "c", (verdict(ACCEPT),), hook=FORWARD)
        node.add("nft_objects", NftObject(2, "t", "ft", "flowtable", {"devs": ["cni0"], "hook": 0}))
        a, b = pack_ip("10.1.1.11"), pack_ip("10.1.2.11")
        node.conntrack(CtEntry(6, a, b, 40000, 80, b, a, 80, 40000, status=0x18E | 1 << 14, tcp_state=3))
        assert end(made.trace("pod-1-1", "pod-2-1")) == (UNKNOWN, "flow offload")
        assert made.trace("pod-1-1", "pod-2-1", sport=40001).disposition is DELIVERED


class TestSockets:
    def test_a_listener_is_found_before_routing(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        wildcard = (load("socket", key=2), cmp(b"\1"))
        assert matches((made, node), *wildcard, hook=PREROUTING) is False
        node.listen("tcp", 80)
        assert matches((made, node), *wildcard, hook=PREROUTING) is True
        assert matches((made, node), load("socket", key=0), cmp(b"\1"), hook=PREROUTING) is False

    @pytest.mark.parametrize(("transparent", "routed"), [(True, True), (True, False), (False, True)])
    def test_a_transparent_proxy(self, net: tuple[Net, Ns], transparent: bool, routed: bool) -> None:
        made, node = net
        node.listen("tcp", 7000, transparent=transparent)
        give = (e("immediate", dreg=1, data=(7000).to_bytes(2, "big")), e("tproxy", family=2, reg_port=1))
        mark = (e("immediate", dreg=1, data=b"\x07\0\0\0"), e("meta", key=3, sreg=1))
        chain(node, "c", (*l4proto(6), *give, *mark), hook=PREROUTING, priority=-150)
        if routed:
            node.rule(50, fwmark=7, fwmask=0xFFFFFFFF, table_id=100)
            loop = (Nexthop(node.named("lo").ifindex),)
            node.route("0.0.0.0/0", table_id=100, type=2, scope=254, nexthops=loop)
        trace = made.trace("pod-1-1", "pod-2-1")
        end_hop = trace.branches[0].forward.hops[-1]
        if not transparent:
            assert (trace.disposition, end_hop.place.pod) == (DELIVERED, "default/pod-2-1")
        elif routed:
            assert (trace.disposition, end_hop.netns.node, end_hop.place.pod) == (DELIVERED, "node-1", "")
        else:
            assert (trace.disposition, trace.reason) == (DROPPED, "NOT_SPECIFIED")


class TestMeta:
    def test_who_sent_a_forwarded_packet_matches_nobody(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        owner = (load("meta", key=10), cmp(bytes(4)))
        assert matches((made, node), *owner) is False
        node.lists["nft_chains"] = []
        chain(node, "c", (*owner, verdict(DROP)), hook=OUTPUT)
        assert made.trace("node-1", "pod-2-1").certainty == "branch"

    def test_postrouting_still_knows_where_a_forwarded_packet_came_in(self, net: tuple[Net, Ns]) -> None:
        name = b"cni0".ljust(16, b"\0")
        assert matches(net, load("meta", key=6), cmp(name), hook=POSTROUTING) is True

    def test_a_packet_made_one_for_others_is_not_forwarded(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        other = (e("immediate", dreg=1, data=b"\x03"), e("meta", key=19, sreg=1))
        chain(node, "c", other, hook=PREROUTING)
        assert end(made.trace("pod-1-1", "pod-2-1")) == (DROPPED, "NOT_SPECIFIED")

    @pytest.mark.parametrize("key", [2, 20, 30, 31, 32])
    def test_what_nobody_can_know(self, net: tuple[Net, Ns], key: int) -> None:
        assert matches(net, load("meta", key=key), cmp(bytes(4))) is None

    def test_bridge_names(self, net: tuple[Net, Ns]) -> None:
        """This kernel has no nft_meta_bridge; from nft_meta_bridge_get_eval."""
        made, node = net
        rule = (load("meta", key=17), cmp(b"cni0".ljust(16, b"\0")), verdict(DROP))
        chain(node, "c", rule, hook=FORWARD, family=NFPROTO_BRIDGE)
        assert made.trace("pod-1-1", "pod-1-2").disposition is DROPPED

    def test_the_next_hop(self, net: tuple[Net, Ns]) -> None:
        assert matches(net, load("rt", key=1), cmp(pack_ip("192.168.0.2"))) is True
        assert matches(net, load("rt", key=1), cmp(pack_ip("192.168.0.2")), hook=PREROUTING) is False


class TestFib:
    @pytest.mark.parametrize(
        ("flags", "result", "data", "found"),
        [
            (1 | 8 | 32, 1, b"\1", True),
            (2 | 8 | 32, 1, b"\1", False),
            (2, 2, b"ens3".ljust(16, b"\0"), True),
            (2, 3, (1).to_bytes(4, "little"), True),
            (1 | 8, 3, (2).to_bytes(4, "little"), False),
        ],
    )
    def test_devices_and_types(
        self, net: tuple[Net, Ns], flags: int, result: int, data: bytes, found: bool
    ) -> None:
        assert matches(net, load("fib", flags=flags, result=result), cmp(data), hook=PREROUTING) is found


class TestFrames:
    def test_a_device_sends_a_frame_elsewhere(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        target = node.named("veth-pod-1-2").ifindex.to_bytes(4, "little")
        away = (*daddr("10.1.2.11"), e("immediate", dreg=1, data=target), e("fwd", sreg_dev=1))
        chain(node, "c", away, hook=0, family=NFPROTO_NETDEV, devs=("veth-pod-1-1",))
        trace = made.trace("pod-1-1", "pod-2-1")
        assert (trace.reason, trace.branches[0].forward.hops[-1].place.pod) == (
            "OTHERHOST",
            "default/pod-1-2",
        )

    def test_a_device_sends_a_packet_to_a_neighbour(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        bridge = node.named("cni0").ifindex.to_bytes(4, "little")
        to = (e("immediate", dreg=1, data=bridge), e("immediate", dreg=2, data=pack_ip("10.1.1.12")))
        away = (*daddr("10.1.2.11"), *to, e("fwd", sreg_dev=1, sreg_addr=2, nfproto=2))
        chain(node, "c", away, hook=0, family=NFPROTO_NETDEV, devs=("veth-pod-1-1",))
        hop = made.trace("pod-1-1", "pod-2-1").branches[0].forward.hops[-1]
        assert (hop.place.pod, hop.steps[-1].packet.ttl) == ("default/pod-1-2", 63)

    def test_devices_that_send_in_a_circle(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        for name, other in (("veth-pod-1-1", "veth-pod-1-2"), ("veth-pod-1-2", "veth-pod-1-1")):
            target = node.named(other).ifindex.to_bytes(4, "little")
            away = (
                e("meta", dreg=1, key=1),
                cmp(b"\x08\0"),
                e("immediate", dreg=1, data=target),
                e("fwd", sreg_dev=1),
            )
            chain(node, name, away, hook=1, family=NFPROTO_NETDEV, devs=(name,))
        assert end(made.trace("pod-2-1", "pod-1-1")) == (DROPPED, "NOT_SPECIFIED")

    @pytest.mark.parametrize("family", [NFPROTO_NETDEV, NFPROTO_BRIDGE])
    def test_a_refusal_goes_back_as_a_frame(self, net: tuple[Net, Ns], family: int) -> None:
        """This kernel has no nft_reject_bridge; from nft_reject_bridge.c."""
        made, node = net
        devs = ("veth-pod-1-1",) if family == NFPROTO_NETDEV else ()
        chain(node, "c", (*dport(81), e("reject", type=0, icmp_code=13)), hook=0, family=family, devs=devs)
        trace = made.trace("pod-1-1", "pod-2-1", "tcp", 81)
        assert end(trace) == (Disposition.REJECTED, "icmp-admin-prohibited")
        reply = trace.branches[0].reply
        assert reply is not None
        assert reply.disposition is DELIVERED
        assert reply.hops[0].steps[0].packet.src == pack_ip("10.1.2.11")

    def test_a_changed_frame_goes_on_changed(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        is_ip = (load("meta", key=1), cmp(b"\x08\0"))
        chain(node, "c", (*is_ip, *put(1, 8, b"\x21")), hook=FORWARD, family=NFPROTO_BRIDGE)
        step = made.trace("pod-1-1", "pod-1-2").branches[0].forward.hops[-1].steps[-1]
        assert step.packet.ttl == 33

    def test_inet_ingress_knows_the_family(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        rule = (load("meta", key=15), cmp(b"\x02"), *saddr("10.1.1.11"), verdict(DROP))
        chain(node, "c", rule, hook=5, family=NFPROTO_INET, devs=("veth-*",))
        assert made.trace("pod-1-1", "pod-2-1").disposition is DROPPED


class TestRejection:
    def test_a_reset_is_related(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        chain(node, "c", (*dport(81), e("reject", type=1)), hook=FORWARD)
        chain(node, "out", (*ct_state(4), verdict(DROP)), hook=OUTPUT)
        trace = made.trace("pod-1-1", "pod-2-1", "tcp", 81)
        assert trace.disposition is Disposition.REJECTED
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is DROPPED

    def test_before_routing_nobody_answers_as_the_destination(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        node.addr("ens3", "192.168.7.7/32")
        chain(node, "c", (*daddr("192.168.7.7"), e("reject", type=0, icmp_code=3)), hook=PREROUTING)
        reply = made.trace("pod-1-1", "192.168.7.7", "udp", 9).branches[0].reply
        assert reply is not None
        assert reply.hops[0].steps[0].packet.src == pack_ip("10.1.1.1")


class TestDormant:
    def test_nat_of_a_table_that_is_off(self, net: tuple[Net, Ns]) -> None:
        made, node = net
        rule = (*daddr("10.1.2.11"), verdict(DROP))
        tracked = (*daddr("192.0.2.1"), e("redir"))
        chain(node, "c", rule, tracked, hook=PREROUTING, priority=-100, type="nat", policy=NF_DROP)
        assert made.trace("pod-1-1", "pod-2-1").disposition is DROPPED
        node.lists["nft_tables"] = [
            type(one)(one.family, one.name, one.handle, 1) for one in node.lists["nft_tables"]
        ]
        assert made.trace("pod-1-1", "pod-2-1").disposition is DELIVERED

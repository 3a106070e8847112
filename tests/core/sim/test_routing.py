"""Policy rules, route lookup, forwarding checks, source selection, local delivery."""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_ip, pack_prefix
from netviz.core.model.l3 import (
    FR_ACT_BLACKHOLE,
    FR_ACT_GOTO,
    FR_ACT_UNREACHABLE,
    RTN_BLACKHOLE,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNREACHABLE,
    RTNH_F_DEAD,
    RTNH_F_LINKDOWN,
    Nexthop,
    NexthopObject,
)
from netviz.core.model.netns import Gap
from netviz.core.sim.route.rules import RouteResult, lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import Net, Ns, textbook


def router() -> Ns:
    """A namespace with two devices:   a 10.0.0.1/24   b 10.1.0.1/24"""
    node = Net().node("r")
    node.nic("a", "10.0.0.1/24", "fd00::1/64")
    node.nic("b", "10.1.0.1/24")
    return node


def ask(ns: Ns, dst: str, **fields: object) -> RouteResult:
    flow = {name: pack_ip(value) if isinstance(value, str) else value for name, value in fields.items()}
    return lookup_route(ns.build(), RouteFlow(pack_ip(dst), **flow))  # type: ignore[arg-type]


def via(result: RouteResult) -> str:
    assert not result.error, result.error
    return ".".join(str(byte) for byte in result.nexthops[0].gateway)


class TestLookup:
    def test_the_longest_prefix_wins(self) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        ns.route("10.9.0.0/16", "10.0.0.3")
        ns.route("10.9.9.0/24", "10.0.0.4")
        ns.route("10.9.9.9/32", "10.0.0.5")
        answers = {dst: via(ask(ns, dst)) for dst in ("8.8.8.8", "10.9.1.1", "10.9.9.1", "10.9.9.9")}
        assert list(answers.values()) == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]

    def test_the_lowest_metric_and_then_the_first_wins(self) -> None:
        ns = router()
        ns.route("10.9.0.0/16", "10.0.0.9", metric=200)
        ns.route("10.9.0.0/16", "10.0.0.8", metric=100, pos=1)
        ns.route("10.9.0.0/16", "10.0.0.7", metric=100, pos=0)
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.7"

    def test_a_route_for_a_tos_is_for_that_tos_alone(self) -> None:
        ns = router()
        ns.route("10.9.0.0/16", "10.0.0.9")
        ns.route("10.9.0.0/16", "10.0.0.8", tos=0x10)
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.9"
        assert via(ask(ns, "10.9.0.1", tos=0x10)) == "10.0.0.8"

    @pytest.mark.parametrize(
        ("kind", "error"),
        [(RTN_BLACKHOLE, "EINVAL"), (RTN_UNREACHABLE, "EHOSTUNREACH"), (RTN_PROHIBIT, "EACCES")],
    )
    def test_reject_types(self, kind: int, error: str) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        ns.route("10.9.0.0/16", type=kind)
        assert ask(ns, "10.9.0.1").error == error

    def test_ipv6_prefers_the_device_that_a_packet_came_in_by(self) -> None:
        ns = router()
        ns.addr("b", "fd01::1/64")
        ns.route("fd09::/16", "fd00::9", metric=5)
        ns.route("fd09::/16", "fd01::9", metric=5, pos=1)
        ns.route("fd09::/16", "fd01::8", metric=6, pos=2)
        a, b = ns.named("a").ifindex, ns.named("b").ifindex
        found = {iif: ask(ns, "fd09::1", iif=iif).nexthops[0].oif for iif in (0, a, b)}
        assert found == {0: a, a: a, b: b}

    def test_throw_goes_to_the_next_rule(self) -> None:
        ns = router()
        ns.rule(100, table_id=7)
        ns.route("0.0.0.0/0", "10.0.0.7", table_id=7)
        ns.route("10.9.0.0/16", type=RTN_THROW, table_id=7)
        ns.route("0.0.0.0/0", "10.0.0.2")
        assert via(ask(ns, "8.8.8.8")) == "10.0.0.7"
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.2"

    def test_dead_nexthops_give_way_to_shorter_prefixes(self) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        oif = ns.named("a").ifindex
        ns.route("10.9.0.0/16", nexthops=(Nexthop(oif, pack_ip("10.0.0.9"), flags=RTNH_F_DEAD),), scope=0)
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.2"

    def test_linkdown_is_ignored_only_if_told(self) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        oif = ns.named("a").ifindex
        ns.route("10.9.0.0/16", nexthops=(Nexthop(oif, pack_ip("10.0.0.9"), flags=RTNH_F_LINKDOWN),), scope=0)
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.9"
        ns.conf4("a", ignore_routes_with_linkdown=1)
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.2"

    def test_nexthop_objects_and_groups(self) -> None:
        ns = router()
        oif = ns.named("a").ifindex
        for ident in (1, 2):
            ns.add("nexthops", NexthopObject(ident, 2, oif=oif, gateway=pack_ip(f"10.0.0.{ident + 1}")))
        ns.add("nexthops", NexthopObject(9, 2, group=((1, 1), (2, 3))))
        ns.route("10.9.0.0/16", nexthops=(), nhid=9, scope=0)
        found = ask(ns, "10.9.0.1")
        assert [(nh.gateway[-1], nh.weight) for nh in found.nexthops] == [(2, 1), (3, 3)]

    def test_a_nexthop_object_of_another_device_ends_the_turn_of_all_that_begin_at_its_address(self) -> None:
        ns = router()
        a, b = ns.named("a").ifindex, ns.named("b").ifindex
        ns.add("nexthops", NexthopObject(1, 2, oif=a, gateway=pack_ip("10.0.0.9")))
        ns.route("10.9.0.0/30", nexthops=(), nhid=1, scope=0)
        ns.route("10.9.0.0/16", "10.1.0.7", dev="b")
        ns.route("0.0.0.0/0", "10.1.0.2", dev="b")
        assert via(ask(ns, "10.9.0.1")) == "10.0.0.9"
        assert via(ask(ns, "10.9.0.1", oif=b)) == "10.1.0.2"
        assert via(ask(ns, "10.9.0.4", oif=b)) == "10.1.0.7"

    def test_a_bound_ipv6_sender_takes_a_blackhole_only_from_a_nexthop_object(self) -> None:
        ns = router()
        a = ns.named("a").ifindex
        ns.route("::/0", "fd00::2", dev="a")
        ns.route("fd09::/32", type=RTN_BLACKHOLE)
        ns.route("fd0a::/32", type=RTN_BLACKHOLE, nhid=1)
        assert ask(ns, "fd09::1").error == ask(ns, "fd0a::1", oif=a).error == "EINVAL"
        assert ask(ns, "fd09::1", oif=a).nexthops[0].gateway == pack_ip("fd00::2")

    def test_ipv6(self) -> None:
        ns = router()
        ns.route("::/0", "fd00::2", dev="a")
        ns.route("fd09::/32", "fd00::3", dev="a", metric=1024)
        assert ask(ns, "fd09::1").nexthops[0].gateway == pack_ip("fd00::3")
        assert ask(ns, "2001::1").nexthops[0].gateway == pack_ip("fd00::2")
        assert ask(ns, "fd00::1").local

    def test_ten_thousand_routes_are_found_by_probing(self) -> None:
        ns = router()
        for n in range(10_000):
            ns.route(f"10.{128 + n // 250}.{n % 250}.0/24", "10.0.0.2" if n % 2 else "10.0.0.3")
        built = ns.build()
        assert all(
            lookup_route(built, RouteFlow(bytes((10, 128 + n // 250, n % 250, 7)))).nexthops[0].gateway[-1]
            == (2 if n % 2 else 3)
            for n in range(0, 10_000, 7)
        )


class TestRules:
    def test_selectors(self) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        ns.route("0.0.0.0/0", "10.0.0.7", table_id=7)
        src, length = pack_prefix("10.5.0.0/16")
        ns.rule(
            100,
            table_id=7,
            src=src,
            src_len=length,
            fwmark=0x10,
            fwmask=0xF0,
            iifname="a",
            ip_proto=6,
            dport=(80, 90),
        )
        hit = {"src": "10.5.1.1", "mark": 0x1F, "iif": ns.named("a").ifindex, "proto": 6, "dport": 85}
        assert via(ask(ns, "8.8.8.8", **hit)) == "10.0.0.7"
        for miss in ({"src": "10.6.1.1"}, {"mark": 0x20}, {"iif": 0}, {"proto": 17}, {"dport": 91}):
            assert via(ask(ns, "8.8.8.8", **{**hit, **miss})) == "10.0.0.2"

    def test_invert_goto_and_actions(self) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        ns.rule(50, action=FR_ACT_GOTO, goto=200)
        ns.rule(100, action=FR_ACT_BLACKHOLE)
        ns.rule(200, action=FR_ACT_UNREACHABLE, fwmark=1, fwmask=1, invert=True)
        assert ask(ns, "8.8.8.8").error == "ENETUNREACH"
        assert via(ask(ns, "8.8.8.8", mark=1)) == "10.0.0.2"

    def test_suppress_prefixlength(self) -> None:
        """WireGuard's way: the main table, but not its default route; then table 7."""
        ns = router()
        ns.rule(100, table_id=254, suppress_prefixlen=0)
        ns.rule(101, table_id=7)
        ns.route("0.0.0.0/0", "10.0.0.2")
        ns.route("0.0.0.0/0", "10.0.0.7", table_id=7)
        assert via(ask(ns, "8.8.8.8")) == "10.0.0.7"
        assert ask(ns, "10.1.0.9").nexthops[0].oif == ns.named("b").ifindex

    def test_iif_lo_means_the_hosts_own_packets(self) -> None:
        ns = router()
        ns.route("0.0.0.0/0", "10.0.0.2")
        ns.rule(100, action=FR_ACT_BLACKHOLE, iifname="lo")
        assert ask(ns, "8.8.8.8").error == "EINVAL"
        assert via(ask(ns, "8.8.8.8", iif=ns.named("a").ifindex)) == "10.0.0.2"

    def test_no_rules_in_the_state_is_unknown(self) -> None:
        ns = router()
        ns.lists["rules"] = []
        assert ask(ns, "10.0.0.9").unknown


def drop(trace: Trace) -> tuple[Disposition, str, str]:
    return trace.disposition, trace.reason, trace.branches[0].forward.hops[-1].steps[-1].kind


class TestForwarding:
    """pod-1-1 - cni0 (node-1) ens3 ---- ens3 (node-2) cni0 - pod-2-1"""

    def test_forwarding_off_on_the_incoming_device_alone(self) -> None:
        net, made = textbook()
        made["node-2"].conf4("ens3", forwarding=0)
        assert drop(net.trace("pod-1-1", "pod-2-1")) == (Disposition.DROPPED, "IP_INADDRERRORS", "forward")
        assert net.trace("pod-1-1", "192.168.0.2", "icmp").disposition is Disposition.DELIVERED

    def test_no_route(self) -> None:
        net, made = textbook()
        made["node-1"].no_route("10.1.2.0/24")
        made["node-1"].no_route("0.0.0.0/0")
        assert drop(net.trace("pod-1-1", "pod-2-1")) == (Disposition.DROPPED, "IP_INNOROUTES", "route")
        assert net.trace("node-1", "pod-2-1").reason == "IP_OUTNOROUTES"

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [(RTN_UNREACHABLE, "icmp-host-unreachable"), (RTN_PROHIBIT, "icmp-admin-prohibited")],
    )
    def test_a_router_rejects_and_the_sender_learns_it(self, kind: int, reason: str) -> None:
        net, made = textbook()
        made["node-1"].route("10.1.2.11/32", type=kind)
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.reason) == (Disposition.REJECTED, reason)
        assert trace.branches[0].reply is not None
        assert trace.branches[0].reply.disposition is Disposition.DELIVERED

    def test_the_ttl_runs_out(self) -> None:
        net, _made = textbook()
        assert net.trace("pod-1-1", "pod-2-1", ttl=3).disposition is Disposition.DELIVERED
        assert drop(net.trace("pod-1-1", "pod-2-1", ttl=2)) == (Disposition.DROPPED, "IP_INHDR", "ttl")

    def test_a_routing_loop(self) -> None:
        net, made = textbook()
        made["node-2"].no_route("10.1.2.0/24")
        made["node-2"].route("10.1.2.0/24", "192.168.0.1")
        assert net.trace("pod-1-1", "10.1.2.77").disposition is Disposition.LOOP

    def test_the_mtu_with_and_without_df(self) -> None:
        net, made = textbook()
        made["node-1"].change("ens3", mtu=1400)
        assert drop(net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1450, df=True)) == (
            Disposition.DROPPED,
            "PKT_TOO_BIG",
            "mtu",
        )
        assert drop(net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1450))[1] == "PKT_TOO_BIG"
        made["pod-1-1"].sysctl("net.ipv4.ip_no_pmtu_disc", 1)
        assert net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1450).disposition is Disposition.DELIVERED

    def test_a_routes_own_mtu(self) -> None:
        net, made = textbook()
        made["node-1"].no_route("10.1.2.0/24")
        made["node-1"].route("10.1.2.0/24", "192.168.0.2", mtu=1300)
        assert net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1301, df=True).reason == "PKT_TOO_BIG"

    def test_strict_and_loose_reverse_path(self) -> None:
        net, made = textbook()
        node = made["node-2"]
        node.conf4("ens3", rp_filter=1)
        assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED
        node.route("10.1.1.11/32", dev="cni0")
        assert drop(net.trace("pod-1-1", "pod-2-1")) == (Disposition.DROPPED, "IP_RPFILTER", "rp_filter")
        node.conf4("ens3", rp_filter=2)
        assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED

    def test_the_greater_of_all_and_the_device(self) -> None:
        net, made = textbook()
        made["node-2"].route("10.1.1.11/32", dev="cni0")
        made["node-2"].sysctl("net.ipv4.conf.all.rp_filter", 1)
        assert net.trace("pod-1-1", "pod-2-1").reason == "IP_RPFILTER"

    def test_its_own_address_as_a_source_is_a_martian(self) -> None:
        net, made = textbook(1)
        made["pod-1-2"].addr("eth0", "10.1.1.11/24")
        assert net.trace("pod-1-1", "10.1.1.12").reason == "NEIGH_FAILED"  # the request is a martian as well
        made["pod-1-1"].neigh("eth0", "10.1.1.12", made["pod-1-2"].named("eth0").mac)
        assert net.trace("pod-1-1", "10.1.1.12").reason == "IP_LOCAL_SOURCE"

    def test_a_gap_is_unknown(self) -> None:
        net, made = textbook()
        made["node-2"].gaps = (Gap("routes", "permission denied"),)
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.reason) == (Disposition.UNKNOWN, "routes not read")

    def test_ipv6_forwarding_and_hop_limit(self) -> None:
        net, made = textbook()
        for n in (1, 2):
            node, m = made[f"node-{n}"], 3 - n
            node.addr("ens3", f"fd00:ff::{n}/64")
            node.addr("cni0", f"fd00:{n}::1/64")
            node.route(f"fd00:{m}::/64", f"fd00:ff::{m}", dev="ens3")
            pod = made[f"pod-{n}-1"]
            pod.addr("eth0", f"fd00:{n}::11/64")
            pod.route("::/0", f"fd00:{n}::1", dev="eth0")
            pod.listen("tcp", 80, "::")
        assert net.trace("pod-1-1", "fd00:2::11").disposition is Disposition.DELIVERED
        assert net.trace("pod-1-1", "fd00:2::11", ttl=2).reason == "IP_INHDR"
        made["node-2"].change("cni0", mtu=1280)
        assert net.trace("pod-1-1", "fd00:2::11", "udp", 53, length=1400).reason == "PKT_TOO_BIG"
        made["node-1"].lists["sysctls"] = []
        made["node-1"].sysctl("net.ipv6.conf.all.forwarding", 0)
        assert net.trace("pod-1-1", "fd00:2::11").disposition is Disposition.DROPPED


class TestMultipath:
    def test_one_branch_a_nexthop_with_its_weight(self) -> None:
        """node-1 reaches node-2's pods over node-2 (weight 3) or over node-3 (weight 1), which knows the way."""
        net, made = textbook(3)
        node = made["node-1"]
        node.no_route("10.1.2.0/24")
        oif = node.named("ens3").ifindex
        nexthops = (Nexthop(oif, pack_ip("192.168.0.2"), 3), Nexthop(oif, pack_ip("192.168.0.3"), 1))
        node.route("10.1.2.0/24", nexthops=nexthops, scope=0)
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.certainty) == (Disposition.DELIVERED, "branch")
        assert [b.probability for b in trace.branches] == [0.75, 0.25]
        made["node-3"].conf4("ens3", forwarding=0)
        trace = net.trace("pod-1-1", "pod-2-1")
        assert (trace.disposition, trace.certainty) == (Disposition.UNKNOWN, "branch")
        assert [b.forward.disposition for b in trace.branches] == [Disposition.DELIVERED, Disposition.DROPPED]


class TestLocal:
    @pytest.mark.parametrize(
        ("bound", "v6only", "ok"),
        [
            ("0.0.0.0", False, True),
            ("10.1.1.12", False, True),
            ("127.0.0.1", False, False),
            ("::", False, True),
            ("::", True, False),
            ("::ffff:0.0.0.0", False, True),
            ("::ffff:10.1.1.12", False, True),
            ("::ffff:127.0.0.1", False, False),
        ],
    )
    def test_where_a_listener_is_bound(self, bound: str, v6only: bool, ok: bool) -> None:
        net, made = textbook(1)
        made["pod-1-2"].lists["sockets"] = []
        made["pod-1-2"].listen("tcp", 80, bound, v6only=v6only)
        wanted = Disposition.DELIVERED if ok else Disposition.NO_LISTENER
        assert net.trace("pod-1-1", "pod-1-2", "tcp", 80).disposition is wanted

    def test_a_socket_bound_to_another_device(self) -> None:
        net, made = textbook(1)
        pod = made["pod-1-2"]
        pod.lists["sockets"] = []
        pod.listen("tcp", 80, ifindex=pod.named("lo").ifindex)
        assert net.trace("pod-1-1", "pod-1-2", "tcp", 80).disposition is Disposition.NO_LISTENER

    def test_a_pod_reaches_itself_over_loopback(self) -> None:
        net, _made = textbook(1)
        trace = net.trace("pod-1-1", "10.1.1.11", "tcp", 80)
        assert trace.disposition is Disposition.DELIVERED
        assert {hop.place.pod for hop in trace.branches[0].forward.hops} == {"default/pod-1-1"}

    def test_a_udp_listener_on_any_address_may_answer_from_another(self) -> None:
        net, made = textbook(1)
        made["pod-1-2"].addr("eth0", "10.1.1.99/24")
        trace = net.trace("pod-1-1", "10.1.1.99", "udp", 53)
        assert (trace.disposition, trace.certainty) == (Disposition.DELIVERED, "branch")
        replies = [b.reply.disposition for b in trace.branches if b.reply is not None]
        assert replies == [Disposition.NO_LISTENER, Disposition.DELIVERED]

    def test_echo_can_be_ignored(self) -> None:
        net, made = textbook(1)
        made["pod-1-2"].sysctl("net.ipv4.icmp_echo_ignore_all", 1)
        trace = net.trace("pod-1-1", "pod-1-2", "icmp")
        assert trace.disposition is Disposition.NO_LISTENER
        assert trace.branches[0].reply is None

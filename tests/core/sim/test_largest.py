"""How large a packet may be: DF as sockets set it, and the largest packet that passes each way.

Source: net/ipv4/ip_output.c, __ip_make_skb, __ip_queue_xmit; net/ipv4/af_inet.c, inet_create; net/ipv4/icmp.c,
icmp_sk_init; net/core/dev.c, ____dev_forward_skb (Linux 6.18).
"""

from __future__ import annotations

import pytest

from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import Disposition, Limit, Trace
from tests.core.sim.build import Net, Ns, textbook


def small_nic() -> tuple[Net, dict[str, Ns]]:
    """The textbook, whose second node has a NIC with a smaller MTU: it sends and forwards no more by it."""
    net, made = textbook()
    made["node-2"].change("ens3", mtu=1400)
    return net, made


def actions(trace: Trace, kind: str) -> list[str]:
    return [step.action for hop in trace.branches[0].forward.hops for step in hop.steps if step.kind == kind]


def sizes(trace: Trace) -> list[tuple[int, str, str] | None]:
    return [
        None if limit is None else (limit.bytes, limit.dev, limit.at.netns.node) for limit in trace.largest
    ]


@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
def test_what_a_router_would_have_to_cut_is_refused(proto: str) -> None:
    """Sockets set DF without being asked to."""
    net, _ = small_nic()
    trace = net.trace("pod-2-1", "pod-1-1", proto, length=1450)
    assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "PKT_TOO_BIG")
    assert trace.branches[0].reply is not None
    assert trace.branches[0].reply.disposition is Disposition.DELIVERED


def test_ip_no_pmtu_disc_leaves_df_out() -> None:
    net, made = small_nic()
    made["pod-2-1"].sysctl("net.ipv4.ip_no_pmtu_disc", 1)
    trace = net.trace("pod-2-1", "pod-1-1", "udp", length=1450)
    assert trace.disposition is Disposition.DELIVERED
    assert actions(trace, "mtu") == ["fragment"]
    asked = net.trace("pod-2-1", "pod-1-1", "udp", length=1450, df=True)
    assert asked.reason == "PKT_TOO_BIG"


def test_a_locked_mtu_leaves_df_out() -> None:
    net, made = small_nic()
    made["pod-2-1"].no_route("0.0.0.0/0")
    made["pod-2-1"].route("0.0.0.0/0", "10.1.2.1", mtu=1500, mtu_lock=True)
    assert net.trace("pod-2-1", "pod-1-1", "udp", length=1450).disposition is Disposition.DELIVERED


def test_a_datagram_too_large_for_its_own_route_is_cut_there() -> None:
    """IP_PMTUDISC_WANT: the host itself may fragment, and the pieces carry no DF."""
    net, _ = small_nic()
    trace = net.trace("pod-2-1", "pod-1-1", "udp", length=1600)
    assert trace.disposition is Disposition.DELIVERED
    assert actions(trace, "mtu") == ["fragment", "fragment"]
    assert net.trace("pod-2-1", "pod-1-1", "udp", length=1600, df=True).reason == "PKT_TOO_BIG"


def test_tcp_sends_segments_that_fit_its_route() -> None:
    net, made = textbook()
    made["pod-2-1"].change("eth0", mtu=1300)
    trace = net.trace("pod-2-1", "pod-1-1", "tcp", length=1500)
    assert trace.disposition is Disposition.DELIVERED
    assert actions(trace, "mtu") == ["segment"]
    assert trace.branches[0].forward.hops[-1].steps[-1].packet.length == 1300


def test_an_echo_reply_may_be_cut() -> None:
    """The kernel's own answers carry no DF."""
    net, _ = small_nic()
    trace = net.trace("pod-1-1", "pod-2-1", "icmp", length=1402)
    assert trace.branches[0].reply is not None
    assert trace.branches[0].reply.disposition is Disposition.DELIVERED


@pytest.mark.parametrize("length", [60, 1300, 1450])
def test_the_largest_packet_is_told_whatever_was_sent(length: int) -> None:
    net, _ = small_nic()
    trace = net.trace("pod-2-1", "pod-1-1", "udp", length=length)
    assert sizes(trace) == [(1400, "ens3", "node-2"), (1500, "eth0", "node-1")]
    assert trace.largest[0] is not None
    assert not trace.largest[0].silent


def test_a_veth_that_is_too_small_takes_no_more_and_nobody_is_told() -> None:
    net, made = textbook()
    made["pod-2-1"].change("eth0", mtu=1300)
    trace = net.trace("pod-1-1", "pod-2-1", "udp", length=1450)
    assert trace.disposition is Disposition.DROPPED
    pod = made["pod-2-1"]
    assert trace.largest[0] == Limit(1304, trace.largest[0].at, "eth0", True) if trace.largest[0] else False
    assert trace.largest[0] is not None
    assert trace.largest[0].at.netns == pod.key
    assert "larger ones are dropped there silently" in render_text(trace)


def test_a_tunnel_takes_its_header_off() -> None:
    net, made = textbook()
    for n, m in ((1, 2), (2, 1)):
        node = made[f"node-{n}"]
        node.vxlan("flannel.1", 1, f"192.168.0.{n}", f"10.1.{n}.0/32", mtu=1450)
        node.no_route(f"10.1.{m}.0/24")
        node.route(f"10.1.{m}.0/24", dev="flannel.1")
    for n, m in ((1, 2), (2, 1)):
        mac = made[f"node-{m}"].named("flannel.1").mac
        made[f"node-{n}"].neigh("flannel.1", f"10.1.{m}.11", mac)
        made[f"node-{n}"].fdb("flannel.1", mac, 0x80, dst=bytes([192, 168, 0, m]), master=0)
    trace = net.trace("pod-1-1", "pod-2-1", "tcp")
    assert trace.disposition is Disposition.DELIVERED
    assert sizes(trace)[0] == (1450, "flannel.1", "node-1")


def test_where_nothing_passes_no_size_does() -> None:
    net, made = textbook()
    made["node-1"].no_route("10.1.2.0/24")
    made["node-1"].no_route("0.0.0.0/0")
    shown = trace_json(net.trace("pod-1-1", "pod-2-1"))
    assert shown["largest"] == {"forward": None, "reply": None}

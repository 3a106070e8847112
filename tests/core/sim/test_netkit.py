"""Netkit pairs in modes l2 and l3: policies, programs, scrubbing.

    [pod-1] eth0 ==== nk-1 [node] nk-2 ==== eth0 [pod-2]        ==== a netkit pair; the node routes to each /32

Constructed: the kernel of the tests has no netkit. Source: drivers/net/netkit.c, netkit_xmit, netkit_prep_forward,
netkit_new_link (Linux 6.18).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netviz.core.model.link import (
    IFF_NOARP,
    NETKIT_DROP,
    NETKIT_L2,
    NETKIT_L3,
    NETKIT_SCRUB_NONE,
    NetkitInfo,
    Program,
)
from netviz.core.model.netns import Pod
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.plane.kinds import KINDS
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.walk import simulate
from netviz.core.sim.words.step import why
from tests.core.sim.build import UP, Net, Ns


def netkit(pod: Ns, node: Ns, name: str, mode: int) -> None:
    """Join a pod to its node as the kernel does: without ARP and with MACs of zeros in mode l3."""
    net = pod.net
    zeros = {"flags": UP | IFF_NOARP, "mac": bytes(6)} if mode == NETKIT_L3 else {}
    ends = ((pod, "eth0", False), (node, name, True))
    made = [
        ns.link(dev, "netkit", info=NetkitInfo(mode, primary, programs=()), **zeros)
        for ns, dev, primary in ends
    ]
    for (ns, dev, _), (far, _, _), other in zip(ends, reversed(ends), reversed(made), strict=True):
        ns.change(dev, link=other.ifindex, link_nsid=ns.nsids.setdefault(far.key, len(ns.nsids)))
    assert net is node.net


def routed(mode: int) -> tuple[Net, dict[str, Ns]]:
    net = Net()
    node = net.node("node-1")
    made = {"node": node}
    for number in (1, 2):
        pod = net.netns("node-1", f"pod-{number}", pod=Pod(f"pod-{number}", "default", source="file"))
        netkit(pod, node, f"nk-{number}", mode)
        pod.addr("eth0", f"10.0.0.{number}/32")
        pod.route("10.0.0.254/32", dev="eth0")
        pod.route("0.0.0.0/0", via="10.0.0.254", dev="eth0")
        pod.listen("tcp", 80)
        node.route(f"10.0.0.{number}/32", dev=f"nk-{number}")
        made[f"pod-{number}"] = pod
    node.addr("lo", "10.0.0.254/32")
    return net, made


def detail(ns: Ns, dev: str, **fields: Any) -> None:
    ns.change(dev, info=msgspec.structs.replace(ns.named(dev).info, **fields))


def devices(trace: Trace) -> list[str]:
    steps = [step for hop in trace.branches[0].forward.hops for step in hop.steps]
    return [str(step.dev) for step in steps if step.kind in ("link_tx", "link_rx")]


@pytest.mark.parametrize("mode", [NETKIT_L2, NETKIT_L3])
def test_netkit_leads_to_the_other_end_and_back(mode: int) -> None:
    net, _ = routed(mode)
    trace = net.trace("pod-1", "pod-2")
    assert (trace.disposition, trace.certainty) == (Disposition.DELIVERED, "certain")
    assert devices(trace) == ["eth0", "nk-1", "nk-2", "eth0"]
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED


def test_netkit_asks_for_its_neighbours_in_mode_l2_alone() -> None:
    for mode, asks in ((NETKIT_L2, True), (NETKIT_L3, False)):
        net, _ = routed(mode)
        steps = [step for hop in net.trace("pod-1", "pod-2").branches[0].forward.hops for step in hop.steps]
        assert any(step.kind == "neigh" for step in steps) is asks
        sent = next(step for step in steps if step.kind == "link_tx")
        assert any(sent.packet.dmac) is asks


def test_netkit_in_mode_l2_is_a_port_of_a_bridge_too() -> None:
    net = Net()
    node = net.node("node-1")
    node.bridge("br0", "10.0.0.254/24")
    for number in (1, 2):
        pod = net.netns("node-1", f"pod-{number}", pod=Pod(f"pod-{number}", "default", source="file"))
        netkit(pod, node, f"nk-{number}", NETKIT_L2)
        node.change(f"nk-{number}", master=node.named("br0").ifindex, slave_kind="bridge")
        pod.addr("eth0", f"10.0.0.{number}/24")
        pod.listen("tcp", 80)
    trace = net.trace("pod-1", "pod-2")
    assert trace.disposition is Disposition.DELIVERED
    assert devices(trace) == ["eth0", "nk-1", "nk-2", "eth0"]


def test_netkit_whose_policy_is_blackhole_drops() -> None:
    net, made = routed(NETKIT_L3)
    detail(made["pod-1"], "eth0", policy=NETKIT_DROP)
    trace = net.trace("pod-1", "pod-2")
    assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NOT_SPECIFIED")
    last = trace.branches[0].forward.hops[-1].steps[-1]
    assert "blackhole" in why(last)


def test_netkit_policy_is_of_one_direction() -> None:
    net, made = routed(NETKIT_L3)
    detail(made["pod-1"], "eth0", peer_policy=NETKIT_DROP)
    detail(made["node"], "nk-1", policy=NETKIT_DROP)
    trace = net.trace("pod-1", "pod-2")
    assert trace.disposition is Disposition.DELIVERED
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DROPPED


def test_netkit_in_mode_l2_whose_other_end_is_a_blackhole_gets_no_answer_to_arp() -> None:
    net, made = routed(NETKIT_L2)
    detail(made["node"], "nk-1", policy=NETKIT_DROP)
    trace = net.trace("pod-1", "pod-2")
    assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "NEIGH_FAILED")


@pytest.mark.parametrize(
    ("programs", "reason"), [(("cil_from_container",), "cil_from_container"), (None, "netkit device")]
)
def test_netkit_with_programs_is_opaque_by_name(programs: tuple[str, ...] | None, reason: str) -> None:
    net, made = routed(NETKIT_L3)
    detail(made["pod-1"], "eth0", programs=programs)
    made["node"].change("nk-1", programs=None)
    trace = net.trace("pod-1", "pod-2")
    assert trace.disposition is Disposition.UNKNOWN
    last = trace.branches[0].forward.hops[-1].steps[-1]
    assert last.kind == "opaque"
    assert reason in trace.reason or reason in why(last)


@pytest.mark.parametrize(("hook", "src"), [("netkit/peer", "pod-1"), ("netkit/primary", "pod-2")])
def test_the_programs_of_both_ends_are_read_at_the_primary(hook: str, src: str) -> None:
    net, made = routed(NETKIT_L3)
    detail(made["pod-1"], "eth0", programs=None)
    detail(made["node"], "nk-1", programs=None)
    assert net.trace("pod-1", "pod-2").disposition is Disposition.DELIVERED
    made["node"].change("nk-1", programs=(Program(hook, 7, "cil_from_container", b"\1" * 8),))
    trace = net.trace(src, "pod-2" if src == "pod-1" else "pod-1")
    assert trace.disposition is Disposition.UNKNOWN
    assert f"{hook} cil_from_container (id 7, tag 0101010101010101)" in trace.reason


def test_netkit_scrubs_the_mark_between_namespaces_unless_told_not_to() -> None:
    for scrub, mark in ((NETKIT_SCRUB_NONE, 7), (1, 0)):
        net, made = routed(NETKIT_L3)
        detail(made["pod-1"], "eth0", scrub=scrub)
        cluster = net.cluster()
        flow = msgspec.structs.replace(resolve_flow(cluster, "pod-1", "pod-2"), mark=7)
        hops = simulate(cluster, flow).branches[0].forward.hops
        assert hops[1].steps[0].packet.mark == mark


def test_netkit_whose_other_end_is_down_drops() -> None:
    net, made = routed(NETKIT_L3)
    made["node"].down("nk-2")
    made["node"].route("10.0.0.2/32", dev="nk-2")
    made["pod-2"].change("eth0", flags=0)
    trace = net.trace("pod-1", "pod-2")
    assert trace.disposition is Disposition.DROPPED


def test_netkit_looks_at_no_mtu_of_the_other_end() -> None:
    net, made = routed(NETKIT_L3)
    made["pod-2"].change("eth0", mtu=600)
    cluster = net.cluster()
    flow = resolve_flow(cluster, "pod-1", "pod-2", "udp", dport=53, length=1400)
    assert simulate(cluster, flow).disposition is Disposition.NO_LISTENER


def test_netkit_is_one_line_where_kinds_are_listed() -> None:
    kind = KINDS["netkit"]
    assert kind.copies is not None
    assert (kind.joins, kind.takes, kind.xmit, kind.receive, kind.take) == (None,) * 5

"""The plain walk over the textbook cluster (see `build.textbook` for the picture)."""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_ip, pack_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.run import Journey, Run
from netviz.core.sim.steps import Origin
from netviz.core.sim.trace import Disposition, Flow
from netviz.core.sim.words.step import why
from tests.core.sim.build import textbook


@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
@pytest.mark.parametrize("dst", ["pod-1-2", "pod-2-1", "node-2"])
def test_every_pod_is_reached_and_answers(proto: str, dst: str) -> None:
    net, made = textbook()
    made["node-2"].listen("tcp", 80)
    made["node-2"].listen("udp", 53)
    trace = net.trace("pod-1-1", dst, proto, {"tcp": 80, "udp": 53}.get(proto))
    assert (trace.disposition, trace.certainty) == (Disposition.DELIVERED, "certain")
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED
    assert reply.hops[-1].place.pod == "default/pod-1-1"


def test_steps_are_numbered_through_forward_and_reply() -> None:
    branch = textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80).branches[0]
    assert branch.reply is not None
    seqs = [s.seq for path in (branch.forward, branch.reply) for hop in path.hops for s in hop.steps]
    assert seqs == list(range(1, len(seqs) + 1))


def test_the_path_names_every_device_and_the_ttl_falls() -> None:
    branch = textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80).branches[0]
    steps = [step for hop in branch.forward.hops for step in hop.steps]
    crossed = [step.dev for step in steps if step.kind in ("link_tx", "link_rx")]
    assert crossed == ["eth0", "veth-pod-1-1", "cni0", "ens3", "ens3", "veth-pod-2-1", "eth0"]
    assert [step.packet.ttl for step in steps if step.kind == "forward"] == [63, 62]
    assert steps[-1].packet.ttl == 62


@pytest.mark.parametrize(("proto", "reason"), [("tcp", "tcp-reset"), ("udp", "icmp-port-unreachable")])
def test_a_closed_port_refuses_and_the_sender_learns_it(proto: str, reason: str) -> None:
    trace = textbook()[0].trace("pod-1-1", "pod-2-1", proto, 99)
    assert (trace.disposition, trace.reason) == (Disposition.NO_LISTENER, reason)
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED


def test_what_no_node_has_leaves_the_network() -> None:
    trace = textbook()[0].trace("pod-1-1", "203.0.113.9", "udp", 53)
    assert (trace.disposition, trace.reason) == (Disposition.LEFT_NETWORK, "ens3")
    assert trace.branches[0].reply is None


def test_a_missing_route_to_another_nodes_pods_is_named() -> None:
    net, made = textbook()
    node = made["node-1"]
    lost = pack_prefix("10.1.2.0/24")
    node.lists["routes"] = [r for r in node.lists["routes"] if (r.dst, r.dst_len) != lost]
    trace = net.trace("pod-1-1", "pod-2-1", "tcp", 80)
    assert trace.disposition is Disposition.LEFT_NETWORK
    last = trace.branches[0].forward.hops[-1].steps[-1]
    assert "10.1.2.11 is pod default/pod-2-1 on node-2: node-1 has no route that leads there" in why(last)
    stranger = net.trace("pod-1-1", "203.0.113.9", "udp", 53)
    assert "no route" not in why(stranger.branches[0].forward.hops[-1].steps[-1])


def test_a_packet_followed_aside_leaves_the_circumstances_of_the_traced_one() -> None:
    net, made = textbook()
    node = made["node-1"].key
    packet = Packet(pack_ip("10.1.1.2"), pack_ip("10.1.2.2"), 17, ttl=64, length=100)
    run = Run(net.cluster(), Flow(node, packet.src, packet.dst, 17))
    device = LinkKey(node, 3)
    routed = {device: route_flow(packet, iif=3)}
    run.journey = journey = Journey(frozenset(("here",)), in_ifindex=3, xmit_depth=2, routed=routed)
    with run.aside():
        assert run.journey == journey.but(visited=frozenset())
        run.journey = Journey(xmit_depth=5)
        run.memory = run.memory.with_neigh((node, 3, packet.dst), b"mac")
        run.record(net.cluster().nodes[node.node].netns[node], None, packet, Origin())
    assert run.journey == journey
    assert run.memory.neighs
    assert not run.rec.path(Disposition.DELIVERED, "").hops

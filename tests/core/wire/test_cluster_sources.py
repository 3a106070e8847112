"""Who speaks for a cluster: the same session as a node's collector, about objects and nothing else."""

from __future__ import annotations

import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import KubePod, KubeService
from netviz.core.model.netfilter import Body
from netviz.core.model.netns import Netns
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, ObjectsDelta, apply
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import cluster_source
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import decode_sized, encode_frame
from netviz.core.wire.errors import RemoteProtocolError
from netviz.core.wire.nvz import NvzError, dump_nvz, join_captures, load_nvz
from netviz.core.wire.server_session import ServerSession
from netviz.core.wire.session import State

CLUSTER, EPOCH = cluster_source("c1"), 7
NO_BODIES: tuple[Body, ...] = ()


def objects(**sections: object) -> NodeDelta:
    return NodeDelta(objects=ObjectsDelta(**sections), status={"services": SectionStatus()})


WEB = objects(services=Change((KubeService("shop", "web"),)))
PODS = objects(kube_pods=Change(tuple(KubePod("shop", f"web-{number:05d}") for number in range(9000))))


def joined(source: str = CLUSTER) -> tuple[AgentSession, ServerSession]:
    """A session after the Welcome."""
    agent, server = AgentSession(m.Hello(source, (1,), "test", EPOCH), 0.0), ServerSession(source, 0.0)
    agent.connect(0.0)
    deliver(agent, server)
    server.welcome(None)
    deliver(server, agent)
    return agent, server


def deliver(sender: AgentSession | ServerSession, receiver: AgentSession | ServerSession) -> list[ev.Event]:
    found: list[ev.Event] = []
    while (frame := sender.next_frame(0.0)) is not None:
        found += receiver.receive_data(frame, 0.0)
    return found


def test_objects_arrive_as_a_snapshot_in_parts_and_then_as_changes() -> None:
    agent, server = joined()
    state = apply(NodeState(CLUSTER), PODS)
    agent.send_snapshot(state)
    (whole,) = deliver(agent, server)
    assert isinstance(whole, ev.SnapshotReceived)
    assert whole.state == state
    assert len(whole.state.objects.kube_pods) == 9000
    agent.send_delta(WEB, 0)
    (changed,) = deliver(agent, server)
    assert isinstance(changed, ev.DeltaReceived)
    assert apply(whole.state, changed.delta).objects.services == {("shop", "web"): KubeService("shop", "web")}


def test_a_record_that_breaks_a_bound_is_told_to_who_said_it() -> None:
    hello = m.Hello(CLUSTER, (1,), "test", EPOCH, understands=(m.NOTICE,))
    server = ServerSession(CLUSTER, 0.0)
    server.receive_message(hello, 0.0)
    server.welcome(-1)
    wrong = objects(kube_pods=Change((KubePod("shop", "web-1", ips=(b"",)),)))
    server.receive_data(encode_frame(m.Delta(EPOCH, 0, 0, wrong)), 0.0)
    told: list[object] = []
    while (frame := server.next_frame(0.0)) is not None:
        told.append(decode_sized(frame)[0])
    (notice,) = (one for one in told if isinstance(one, m.Notice))
    assert [(one.netns, one.section, one.record) for one in notice.records] == [
        ("", "kube_pods", "shop,web-1")
    ]


def test_a_server_that_does_not_know_objects_is_told_from_one_that_does() -> None:
    agent = AgentSession(m.Hello(CLUSTER, (1,), "test", EPOCH), 0.0)
    agent.connect(0.0)
    with pytest.raises(RemoteProtocolError, match="doesn't know what a cluster's objects are"):
        agent.receive_message(m.Welcome(1), 0.0)
    node = AgentSession(m.Hello("n1", (1,), "test", EPOCH), 0.0)
    node.connect(0.0)
    node.receive_message(m.Welcome(1), 0.0)
    assert node.state is State.LIVE


KEY = NetnsKey("n1", 4, 1)
NAMESPACE = NodeDelta((NetnsDelta(KEY, Netns(KEY)),))
OWN = NodeDelta((NetnsDelta(NetnsKey(CLUSTER, 4, 1), Netns(NetnsKey(CLUSTER, 4, 1))),))


@pytest.mark.parametrize(("source", "delta"), [("n1", WEB), (CLUSTER, NAMESPACE), (CLUSTER, OWN)])
def test_each_speaks_of_its_own(source: str, delta: NodeDelta) -> None:
    """A node's collector can't say what the API's objects are, and who speaks for a cluster not what a node has."""
    for message in (m.Delta(EPOCH, 0, 0, delta), m.SnapshotPart(0, delta)):
        server = ServerSession(source, 0.0)
        server.receive_message(m.Hello(source, (1,), "test", EPOCH), 0.0)
        server.welcome(-1 if isinstance(message, m.Delta) else None)
        if isinstance(message, m.SnapshotPart):
            server.receive_message(m.SnapshotBegin(EPOCH, 0), 0.0)
        with pytest.raises(RemoteProtocolError) as caught:
            server.receive_message(message, 0.0)
        assert caught.value.code == "wrong_node"
    with pytest.raises(NvzError, match="contradicts itself"):
        load_nvz(dump_nvz(apply(NodeState(source), delta), NO_BODIES, 1.0))


def test_a_file_of_a_cluster_is_joined_with_files_of_nodes() -> None:
    state = apply(NodeState(CLUSTER), WEB)
    files = [dump_nvz(apply(NodeState("n1"), NAMESPACE), NO_BODIES, 1.0), dump_nvz(state, NO_BODIES, 1.0)]
    cluster = join_captures(map(load_nvz, files))
    assert list(cluster.nodes) == ["n1"]
    assert cluster.clusters == {"c1": state}
    with pytest.raises(NvzError, match="two files hold the state of cluster 'c1'"):
        join_captures(map(load_nvz, [files[1], files[1]]))

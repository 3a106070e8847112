"""The live state told to the checking process: what it holds is what the server holds, however busy either is."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest

from lab.stack import wait_until
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import ChainBody, NftChain, NftExpr, NftRuleBody, body_digest
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_source
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import CollectorReport
from netviz.problems import feeding
from netviz.problems.feeding import Feeder
from netviz.problems.following import Follower
from netviz.problems.pipe import Closed, Pipe
from tests.web.states import NOW_S, change, pod_network, show
from tests.web.test_topology_scope import eth0


class Both:
    """A server's store, and a process's that follows it."""

    def __init__(self) -> None:
        self.server, self.process = MemoryStore(), MemoryStore()
        ours, its = socket.socketpair()
        self.ours, self.its = Pipe(ours), Pipe(its)
        self.told = threading.Event()
        self.ended = threading.Event()
        self.feeder: Feeder | None = None

    def start(self) -> None:
        self.feeder = Feeder(self.server, self.ours)
        Follower(self.process, self.its, self.told.set, self.ended.set)

    def agree(self) -> bool:
        """Both hold the same, and think the same of the collectors."""
        here, there = self.server.node_revisions(), self.process.node_revisions()
        return (
            self.server.cluster().nodes == self.process.cluster().nodes
            and dict(self.server.cluster().bodies) == dict(self.process.cluster().bodies)
            and {name: one.connected for name, one in here.items()}
            == {name: one.connected for name, one in there.items()}
        )

    def settle(self) -> None:
        wait_until(self.agree, 300, "the process holds what the server holds")


@pytest.fixture
def both() -> Iterator[Both]:
    made = Both()
    yield made
    made.ours.close()
    if made.feeder is not None:
        made.feeder.stop()
        assert made.ended.wait(300)
    made.its.close()


def test_an_empty_state_is_told_too(both: Both) -> None:
    both.start()
    assert both.told.wait(300)
    assert both.agree()


def test_it_follows_whatever_happens(both: Both) -> None:
    rng = random.Random(5)
    show(both.server, pod_network())
    both.start()
    both.settle()
    for number in range(120):
        node = rng.choice("abc")
        match rng.randrange(6):
            case 0:
                show(both.server, pod_network(rng.randrange(1, 5), node=node))
            case 1:
                both.server.set_connected(node, rng.random() < 0.5, NOW_S)
            case 2 if rng.random() < 0.3:
                both.server.forget(node)
            case _ if both.server.state(node) is not None:
                change(both.server, node, eth0(node, 0, mtu=1000 + number))
        if number % 30 == 29:
            both.settle()
    both.settle()


def test_more_changes_than_wait_are_told_as_a_whole(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MOST_DELTAS", 3)
    show(both.server, pod_network())
    both.start()
    both.settle()
    for number in range(50):
        change(both.server, "a", eth0("a", 0, mtu=1000 + number))
    assert both.feeder is not None
    waiting = both.feeder._waiting.get("a")
    assert waiting is None or len(waiting.deltas) <= 3
    both.settle()


def test_bodies_come_when_they_are_there(both: Both) -> None:
    body = ChainBody((NftRuleBody((NftExpr("masq", {}),)),))
    chain = NftChain(2, "t", "c", body=body_digest(body))
    root = NetnsKey("a", 4, 1)
    state = pod_network()
    ns = msgspec.structs.replace(state.netns[root], nft_chains={chain.key: chain})
    both.start()
    show(both.server, NodeState("a", netns={**state.netns, root: ns}, status=state.status))
    wait_until(lambda: both.process.wanted_bodies(), 300, "the process lacks the body")
    both.server.put_bodies([body])
    both.settle()
    assert len(both.process.cluster().bodies) == 1


def test_that_a_collector_is_heard_is_told_though_nothing_changes(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "HEARD_EVERY_S", 0.05)
    show(both.server, pod_network())
    both.start()
    both.settle()
    report = CollectorReport("1", AgentStatus(lag_s=2.5))
    both.server.report("a", report, NOW_S + 100)
    both.server.report("a", report, NOW_S + 200)

    def told() -> bool:
        one, other = both.process.node_revision("a"), both.process.collector("a")
        return (
            one is not None
            and one.received_at_s == NOW_S + 200
            and other is not None
            and other.status.lag_s == 2.5
        )

    wait_until(told, 300, "the process knows when it was heard last")


def test_what_belongs_to_a_cluster_is_told_too(both: Both) -> None:
    source = cluster_source("lab")
    both.start()
    show(both.server, NodeState(source, kernel="1.33"))
    wait_until(
        lambda: "lab" in both.process.cluster().clusters, 10, "the process holds the cluster's objects"
    )


def test_a_process_that_does_not_answer_holds_up_nobody(both: Both) -> None:
    show(both.server, pod_network())
    both.feeder = Feeder(both.server, both.ours)
    for number in range(5000):
        change(both.server, "a", eth0("a", 0, mtu=1000 + number))
    waiting = both.feeder._waiting.get("a")
    assert waiting is None or len(waiting.deltas) <= feeding.MOST_DELTAS
    Follower(both.process, both.its, both.told.set, both.ended.set)
    both.settle()


def test_either_end_is_over_when_the_other_is(both: Both) -> None:
    both.start()
    both.settle()
    both.its.close()
    with pytest.raises(Closed):
        both.ours.taken()


def test_that_a_collector_beats_is_not_told_by_itself(both: Both) -> None:
    show(both.server, pod_network())
    both.start()
    both.settle()
    feeder = both.feeder
    assert feeder is not None
    wait_until(lambda: not feeder._waiting, 20, "nothing waits")
    both.server.report("a", CollectorReport("1", AgentStatus(at_ns=1)), NOW_S)
    assert not feeder._waiting
    both.server.set_connected("a", not both.server.node_revisions()["a"].connected, NOW_S)
    both.settle()

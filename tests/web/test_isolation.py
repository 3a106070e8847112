"""What the server fails at for one node takes down that node's part alone, is said, and heals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.model.link import Link
from netviz.core.state.node import ClusterState, NodeState
from netviz.ingest.faults import faults, sentence
from netviz.ingest.memory_store import MemoryStore
from netviz.topology import detail, node_detail, projector
from netviz.topology.detail import netns_detail
from netviz.topology.feed import Mailbox
from netviz.topology.graph import Graph, fold
from netviz.topology.live import Topology, get_topology
from netviz.topology.node_object import Live
from netviz.topology.projector import Projector, project
from netviz.tracing import predict
from netviz.tracing import states as views
from netviz.tracing.request import TraceRequest
from tests.web.states import change, pod_network, show, with_link
from tests.web.test_projection import flat
from tests.web.test_topology_feed import Page, pod_delta

POISON = "poison"
A, B, C = pod_network(), pod_network(node="b", third=2), pod_network(node="c", third=3)
BAD = with_link(A, 1, Link(66, POISON))


@pytest.fixture(autouse=True)
def poisonous(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the server fail at links of one name, whatever is checked where records come in."""

    def at_links(state: Any, ns: Any, link: Link, addrs: Any) -> Any:
        if link.ifname == POISON:
            raise ValueError("no such\x1b link")
        return work(state, ns, link, addrs)

    work = node_detail.project_link
    monkeypatch.setattr(node_detail, "project_link", at_links)
    monkeypatch.setattr(detail, "project_link", at_links)
    yield
    for name in "abc":
        faults.forget(name)


def cluster(*states: NodeState) -> ClusterState:
    return ClusterState({state.node: state for state in states})


def test_only_the_node_that_fails_is_taken_down(caplog: pytest.LogCaptureFixture) -> None:
    follower, graph = Projector(), Graph()
    for states in ((A, B), (BAD, B), (BAD, B, C), (A, B, C), (BAD, C), (C,)):
        graph = fold(graph, flat(follower.update(cluster(*states), {})))
        sound = project(cluster(*(state for state in states if state is not BAD)), {})
        assert graph == follower.graph()
        assert graph.netns == sound.netns
        assert graph.links == sound.links
        broken = {name for name, node in graph.nodes.items() if node.not_understood is not None}
        assert broken == ({"a"} if BAD in states else set())
        for name in sound.nodes:
            # What leads to the node that isn't understood leads to nobody known.
            assert graph.nodes[name] == sound.nodes[name]


def test_a_node_that_fails_says_so_and_holds_nothing() -> None:
    graph = project(cluster(BAD), {"a": Live(connected=True)})
    node = graph.nodes["a"]
    assert node.not_understood == "ValueError: no such\\x1b link"
    assert node.connected
    assert (node.complete, node.addrs, node.pod_cidrs, node.pods) == (False, (), (), 0)
    assert (graph.netns, graph.links) == ({}, {})


@pytest.mark.parametrize(
    ("work", "about_a"),
    [("format_ip", r"b'\xc0\xa8\x00\x02"), ("_encode", "name='a'")],
)
def test_what_is_done_with_all_nodes_fails_at_the_one(
    monkeypatch: pytest.MonkeyPatch, work: str, about_a: str
) -> None:
    """The gateways' text, the page's JSON: each tried on the node alone."""
    right = getattr(projector, work)

    def fails(what: Any) -> Any:
        if about_a in repr(what):
            raise OverflowError("cannot")
        return right(what)

    monkeypatch.setattr(projector, work, fails)
    graph = project(cluster(A, B), {})
    assert graph.nodes["a"].not_understood == "OverflowError: cannot"
    assert graph.nodes["b"].not_understood is None
    assert {ns.node for ns in graph.netns.values()} == {"b"}


def test_a_fault_is_logged_once_not_for_each_revision(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    topology = Topology(store)
    show(store, A)
    assert len(topology.graph()[1].netns) == 3, "whoever asks watches for a while"
    with caplog.at_level(logging.WARNING):
        show(store, BAD)
        for number in range(5):
            topology.advance()
            change(store, "a", pod_delta(number))
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert faults.standing() == {"a": {"topology": "ValueError: no such\\x1b link"}}
        show(store, A)
        topology.advance()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert faults.standing() == {}
    assert len(topology.graph()[1].netns) == 3


async def test_no_change_is_lost_by_an_exception(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    show(store, A)
    topology, page = Topology(store), Page()
    mailbox = Mailbox(topology, asyncio.get_running_loop())
    page.read(await mailbox.next_frame())
    work, broken = Projector._follow_addresses, True

    def half_way(self: Projector, *parts: Any) -> set[bytes]:
        if broken:
            raise RuntimeError("half way")
        return work(self, *parts)

    monkeypatch.setattr(Projector, "_follow_addresses", half_way)
    for number in range(3):
        change(store, "a", pod_delta(number))
        with pytest.raises(RuntimeError):
            topology.advance()
    assert topology.failing
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    broken = False
    change(store, "a", pod_delta(3))
    topology.advance()
    assert not topology.failing
    assert page.read(await mailbox.next_frame()) == "snapshot"
    assert page.graph == topology.graph()[1]
    assert sum(ns.pod is not None for ns in page.graph.netns.values()) == 6
    mailbox.close()


def test_a_listener_that_fails_costs_no_other_its_delta(store: MemoryStore) -> None:
    show(store, A)
    topology, heard = Topology(store), []

    def fails(revision: int, frame: str | None) -> None:
        raise RuntimeError("gone")

    topology.listen(fails)
    topology.listen(lambda revision, frame: heard.append(revision))
    change(store, "a", pod_delta(1))
    assert [topology.advance()] == heard
    assert topology.listeners == 1


def test_a_subscriber_that_fails_costs_the_store_nothing(store: MemoryStore) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("gone")

    heard: list[str] = []
    store.subscribe(fails)
    store.subscribe(lambda node, delta, revision: heard.append(node))
    show(store, A)
    change(store, "a", pod_delta(1))
    assert len(store.cluster().nodes["a"].netns) == 4
    assert heard == ["a"] * 3


def test_a_section_that_cannot_be_described_leaves_the_others() -> None:
    root = NetnsKey("a", 4, 1)
    found = netns_detail(cluster(BAD), root)
    whole = netns_detail(cluster(A), root)
    assert found is not None
    assert whole is not None
    reason = "the server does not understand it: ValueError: no such\\x1b link"
    assert found.pop("gaps") == [{"section": "links", "reason": reason}]
    assert found.pop("links") == []
    assert found == {name: value for name, value in whole.items() if name not in ("gaps", "links")}


@pytest.mark.django_db
def test_api_health_and_metrics_say_so(
    store: MemoryStore, browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    show(store, BAD)
    show(store, B)
    client = browser("viewer")
    answer = client.get("/api/topology")
    assert answer.status_code == 200
    assert {node["name"]: bool(node["not_understood"]) for node in answer.json()["nodes"]} == {
        "a": True,
        "b": False,
    }
    assert client.get("/healthz").json()["nodes"] == {"not_understood": 1}
    assert 'netviz_node_not_understood{node="a"} 1.0' in client.get("/metrics").content.decode()
    show(store, A)
    assert all(node["not_understood"] is None for node in client.get("/api/topology").json()["nodes"])
    assert client.get("/healthz").json()["nodes"] == {"not_understood": 0}


@pytest.mark.django_db
def test_metrics_look_by_themselves(
    store: MemoryStore, browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise ValueError("no such address")

    monkeypatch.setattr(projector, "project_node", fails)
    show(store, A)
    client = browser("viewer")
    assert client.get("/healthz").json()["nodes"] == {"not_understood": 0}, "nobody has looked"
    assert 'netviz_node_not_understood{node="a"} 1.0' in client.get("/metrics").content.decode()
    assert client.get("/healthz").json()["nodes"] == {"not_understood": 1}


@pytest.mark.django_db
def test_health_says_that_there_is_no_graph(
    store: MemoryStore, browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("not at all")

    client = browser("viewer")
    client.raise_request_exception = False
    assert client.get("/healthz").json()["topology"] == "ok"
    monkeypatch.setattr(Projector, "update", fails)
    show(store, A)
    assert client.get("/api/topology").status_code == 500
    assert client.get("/healthz").json()["topology"] == "cannot be projected"
    assert get_topology().failing


def test_traces_go_on_without_a_node_that_cannot_be_looked_through(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(store, A)
    show(store, B)
    request = TraceRequest("10.1.1.2", "10.1.1.3", "tcp", dport=80)
    whole = predict.predict(predict.resolve(request, views.live())).result
    work = views.keys_of

    def fails(netns: Any) -> Any:
        if any(key.node == "b" for key in netns):
            raise IndexError("no byte")
        return work(netns)

    monkeypatch.setattr(views, "keys_of", fails)
    show(store, B)
    trace = predict.predict(predict.resolve(request, views.live())).result
    assert trace["branches"] == whole["branches"]
    assert [state["node"] for state in trace["state"]] == ["a", "b"]
    assert "not_understood" not in trace["state"][0]
    assert trace["state"][1]["not_understood"] == "IndexError: no byte"
    assert faults.standing() == {"b": {"traces": "IndexError: no byte"}}


def test_words_of_a_fault_are_printable_and_short() -> None:
    assert sentence(ValueError("a\x1b[31m\n" + "x" * 999)).startswith("ValueError: a\\x1b[31m\\nxxx")
    assert len(sentence(ValueError("x" * 999))) == 200

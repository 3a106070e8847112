"""The feed by scope: every page is told of all nodes, and of the details of those that it watches alone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from netviz.core.model.ids import NetnsKey
from netviz.core.model.link import IFF_UP, Link
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.state.node import ClusterState
from netviz.ingest.memory_store import MemoryStore
from netviz.problems.board import board_of, reader
from netviz.topology.feed import Mailbox
from netviz.topology.frames import watches
from netviz.topology.graph import Graph
from netviz.topology.live import Topology, get_topology
from netviz.topology.node_object import Live
from netviz.topology.projector import Projector, project
from tests.web.sockets import Socket
from tests.web.states import UP, change, pod_network, show
from tests.web.test_topology_feed import Page

NODES = "abcd"


def eth0(node: str, pod: int, flags: int = UP, mtu: int = 1500) -> NodeDelta:
    link = Link(2, "eth0", "veth", flags=flags, link=100 + pod, link_nsid=0, mtu=mtu)
    return NodeDelta(netns=(NetnsDelta(NetnsKey(node, 4, 10 + pod), links=Change(put=(link,))),))


def part_of(graph: Graph, watch: frozenset[str] | None) -> Graph:
    """What a page holds that watches these nodes."""
    netns = {key: ns for key, ns in graph.netns.items() if watches(watch, ns.node)}
    return Graph(
        graph.nodes,
        {name: routes for name, routes in graph.routes.items() if watches(watch, name)},
        netns,
        {key: link for key, link in graph.links.items() if link.netns in netns},
        graph.problems,
        graph.checking,
    )


@pytest.fixture
def four(store: MemoryStore) -> MemoryStore:
    for number, node in enumerate(NODES):
        show(store, pod_network(node=node, third=number + 1))
    return store


@pytest.mark.django_db(transaction=True)
async def test_a_page_is_told_what_it_watches(four: MemoryStore, token: Callable[[str], str]) -> None:
    secret = await sync_to_async(token)("viewer")
    socket, page = Socket("/ws/topology?nodes=", secret, ""), Page()
    assert await socket.connect()
    assert page.read(await socket.read()) == "snapshot"
    assert set(page.graph.nodes) == set(NODES)
    assert (page.graph.netns, page.graph.links, page.graph.routes) == ({}, {}, {})
    assert page.graph.nodes["a"].pods == 2
    await socket.send(json.dumps({"type": "watch", "nodes": ["b", "nobody"]}))
    assert page.read(await socket.read()) == "delta"
    assert {ns.node for ns in page.graph.netns.values()} == {"b"}
    assert set(page.graph.routes) == {"b"}
    change(four, "a", eth0("a", 0, mtu=1400))
    change(four, "b", eth0("b", 0, mtu=1300))
    assert page.read(await socket.read()) == "delta"
    assert {link.mtu for link in page.graph.links.values()} == {1500, 1300}
    await socket.send(json.dumps({"type": "watch", "nodes": ["a"]}))
    assert page.read(await socket.read()) == "delta"
    assert {ns.node for ns in page.graph.netns.values()} == {"a"}
    assert 1400 in {link.mtu for link in page.graph.links.values()}
    await socket.send(json.dumps({"type": "watch", "nodes": None}))
    assert page.read(await socket.read()) == "delta"
    assert page.graph == get_topology().graph()[1]
    await socket.send('{"type": "resync"}')
    assert page.read(await socket.read()) == "snapshot"
    assert page.graph == get_topology().graph()[1]
    await socket.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "words",
    [
        '{"type": "watch"}',
        '{"type": "watch", "nodes": [1]}',
        '{"type": "watch", "nodes": ["%s"]}' % ("x" * 254),
    ],
)
async def test_a_watch_that_cannot_be_read_ends_the_socket(
    store: MemoryStore, token: Callable[[str], str], words: str
) -> None:
    socket = Socket("/ws/topology", await sync_to_async(token)("viewer"), "")
    assert await socket.connect()
    await socket.read()
    await socket.send(words)
    assert (await socket.output())["code"] == 4400


async def test_pages_with_any_scopes_end_with_their_part_of_the_same_graph(four: MemoryStore) -> None:
    """Random changes, random changes of scope, resyncs: each page's numbers are unbroken, and its graph is right."""
    pick, topology, loop = random.Random(11), Topology(four), asyncio.get_running_loop()
    scopes = [None, frozenset("a"), frozenset("bc"), frozenset[str]()]
    pages = [(Mailbox(topology, loop, scope), Page()) for scope in scopes]
    last = dict(enumerate(scopes))

    async def drain(mailbox: Mailbox, page: Page) -> None:
        while True:
            try:
                page.read(await asyncio.wait_for(mailbox.next_frame(), 0.02))
            except TimeoutError:
                return

    for mailbox, page in pages:
        await drain(mailbox, page)
    for step in range(60):
        node = pick.choice(NODES)
        change(four, node, eth0(node, pick.randrange(2), pick.choice((UP, IFF_UP)), 1400 + step))
        topology.advance()
        which = pick.randrange(len(pages))
        if step % 3 == 0:
            last[which] = pick.choice(scopes)
            pages[which][0].watch(last[which])
        elif step % 10 == 5:
            pages[which][0].resync()
        if step % 4 == 0:
            await drain(*pages[pick.randrange(len(pages))])
    for mailbox, page in pages:
        await drain(mailbox, page)
    whole = topology.graph()[1]
    for number, (mailbox, page) in enumerate(pages):
        await drain(mailbox, page)
        assert page.graph == part_of(whole, last[number]), number
        mailbox.close()


def test_details_are_worked_out_for_watched_nodes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    projector = Projector()
    assert projector.watch(("b",)) == []
    states = {node: pod_network(node=node, third=number + 1) for number, node in enumerate(NODES)}
    projector.update(ClusterState(states), {})
    graph = projector.graph()
    assert set(graph.nodes) == set(NODES)
    assert {ns.node for ns in graph.netns.values()} == {"b"}
    assert projector.watch(("a", "c")) == ["a", "c"]
    projector.update(ClusterState(states), {}, ("a", "c"))
    whole = project(ClusterState(states), {})
    assert projector.graph() == part_of(whole, frozenset("ac"))


def test_what_the_api_asked_for_is_let_go(four: MemoryStore) -> None:
    topology = Topology(four)
    assert {ns.node for ns in topology.graph("a")[1].netns.values()} == {"a"}
    assert {ns.node for ns in topology.graph(pod="default/web-1")[1].netns.values()} == set(NODES)
    topology._asked = dict.fromkeys(topology._asked, 0.0)
    topology.graph("b")
    assert set(topology._projector.graph().routes) == {"b"}


def test_health_is_the_servers_word(four: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = Topology(four)
    for node in NODES:
        four.set_connected(node, True, 1.0)

    def healths() -> dict[str, tuple[str, str | None]]:
        return {name: (node.health, node.problem) for name, node in topology.graph()[1].nodes.items()}

    def pod(node: str, number: int) -> str:
        return topology.graph()[1].netns[f"{node}:4:{10 + number}:0"].health

    def problems(*found: dict[str, Any]) -> None:
        rows = [{**one, "id": str(number)} for number, one in enumerate(found)]
        monkeypatch.setattr(reader, "board", board_of(rows, {"state": "current"}))

    at_a = problem_at("a", "a:4:10:0", "warning", "the pod's address is held twice")
    assert set(healths().values()) == {("ok", None)}
    assert pod("a", 0) == "ok"
    problems(at_a)
    assert healths()["a"] == ("warning", "the pod's address is held twice")
    assert healths()["b"] == ("ok", None)
    assert (pod("a", 0), pod("a", 1)) == ("warning", "ok")
    worse = problem_at("a", "", "error", "a has no route to b's pods")
    problems(at_a, worse)
    assert healths()["a"] == ("error", "a has no route to b's pods")
    assert pod("a", 0) == "warning"
    problems({**at_a, "state": "muted"}, {**worse, "gone": "2026-01-01T00:00:00+00:00"})
    assert healths()["a"] == ("ok", None), "what is muted, or gone, marks nothing"
    assert pod("a", 0) == "ok"
    assert len(topology.graph()[1].problems) == 2
    four.set_connected("b", False, 2.0)
    assert healths()["b"] == ("error", "its collector is not connected")
    change(four, "a", eth0("a", 0, IFF_UP))
    assert pod("a", 0) == "error", "its link carries nothing"


def test_a_problem_at_the_nodes_end_of_its_link_is_the_pods_too(
    four: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = Topology(four)
    graph = topology.graph()[1]
    inside = next(link for link in graph.links.values() if link.netns == "a:4:10:0" and link.peer)
    port = graph.links[str(inside.peer)]
    found = problem_at("a", port.netns, "error", "no proxy ARP", port.ifname)
    monkeypatch.setattr(reader, "board", board_of([found], {"state": "current"}))

    def health(seen: Topology) -> list[str]:
        return [seen.graph()[1].netns[f"a:4:{number}:0"].health for number in (10, 11)]

    assert health(topology) == ["error", "ok"]
    assert health(Topology(four)) == ["error", "ok"], "worked out anew"
    monkeypatch.setattr(reader, "board", board_of([], {"state": "current"}))
    assert health(topology) == ["ok", "ok"]


def test_a_page_is_told_of_problems_wherever_they_are(
    four: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology, heard = Topology(four), []
    topology.listen(lambda revision, frame: heard.append(frame), frozenset("d"))
    heard.clear()
    one = problem_at("a", "", "error", "a has no route to b's pods")
    monkeypatch.setattr(reader, "board", board_of([one], {"state": "current"}))
    topology.advance()
    (frame,) = heard
    assert frame is not None
    text = json.loads(frame.text(0, frozenset("d")))
    assert [item["headline"] for item in text["upsert"]["problems"]] == ["a has no route to b's pods"]
    counts = {"open": 1, "errors": 1, "breaking": 1, "aside": 0, "left_off": 0}
    assert text["upsert"]["checking"][0]["counts"] == counts
    assert [item["name"] for item in text["upsert"]["nodes"]] == ["a"]
    topology.advance()
    assert len(heard) == 1, "what stands isn't told again"


def problem_at(node: str, key: str, severity: str, headline: str, dev: str = "") -> dict[str, Any]:
    """As much of a problem as the graph needs."""
    return {
        "id": "0",
        "severity": severity,
        "harm": "breaks traffic",
        "headline": headline,
        "state": "open",
        "gone": None,
        "where": {"node": node, "netns": "", "dev": dev, "key": key},
        "also_at": [],
        "affects": {"pairs": 0, "pods": [], "more": 0},
    }


def test_a_node_that_nobody_heard_of_is_no_error_of_its_pods() -> None:
    graph = project(ClusterState(), {"ghost": Live(connected=True)})
    assert (graph.nodes["ghost"].health, graph.nodes["ghost"].problem) == (
        "warning",
        "its collector has not sent its state yet",
    )

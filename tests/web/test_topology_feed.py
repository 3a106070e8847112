"""/ws/topology: a snapshot, then numbered deltas; slow pages get a snapshot and hold up nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from websockets.asyncio.client import connect

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Netns, Pod
from netviz.core.state.delta import NetnsDelta, NodeDelta
from netviz.ingest.memory_store import MemoryStore
from netviz.topology import feed as feeds
from netviz.topology.feed import Mailbox, browsers, get_feed
from netviz.topology.graph import (
    ClusterObject,
    Graph,
    GraphDelta,
    KubePodObject,
    LinkObject,
    NetnsObject,
    NodeObject,
    Remove,
    RoutesObject,
    Upsert,
    fold,
)
from netviz.topology.live import Topology, get_topology
from tests.web.sockets import Socket
from tests.web.states import change, pod_network, show


class Frame(msgspec.Struct):
    """Any frame of the feed."""

    type: str
    revision: int
    base: int = -1
    nodes: list[NodeObject] = []
    clusters: list[ClusterObject] = []
    pods: list[KubePodObject] = []
    routes: list[RoutesObject] = []
    netns: list[NetnsObject] = []
    links: list[LinkObject] = []
    problems: list[dict[str, Any]] = []
    checking: list[dict[str, Any]] = []
    upsert: Upsert | None = None
    remove: Remove | None = None


class Page:
    """A page as the protocol has it: it keeps a graph and insists on unbroken numbers."""

    def __init__(self) -> None:
        self.graph, self.revision, self.deltas, self.snapshots = Graph(), -1, 0, 0

    def read(self, text: str) -> str:
        frame = msgspec.json.decode(text, type=Frame)
        if frame.type == "snapshot":
            self.graph = fold(
                Graph(),
                GraphDelta(
                    Upsert(
                        frame.nodes,
                        frame.routes,
                        frame.netns,
                        frame.links,
                        frame.problems,
                        frame.checking,
                        frame.clusters,
                        frame.pods,
                    )
                ),
            )
            self.snapshots += 1
        elif frame.type == "delta":
            assert frame.base == self.revision
            assert frame.upsert is not None
            assert frame.remove is not None
            self.graph = fold(self.graph, GraphDelta(frame.upsert, frame.remove))
            self.deltas += 1
        self.revision = frame.revision
        return frame.type


def page_socket(token: str = "", origin: str = "") -> Socket:
    return Socket("/ws/topology", token, origin)


def pod_delta(number: int) -> NodeDelta:
    key = NetnsKey("a", 4, 1000 + number)
    return NodeDelta(netns=(NetnsDelta(key, netns=Netns(key, pod=Pod(f"new-{number}", "default"))),))


async def read_until(page: Page, socket: Any, revision: int) -> None:
    while page.revision < revision:
        page.read(await socket.read())


@pytest.mark.django_db(transaction=True)
async def test_a_page_gets_a_snapshot_then_what_changed(
    store: MemoryStore, token: Callable[[str], str]
) -> None:
    show(store, pod_network())
    socket, page = page_socket(await sync_to_async(token)("viewer")), Page()
    assert await socket.connect()
    assert page.read(await socket.read()) == "snapshot"
    assert len(page.graph.links) == 9
    assert browsers() == 1
    for number in range(5):
        change(store, "a", pod_delta(number))
    assert page.read(await socket.read()) == "delta"
    assert page.deltas == 1, "changes of one moment come as one delta"
    assert page.graph == get_topology().graph()[1]
    assert sum(ns.pod is not None for ns in page.graph.netns.values()) == 7
    await socket.send('{"type": "resync"}')
    assert page.read(await socket.read()) == "snapshot"
    await socket.close()
    assert browsers() == 0


@pytest.mark.django_db(transaction=True)
async def test_pages_that_join_at_different_times_end_with_the_same_graph(
    store: MemoryStore, token: Callable[[str], str]
) -> None:
    show(store, pod_network())
    secret = await sync_to_async(token)("viewer")
    sockets = []
    for number in range(6):
        socket, page = page_socket(secret), Page()
        assert await socket.connect()
        sockets.append((socket, page))
        change(store, "a", pod_delta(number))
        await asyncio.sleep(0.02)
    revision, graph = await asyncio.to_thread(get_topology().graph)
    for socket, page in sockets:
        await read_until(page, socket, revision)
        assert page.graph == graph
        assert page.snapshots == 1
        await socket.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", ["nobody", "viewer", "administrator"])
async def test_only_those_who_may_see_connect(
    store: MemoryStore, token: Callable[[str], str], role: str
) -> None:
    socket = page_socket(await sync_to_async(token)(role))
    assert await socket.connect() is (role != "nobody")
    await socket.close()


@pytest.mark.django_db(transaction=True)
async def test_strangers_and_pages_of_other_hosts_are_refused(
    store: MemoryStore, token: Callable[[str], str]
) -> None:
    secret = await sync_to_async(token)("viewer")
    for refused in (
        page_socket(),
        page_socket("nva_wrong"),
        *(
            page_socket(secret, origin=origin)
            for origin in ("https://elsewhere.invalid", "null", "http://[", "x")
        ),
        *(
            Socket("/ws/topology", secret, host=host)
            for host in ("elsewhere.invalid", "", "[", "[::1", "a]b")
        ),
    ):
        assert not await refused.connect()


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_talks_nonsense_is_told_and_closed(
    store: MemoryStore, token: Callable[[str], str]
) -> None:
    socket = page_socket(await sync_to_async(token)("viewer"))
    await socket.connect()
    await socket.read()
    await socket.send("{]")
    closing = await socket.output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 4400)


@pytest.mark.django_db(transaction=True)
async def test_who_may_no_longer_see_is_cut_off(
    store: MemoryStore, person: Callable[[str], User], monkeypatch: pytest.MonkeyPatch
) -> None:
    from netviz.inventory import sockets
    from netviz.inventory.service import make_api_token

    monkeypatch.setattr(sockets, "LOOK_EVERY_S", 0.05)
    user = await sync_to_async(person)("viewer")
    socket = page_socket((await sync_to_async(make_api_token)(user, "test"))[1])
    await socket.connect()
    await socket.read()
    await sync_to_async(user.groups.clear)()
    closing = await socket.output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 4403)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["token revoked", "logged out", "password changed"])
async def test_the_end_of_what_opened_a_socket_ends_it(
    store: MemoryStore, person: Callable[[str], User], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    from django.test import Client

    from netviz.inventory import sockets
    from netviz.inventory.service import make_api_token, revoke_api_token

    monkeypatch.setattr(sockets, "LOOK_EVERY_S", 0.05)
    user = await sync_to_async(person)("viewer")
    record, secret = await sync_to_async(make_api_token)(user, "test")
    client = Client()
    await sync_to_async(client.force_login)(user)

    def finish() -> None:
        if end == "token revoked":
            revoke_api_token(record)
        elif end == "logged out":
            client.logout()
        else:
            user.set_password("another horse")
            user.save()

    cookie = client.cookies["sessionid"].value
    opened = page_socket(secret) if end == "token revoked" else Socket("/ws/topology", cookie=cookie)
    assert await opened.connect()
    await opened.read()
    await asyncio.sleep(0.2)
    await sync_to_async(finish)()
    closing = await opened.output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 4403)


async def test_a_slow_page_gets_a_snapshot_and_holds_up_nobody(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAILBOX_FRAMES", 5)
    show(store, pod_network())
    topology, loop = Topology(store), asyncio.get_running_loop()
    slow, fast = (Mailbox(topology, loop) for _ in range(2))
    slow_page, fast_page = Page(), Page()
    for mailbox, page in ((slow, slow_page), (fast, fast_page)):
        page.read(await mailbox.next_frame())
    for number in range(40):
        change(store, "a", pod_delta(number))
        topology.advance()
        fast_page.read(await fast.next_frame())
    assert fast_page.deltas == 40
    slow_page.read(await slow.next_frame())
    assert (slow_page.snapshots, slow_page.deltas) == (2, 0)
    assert slow_page.graph == fast_page.graph == topology.graph()[1]
    change(store, "a", pod_delta(99))
    topology.advance()
    slow_page.read(await slow.next_frame())
    assert slow_page.deltas == 1
    for mailbox in (slow, fast):
        mailbox.close()
    assert topology.listeners == 0


async def test_silence_is_broken_by_pings(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "PING_S", 0.05)
    feed = get_feed()
    mailbox, page = feed.join(), Page()
    assert page.read(await mailbox.next_frame()) == "snapshot"
    assert page.read(await asyncio.wait_for(mailbox.next_frame(), 300)) == "ping"
    feed.leave(mailbox)


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_does_not_read_its_socket_holds_up_nobody(
    served_here: str, store: MemoryStore, token: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAILBOX_BYTES", 1 << 20)
    headers = {"Authorization": f"Bearer {await sync_to_async(token)('viewer')}"}
    url = f"ws://{served_here}/ws/topology"
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    small.connect(("127.0.0.1", int(served_here.rpartition(":")[2])))
    few, many = pod_network(pods=1), pod_network(pods=250)
    show(store, few)
    async with (
        connect(
            url, sock=small, additional_headers=headers, compression=None, max_queue=1, max_size=None
        ) as slow,
        connect(url, additional_headers=headers, max_size=None) as fast,
    ):
        fast_page, slow_page = Page(), Page()
        fast_page.read(await asyncio.wait_for(fast.recv(), 300))
        for number in range(60):
            show(store, few if number % 2 else many)
            revision = await asyncio.to_thread(get_topology().advance)
            while fast_page.revision < revision:
                fast_page.read(await asyncio.wait_for(fast.recv(), 300))
        assert fast_page.snapshots == 1
        while slow_page.revision < fast_page.revision:
            slow_page.read(await asyncio.wait_for(slow.recv(), 300))
        assert slow_page.snapshots >= 2, "it lost its mail and got a snapshot"
        assert slow_page.deltas < fast_page.deltas
        assert slow_page.graph == fast_page.graph

"""Sockets that misbehave leave nothing behind, and nobody else feels them."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from netviz import protocols
from netviz.core.wire.codec import encode_frame
from netviz.core.wire.messages import AgentStatus, Heartbeat, Hello, SnapshotBegin, SnapshotEnd
from netviz.ingest.memory_store import MemoryStore
from netviz.inventory import consumers
from netviz.inventory.consumers import open_sockets
from netviz.inventory.service import enrol, make_api_token
from netviz.topology.feed import browsers
from netviz.topology.live import get_topology
from netviz.tracing.models import TraceRun
from tests.web.conftest import Here
from tests.web.served import eventually
from tests.web.sockets import Socket
from tests.web.states import change, pod_network, show
from tests.web.test_topology_feed import Page, pod_delta

EACH = 8


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(protocols, "PATIENCE_S", 0.8)
    monkeypatch.setattr(protocols, "PONG_WITHIN_S", 0.8)
    monkeypatch.setattr(protocols, "CLOSE_WITHIN_S", 0.5)


@pytest.fixture
def quick(here: Here) -> Here:
    """A server with small kernel buffers, which asks soon whether its peers are there."""
    here.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    here.server.config.ws_ping_interval = 0.3
    here.server.config.ws_ping_timeout = 0.8
    return here


class Raw:
    """A peer that speaks TCP and does what it likes."""

    def __init__(self, here: Here, path: str, token: str) -> None:
        self._tcp = socket.socket()
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._tcp.settimeout(300)
        self._tcp.connect(here.address)
        key = base64.b64encode(bytes(16)).decode()
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()

    def open(self) -> Raw:
        self.send(self.request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._tcp.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return self

    def send(self, data: bytes) -> None:
        self._tcp.sendall(data)

    def frame(self, opcode: int, body: bytes, says: int | None = None) -> None:
        """Send a frame that says to be of another length, perhaps."""
        size = len(body) if says is None else says
        self.send(bytes((0x80 | opcode, 0xFF)) + struct.pack("!Q", size) + bytes(4) + body)

    def reset(self) -> None:
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._tcp.close()

    def close(self) -> None:
        self._tcp.close()


MISDEEDS: dict[str, Callable[[Raw], object]] = {
    "never says anything": lambda raw: None,
    "says half a request": lambda raw: raw.send(raw.request[:40]),
    "is gone before it is answered": lambda raw: (raw.send(raw.request), raw.reset()),
    "never reads nor answers pings": lambda raw: raw.open(),
    "sends frames that are none": lambda raw: raw.open().send(b"\xff" * 300),
    "sends text that is none": lambda raw: raw.open().frame(1, b"\xff\xfe"),
    "sends a word nobody knows": lambda raw: raw.open().frame(1, b'{"type": "nonsense"}'),
    "sends bytes": lambda raw: raw.open().frame(2, bytes(100)),
    "sends more than a page may": lambda raw: raw.open().frame(1, bytes(10), says=2 << 20),
    "stops in a frame": lambda raw: raw.open().frame(1, b"{", says=1000),
    "talks without end": lambda raw: [raw.open()] + [raw.frame(1, b'{"type": "resync"}') for _ in range(200)],
    "is cut": lambda raw: raw.open().reset(),
    "leaves without a word": lambda raw: raw.open().close(),
}


def nothing_left(here: Here, others: int) -> bool:
    state = here.server.server_state
    mine = len(state.connections) == len(state.tasks) == open_sockets() == browsers() == others
    return mine and get_topology().listeners == others


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws/topology", "/ws/traces/ID"])
async def test_sockets_that_misbehave_leave_nothing(
    quick: Here, store: MemoryStore, token: Callable[[str], str], path: str
) -> None:
    run = await sync_to_async(TraceRun.objects.create)(request={}, source="a", target="b", proto="tcp")
    secret = await sync_to_async(token)("viewer")
    show(store, pod_network(pods=100))
    url = f"ws://{quick.address[0]}:{quick.address[1]}/ws/topology"
    raws = []
    async with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}, max_size=None) as good:
        page = Page()
        page.read(await asyncio.wait_for(good.recv(), 300))
        for misdeed in MISDEEDS.values():
            for _ in range(EACH if path == "/ws/topology" else 2):
                raw = Raw(quick, path.replace("ID", str(run.pk)), secret)
                await asyncio.to_thread(misdeed, raw)
                raws.append(raw)
            change(store, "a", pod_delta(len(raws)))
        await eventually(lambda: nothing_left(quick, others=1), 300, "all that misbehaved are gone")
        change(store, "a", pod_delta(999))
        revision = await asyncio.to_thread(get_topology().advance)
        while page.revision < revision:
            page.read(await asyncio.wait_for(good.recv(), 300))
        assert page.snapshots == 1, "who behaves felt nothing of it"
    await eventually(lambda: nothing_left(quick, others=0))
    for raw in raws:
        raw.close()


@pytest.mark.django_db(transaction=True)
async def test_who_reads_slowly_is_left_alone(
    quick: Here, store: MemoryStore, token: Callable[[str], str]
) -> None:
    show(store, pod_network(pods=250))
    raw = Raw(quick, "/ws/topology", await sync_to_async(token)("viewer"))
    await asyncio.to_thread(raw.open)

    def read() -> bytes:
        return raw._tcp.recv(2000)

    loop = asyncio.get_running_loop()
    began, got = loop.time(), 0
    while loop.time() - began < 4 * protocols.PATIENCE_S:
        got += len(await asyncio.to_thread(read))
        await asyncio.sleep(0.1)
    assert got > 10_000
    assert browsers() == 1
    raw.close()
    await eventually(lambda: nothing_left(quick, others=0))


@pytest.mark.django_db(transaction=True)
async def test_a_collector_that_stops_reading_is_cut_and_shown_so(
    quick: Here, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = await sync_to_async(enrol)("n1", approve=True)
    raw = Raw(quick, "/ws/agents", secret)
    await asyncio.to_thread(raw.open)
    for message in (Hello("n1", (1,), "1.0", 5), SnapshotBegin(5, 0), SnapshotEnd(0)):
        raw.frame(2, encode_frame(message))
    await eventually(lambda: "n1" in store.cluster().nodes)
    assert store.node_revisions()["n1"].connected

    def talk() -> None:
        # It says each moment that all is well, and takes nothing.
        with suppress(OSError):
            while True:
                raw.frame(2, encode_frame(Heartbeat(AgentStatus())))
                time.sleep(0.05)

    await asyncio.wait_for(asyncio.to_thread(talk), 300)
    await eventually(lambda: not store.node_revisions()["n1"].connected)
    assert "node n1: its collector's link was cut: the peer does not answer pings" in caplog.text
    assert len(quick.server.server_state.connections) == 0
    raw.close()


@pytest.mark.django_db(transaction=True)
async def test_a_page_may_name_thousands_of_nodes(
    served_here: str, store: MemoryStore, token: Callable[[str], str]
) -> None:
    show(store, pod_network())
    headers = {"Authorization": f"Bearer {await sync_to_async(token)('viewer')}"}
    names = ["a", *(f"node-{number:060d}.example" for number in range(9_000))]
    async with connect(
        f"ws://{served_here}/ws/topology?nodes=", additional_headers=headers, max_size=None
    ) as page:
        assert json.loads(await asyncio.wait_for(page.recv(), 300))["links"] == []
        await page.send(json.dumps({"type": "watch", "nodes": names}))
        assert len(json.loads(await asyncio.wait_for(page.recv(), 300))["upsert"]["links"]) == 9


@pytest.mark.django_db(transaction=True)
async def test_one_person_opens_only_so_many(
    served_here: str, store: MemoryStore, person: Callable[[str], User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_SOCKETS", 3)
    first = await sync_to_async(person)("viewer")
    other = await sync_to_async(person)("operator")
    headers = [
        {"Authorization": f"Bearer {(await sync_to_async(make_api_token)(user, 'test'))[1]}"}
        for user in (first, other)
    ]
    url = f"ws://{served_here}/ws/topology"
    opened = [await connect(url, additional_headers=headers[0]) for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers=headers[0])
    assert refused.value.response.status_code == 429
    assert refused.value.response.body == b"you have 3 sockets open; close some"
    opened.append(await connect(url, additional_headers=headers[1]))
    await opened[0].close()
    await eventually(lambda: open_sockets() == 3)
    opened.append(await connect(url, additional_headers=headers[0]))
    for one in opened:
        await one.close()
    await eventually(lambda: open_sockets() == 0)


@pytest.mark.django_db(transaction=True)
async def test_a_page_is_closed_when_there_is_no_graph_to_send(
    store: MemoryStore, token: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("not at all")

    secret = await sync_to_async(token)("viewer")
    socket = Socket("/ws/topology", secret)
    assert await socket.connect()
    await socket.read()
    monkeypatch.setattr("netviz.topology.projector.Projector.update", fails)
    show(store, pod_network())
    closing = await socket.output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 1011)
    await socket.close()
    assert browsers() == open_sockets() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "path", ["/ws", "/ws/", "/ws/nothing", "/ws/topology/x", "/nothing", "/ws/traces/1/2"]
)
@pytest.mark.parametrize("known", [True, False])
async def test_a_path_without_a_socket_is_a_404(
    served_here: str, token: Callable[[str], str], path: str, known: bool
) -> None:
    headers = {"Authorization": f"Bearer {await sync_to_async(token)('viewer')}"} if known else {}
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{served_here}{path}", additional_headers=headers)
    assert refused.value.response.status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/ws", "/ws/nothing", "/ws/topology", "/ws/agents", "/ws/traces/1"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_plain_http_under_ws_is_a_404(browser: Callable[[str], Any], path: str, method: str) -> None:
    assert getattr(browser("viewer"), method)(path).status_code == 404

"""The collector's transport where no server helps: addresses, files, a server that is none or falls silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agents import transport
from agents.recording import Head, Replay
from agents.transport import Transport, TransportOptions, is_private, socket_url
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.wire import codec
from netviz.core.wire.codec import decode_frame, encode_frame
from netviz.core.wire.messages import Error, Hello, Watched, Welcome
from tests.agents.session_server import SessionServer, write_token
from tests.live.node_rig import until as eventually


class Source(Replay):
    """A node with one namespace, and notes of what is watched."""

    def __init__(self) -> None:
        self.key = NetnsKey("n1", 4, 1)
        super().__init__(
            Head("n1", 0, NodeDelta(netns=(NetnsDelta(self.key, netns=Netns(self.key, root=True)),))), ()
        )
        self.watched: list[tuple[Watched, ...]] = []

    def watch(self, watched: Iterable[Watched]) -> None:
        self.watched.append(tuple(watched))

    def change(self, value: int) -> NodeDelta:
        """Change a setting."""
        put = Change((Sysctl("net.ipv4.ip_forward", value),), ())
        delta = NodeDelta(netns=(NetnsDelta(self.key, sysctls=put),))
        self._state = apply(self._state, delta)
        return delta


class Collector:
    """A node with the real transport, running."""

    def __init__(self, served: Any, node: str, **options: Any) -> None:
        self.source = Source()
        self.transport = Transport(
            TransportOptions(served.url, served.token_file(node), node, "9.9", **options), self.source
        )

    async def __aenter__(self) -> Collector:
        self._task = asyncio.create_task(self.transport.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def change(self, value: int) -> None:
        """Change a setting and tell."""
        self.transport.state_changed(self.source.change(value), time.time_ns())


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws/agents"),
        ("https://netviz.example/base/", "wss://netviz.example/base/ws/agents"),
        ("wss://h", "wss://h/ws/agents"),
    ],
)
def test_the_socket_s_address_follows_from_the_server_s(server: str, url: str) -> None:
    assert socket_url(server) == url


@pytest.mark.parametrize("server", ["", "127.0.0.1:8000", "ftp://h", "http://"])
def test_an_address_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(ValueError, match="not a server's URL"):
        socket_url(server)


@asynccontextmanager
async def other_server(handler: Any, folder: Path) -> AsyncIterator[Any]:
    """A WebSocket server of any kind, in the shape that `Collector` connects to."""
    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        token = write_token(folder)
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", token_file=lambda node: token)


async def test_a_missing_token_file_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    served: Any = SimpleNamespace(url="http://127.0.0.1:9", token_file=lambda node: tmp_path / "none")
    async with Collector(served, "n1", refused_pause_s=0.01):
        await eventually(lambda: caplog.messages)
        await asyncio.sleep(0.1)
    assert len(caplog.messages) == 1
    assert "cannot read the token file" in caplog.messages[0]


async def test_a_server_that_is_not_there_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with other_server(None, tmp_path) as served:
        pass
    async with Collector(served, "n1") as collector:
        await eventually(lambda: caplog.messages)
        assert not collector.transport.connected


async def test_a_server_that_speaks_something_else_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def text(link: ServerConnection) -> None:
        await link.send("hello")
        await link.wait_closed()

    async with other_server(text, tmp_path) as served, Collector(served, "n1"):
        await eventually(lambda: [line for line in caplog.messages if "it is no netviz server" in line])


async def test_a_server_that_breaks_the_protocol_is_told_and_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    async def broken(link: ServerConnection) -> None:
        await link.send(encode_frame(Welcome(99)))
        async for data in link:
            heard.append(decode_frame(data))  # type: ignore[arg-type]

    async with other_server(broken, tmp_path) as served, Collector(served, "n1"):
        await eventually(lambda: [line for line in caplog.messages if "broke the protocol" in line])
        await eventually(lambda: "bad_version" in [getattr(message, "code", "") for message in heard])


async def test_a_server_that_falls_silent_is_left_and_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TIMER_STEP_S", 0.05)
    hellos: list[Hello] = []

    async def silent(link: ServerConnection) -> None:
        async for data in link:
            message = decode_frame(data)  # type: ignore[arg-type]
            if isinstance(message, Hello):
                hellos.append(message)
                await link.send(encode_frame(Welcome(1, None, 0.2)))

    async with other_server(silent, tmp_path) as served, Collector(served, "n1") as collector:
        await eventually(lambda: len(hellos) >= 2)
        assert {hello.epoch for hello in hellos} == {collector.transport._epoch}
    assert [line for line in caplog.messages if "the server was silent" in line]


async def test_a_collector_that_was_replaced_waits_long_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hellos: list[Hello] = []

    async def replacing(link: ServerConnection) -> None:
        hellos.append(decode_frame(await link.recv()))  # type: ignore[arg-type]
        await link.send(encode_frame(Welcome(1)))
        await link.send(encode_frame(Error("replaced", "the node's collector has connected again")))
        await link.wait_closed()

    async with other_server(replacing, tmp_path) as served:
        async with Collector(served, "n1"):
            await eventually(lambda: [m for m in caplog.messages if "uses the same token" in m])
            await asyncio.sleep(3 * transport.FIRST_PAUSE_S)
            assert len(hellos) == 1
        async with Collector(served, "n1", refused_pause_s=0.1):
            await eventually(lambda: len(hellos) >= 3)


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[SessionServer, Collector]]:
    """A server that speaks the protocol, and a collector at it whose first snapshot has arrived."""
    server = SessionServer("n1")
    token = write_token(folder)
    async with server.serving():
        served = SimpleNamespace(url=server.url, token_file=lambda node: token)
        async with Collector(served, "n1", refused_pause_s=0.05) as collector:
            await eventually(lambda: server.state is not None and not collector.transport.unacked)
            yield server, collector


async def test_state_and_changes_arrive_with_the_token(tmp_path: Path) -> None:
    async with linked(tmp_path) as (server, collector):
        assert server.state == collector.source.state()
        assert server.tokens == ["Bearer nvc_any"]
        collector.change(1)
        await eventually(lambda: not collector.transport.unacked)
        assert server.state == collector.source.state()
        assert [kind for _, kind in sorted(server.journal.items())] == ["snapshot", "delta"]


async def test_what_changed_while_the_link_was_cut_arrives_afterwards_without_another_snapshot(
    tmp_path: Path,
) -> None:
    async with linked(tmp_path) as (server, collector):
        await server.cut()
        await eventually(lambda: not collector.transport.connected)
        for value in range(5):
            collector.change(value)
        await eventually(lambda: server.connections == 2 and not collector.transport.unacked)
        assert server.state == collector.source.state()
        assert list(server.journal.values()).count("snapshot") == 1


async def test_what_is_watched_is_passed_on_and_ends_with_the_link(tmp_path: Path) -> None:
    async with linked(tmp_path) as (server, collector):
        watched = Watched(netns=collector.source.key, sections=("counters",), every_s=2.0)
        await server.watch(watched)
        await eventually(lambda: (watched,) in collector.source.watched)
        await server.cut()
        await eventually(lambda: collector.source.watched[-1] == ())


async def test_a_change_that_no_frame_can_carry_is_made_good_by_a_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(tmp_path) as (server, collector):
        with monkeypatch.context() as small:
            small.setattr(codec, "MAX_MESSAGE_BYTES", 1)
            collector.change(7)
        assert "a change cannot be sent, a snapshot will follow" in caplog.text
        await eventually(lambda: server.state == collector.source.state())
        assert list(server.journal.values()).count("snapshot") == 2


@pytest.mark.parametrize("status", [401, 503])
async def test_a_server_that_refuses_is_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    def refuse(link: ServerConnection, request: Any) -> Any:
        return link.respond(status, "this token was revoked\n")

    token = write_token(tmp_path)
    async with serve(lambda link: None, "127.0.0.1", 0, process_request=refuse) as server:  # type: ignore[arg-type, return-value]
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        served = SimpleNamespace(url=url, token_file=lambda node: token)
        async with Collector(served, "n1"):
            await eventually(lambda: f"refused ({status}): this token was revoked" in caplog.text)


async def test_a_session_that_the_server_ends_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(tmp_path) as (server, _):
        await server.refuse("revoked", "the collector's token was revoked")
        await eventually(
            lambda: "the server ended the session: the collector's token was revoked" in caplog.text
        )


async def test_a_server_that_closes_is_quoted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with linked(tmp_path) as (server, _):
        assert server._link is not None
        await server._link.close(1012, "going down")
        await eventually(lambda: "the server closed the connection" in caplog.text)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("wss://far.example/x", True),
        ("ws://127.0.0.1:1/x", True),
        ("ws://localhost/x", True),
        ("ws://10.0.0.1/x", False),
    ],
)
def test_whether_somebody_could_read_along(url: str, private: bool) -> None:
    assert is_private(url) is private

"""The collector's transport where no server helps: addresses, files, a server that is none or falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agents import transport
from agents.transport import socket_url
from netviz.core.wire.codec import decode_frame, encode_frame
from netviz.core.wire.messages import Error, Hello, Welcome
from tests.web.served import Collector, eventually


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
        (folder / "token").touch(mode=0o600)
        (folder / "token").write_text("nvc_any\n")
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", token_file=lambda node: folder / "token")


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
        assert {hello.epoch for hello in hellos} == {collector.epoch}
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

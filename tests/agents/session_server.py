"""A server without a web application: a WebSocket, and core's own session with what outlives a connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from netviz.core.wire.messages import Watched
from netviz.core.wire.server_session import ServerSession
from tests.core.wire.pair import Server


def write_token(folder: Path) -> Path:
    """Make a token file that only its owner may read."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text("nvc_any\n")
    return path


class SessionServer(Server):
    """Takes what a collector of `node` sends, and acknowledges it at once. `connections` counts them."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self.node = node
        self.url = ""
        self.connections = 0
        self.tokens: list[str] = []
        self._link: ServerConnection | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[SessionServer]:
        """Listen on a free port until the block ends."""
        async with serve(self._handle, "127.0.0.1", 0, max_size=None) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self

    async def _handle(self, link: ServerConnection) -> None:
        assert link.request is not None
        self.tokens.append(link.request.headers["Authorization"])
        self.connections += 1
        self._link = link
        self.session = ServerSession(self.node, time.monotonic())
        with suppress(ConnectionClosed):
            async for data in link:
                assert isinstance(data, bytes)
                self.take(data, time.monotonic())
                self.flush()
                if self.state is not None:
                    self._want_bodies()
                await self._send()

    def _want_bodies(self) -> None:
        assert self.state is not None
        assert self.session is not None
        digests = {c.body for ns in self.state.netns.values() for c in ns.nft_chains.values() if c.body}
        if missing := tuple(sorted(digests - self.bodies.keys())):
            self.session.want_bodies(missing)

    async def _send(self) -> None:
        assert self.session is not None
        assert self._link is not None
        while (frame := self.session.next_frame(time.monotonic())) is not None:
            await self._link.send(frame)

    async def watch(self, *watched: Watched) -> None:
        """Tell the collector what is watched."""
        assert self.session is not None
        self.session.watch(watched)
        await self._send()

    async def cut(self) -> None:
        """Cut the connection without a word."""
        assert self._link is not None
        self._link.transport.abort()

    async def refuse(self, code: str, message: str) -> None:
        """End the session with a reason."""
        assert self.session is not None
        self.session.refuse(code, message)
        await self._send()

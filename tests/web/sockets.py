"""A WebSocket client for tests that speaks ASGI to the application itself."""

from __future__ import annotations

from typing import Any

from asgiref.testing import ApplicationCommunicator

from netviz.asgi import application


class Socket:
    """One socket to the application."""

    def __init__(
        self, path: str, token: str = "", origin: str = "", cookie: str = "", host: str = "localhost"
    ) -> None:
        headers = [(b"host", host.encode())]
        if token:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        if cookie:
            headers.append((b"cookie", f"sessionid={cookie}".encode()))
        if origin:
            headers.append((b"origin", origin.encode()))
        path, _, query = path.partition("?")
        scope = {"type": "websocket", "path": path, "query_string": query.encode(), "headers": headers}
        self._asgi = ApplicationCommunicator(application, {**scope, "subprotocols": []})

    async def connect(self) -> bool:
        """Open it; False when the server refuses."""
        await self._asgi.send_input({"type": "websocket.connect"})
        answer = await self.output()
        return bool(answer["type"] == "websocket.accept")

    async def send(self, text: str) -> None:
        """Send a text frame."""
        await self._asgi.send_input({"type": "websocket.receive", "text": text})

    async def output(self) -> dict[str, Any]:
        """The server's next event of any kind."""
        event: dict[str, Any] = await self._asgi.receive_output(timeout=300)
        return event

    async def read(self) -> str:
        """The server's next text frame."""
        event = await self.output()
        assert event["type"] == "websocket.send", event
        return str(event["text"])

    async def is_quiet(self) -> bool:
        """The server says nothing just now."""
        return bool(await self._asgi.receive_nothing())

    async def close(self) -> None:
        """Go away, and wait until the server is done with it."""
        await self._asgi.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._asgi.wait(timeout=300)

"""The server's side of TCP: uvicorn's protocols, with an end for peers that misbehave.

uvicorn waits for ever for a peer that sends no whole request, that doesn't read what is sent to it, or
that has vanished: each keeps a descriptor, what waits to be sent, and the socket's consumer. Here every
connection is looked at every few seconds, and one that makes no progress for PATIENCE_S is cut:
aborted, for an orderly close would wait for the peer too. What is slow but moves is left alone.

Pings are uvicorn's; their timeout counts only when the peer could have answered.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

log = logging.getLogger("netviz.protocols")

LOOK_EVERY_S = 5.0
PATIENCE_S = 20.0
PING_EVERY_S = 15.0
PONG_WITHIN_S = 30.0
CLOSE_WITHIN_S = 5.0
# A page says a word or two, or names the nodes that it watches; a collector's frames have their own bound.
COLLECTORS_PATH = "/ws/agents"
PAGE_MESSAGE_BYTES = 1 << 20
# Collectors' sessions beat by themselves: a ping finds only one that talks and never reads, and goes out so much more seldom.
COLLECTORS_PINGS = 4


class Watched(asyncio.Protocol):
    """A protocol whose transport is aborted when the peer makes no progress."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    client: tuple[str, int] | None
    _timer: asyncio.TimerHandle | None = None
    _progress_at = 0.0
    _waiting_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to look."""
        super().connection_made(transport)
        self._progress_at = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self.stop_looking()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """What waited was taken."""
        self._progress_at = self.loop.time()
        super().resume_writing()

    def stop_looking(self) -> None:
        """Leave the transport to itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def complaint(self, now: float) -> str | None:
        """Say what the peer does wrong besides not reading, None when nothing."""
        return None

    def cut(self, complaint: str) -> None:
        """End the connection without waiting for the peer."""
        self.stop_looking()
        log.info("cutting the connection of %s: it %s", self.client[0] if self.client else "?", complaint)
        self.transport.abort()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        now, waiting_bytes = self.loop.time(), self.transport.get_write_buffer_size()
        if waiting_bytes == 0 or waiting_bytes < self._waiting_bytes:
            self._progress_at = now
        self._waiting_bytes = waiting_bytes
        stuck = now - self._progress_at >= PATIENCE_S
        complaint = "does not read what is sent to it" if stuck else self.complaint(now)
        if complaint is None:
            self._look_later()
        else:
            self.cut(complaint)


class Http(Watched, H11Protocol):
    """HTTP/1.1 whose requests have to arrive."""

    _heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._heard_at = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Note that the peer speaks."""
        self._heard_at = self.loop.time()
        super().data_received(data)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the transport over: the socket's own protocol looks after it from here."""
        self.stop_looking()
        super().handle_websocket_upgrade(event)

    def complaint(self, now: float) -> str | None:
        """Say that no request, or no whole one, comes."""
        answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if answering or now - self._heard_at < PATIENCE_S:
            return None
        return "does not send a whole request"


class WebSockets(Watched, WebSocketsSansIOProtocol):
    """WebSockets whose peers read, and answer pings."""

    _took_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = CLOSE_WITHIN_S

    def handle_connect(self, event: Any) -> None:
        """Bound what a page may send before anything of it is read."""
        if event.path.partition("?")[0] != COLLECTORS_PATH:
            self.conn.max_message_size = PAGE_MESSAGE_BYTES
        elif self.ping_interval is not None:
            self.ping_interval *= COLLECTORS_PINGS
        super().handle_connect(event)

    def keepalive_timeout(self) -> None:
        """Cut a peer that could have answered a ping, and has not."""
        unread = self.read_paused and self.loop.time() - self._took_at >= LOOK_EVERY_S
        if unread or self.transport.get_write_buffer_size():
            # The answer may wait to be read here, or the ping wait behind what is being sent.
            self.pong_timer = self.loop.call_later(PONG_WITHIN_S, self.keepalive_timeout)
        else:
            self.cut("does not answer pings")

    def cut(self, complaint: str) -> None:
        """Tell the application why, and end the connection."""
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": 1006, "reason": f"the peer {complaint}"}
        )
        super().cut(complaint)

    async def receive(self) -> Any:
        """Note that the application takes what came."""
        message = await super().receive()
        self._took_at = self.loop.time()
        return message

    async def send(self, message: Any) -> None:
        """Send; a close that would wait for a peer that doesn't read cuts it instead."""
        if message["type"] == "websocket.close" and self.handshake_complete and not self.writable.is_set():
            self.cut("does not read what is sent to it")
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # An answer ends the handshake as well; uvicorn would log that nothing had.
            self.handshake_complete = True


# What `uvicorn.Config` needs for all of this.
SERVER_OPTIONS: dict[str, Any] = {
    "http": Http,
    "ws": WebSockets,
    "ws_max_size": 5 << 20,
    "ws_per_message_deflate": False,
    "ws_ping_interval": PING_EVERY_S,
    "ws_ping_timeout": PONG_WITHIN_S,
    "log_config": None,
    "access_log": False,
}

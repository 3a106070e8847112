"""The collectors' socket: bytes in, `ServerSession`, then `CollectorService`; frames out.

The token is checked before the handshake is accepted (401: unknown, 403: not approved or revoked).
After it, whatever ends the session is told in an Error frame, then the socket is closed with a code
of its own, and one line is logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.layers import get_channel_layer
from django.conf import settings
from redis.exceptions import RedisError

from netviz.core.model.ids import NetnsKey
from netviz.core.observe.orders import Refused, encode
from netviz.core.wire import events as ev
from netviz.core.wire.codec import decode_sized, is_large
from netviz.core.wire.errors import RemoteProtocolError
from netviz.core.wire.messages import ProbeEvent, Watched
from netviz.core.wire.server_session import ServerSession
from netviz.core.wire.session import TALKING, State
from netviz.groups import listen_from_this_loop
from netviz.ingest.connections import Connection, connections
from netviz.ingest.journal import journal
from netviz.ingest.looks import Looks, group_of
from netviz.ingest.reports import mailbox
from netviz.ingest.service import CollectorService
from netviz.inventory.address import address_of_socket
from netviz.inventory.answers import refuse_socket
from netviz.inventory.audit import of_token
from netviz.inventory.logins import refused_token
from netviz.inventory.models import Collector
from netviz.inventory.service import collector_group, find_collector
from netviz.inventory.tokens import bearer_token

log = logging.getLogger("netviz.ingest")

ROOM_CHECK_S = 0.1
CLOSE_CODES = {
    "bad_version": 4426,
    "wrong_node": 4403,
    "revoked": 4403,
    "not_approved": 4403,
    "replaced": 4409,
    "timeout": 4408,
    "overload": 1013,
    "internal": 1011,
    "too_large": 1009,
}
BAD_PROTOCOL = 4400
UNKNOWN_TOKEN = 401
READS_ONLY = "its collector only reads: it was started without --allow-observe"


def refusal(collector: Collector | None, origin: bool) -> tuple[int, str] | None:
    """Say why a handshake is refused: HTTP status and one sentence; None lets it in."""
    if origin:
        return 403, "this socket is for collectors, not for web pages"
    if collector is None:
        return UNKNOWN_TOKEN, "the token is unknown"
    if collector.status == Collector.Status.REVOKED:
        return 403, f"the collector of {collector.subject} was revoked"
    if collector.status != Collector.Status.APPROVED:
        return 403, f"the collector of {collector.subject} waits for approval"
    return None


class CollectorConsumer(AsyncConsumer):
    """One collector's connection."""

    session: ServerSession
    service: CollectorService
    _joined = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the connection; however that ends, the node doesn't stay connected.

        Channels' own loop makes a task for each message, and waits for two at a time; here each of the two sources has a
        task for good.
        """
        self.scope, self.base_send = scope, send
        layer = get_channel_layer()
        assert layer is not None
        self.channel_layer, self.channel_name = layer, await layer.new_channel()
        hear = partial(layer.receive, self.channel_name)
        sources = [asyncio.ensure_future(self._serve(one)) for one in (receive, hear)]
        try:
            await asyncio.wait(sources, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for source in sources:
                source.cancel()
            ended = await asyncio.gather(*sources, return_exceptions=True)
            await self._leave()
        for one in ended:
            if isinstance(one, Exception) and not isinstance(one, StopConsumer):
                raise one

    async def _serve(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Handle what one source brings. Raises: StopConsumer at the end, and whatever fails."""
        while True:
            await self.dispatch(await receive())

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler straight away: Channels' own dispatch looks after database connections
        in a thread before each message, and here only the handshake uses the database.
        """
        handler = getattr(self, get_handler_name(message))
        await handler(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Check the token and begin the session."""
        headers = dict(self.scope["headers"])
        token = bearer_token(headers.get(b"authorization", b"").decode("latin-1"))
        collector = await database_sync_to_async(find_collector)(token) if token else None
        if (refused := refusal(collector, b"origin" in headers)) is not None:
            await self._refuse(*refused)
        assert collector is not None
        self._loop = asyncio.get_running_loop()
        self._flushing = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._frame_bytes = 0
        self._close_code = 1000
        self.node = collector.source
        owner = (
            f"cluster.{collector.cluster_id}" if collector.node_id is None else f"node.{collector.node_id}"
        )
        self._groups = (collector_group(collector.pk), owner, group_of(self.node))
        self._looks = Looks()
        self._watched: tuple[Watched, ...] = ()
        # The observations of which this collector has had orders of late.
        self._observed: deque[str] = deque(maxlen=16)
        listen_from_this_loop()
        self.session = ServerSession(
            self.node, time.monotonic(), max_snapshot_bytes=settings.SNAPSHOT_MAX_BYTES
        )
        self.service = CollectorService(self.session, collector.pk, self._durable_from_thread)
        self._connection = Connection(collector.pk, self._cut_from_anywhere)
        self._joined = True
        for group in self._groups:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.send({"type": "websocket.accept"})
        self._set_timer()

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Take one frame."""
        data = message.get("bytes")
        if self._closed:
            return
        try:
            if data is None:
                raise RemoteProtocolError("bad_frame", "text instead of a netviz frame")
            if is_large(data):
                # In a thread, so that the event loop serves the others meanwhile.
                decoded, inflated = await asyncio.to_thread(decode_sized, data)
            else:
                decoded, inflated = decode_sized(data)
        except RemoteProtocolError as err:
            self._broken(err)
        else:
            if isinstance(decoded, ProbeEvent) and decoded.id in self._observed:
                await self._deliver(decoded.id, decoded.body)
            if self._take(decoded, len(data), inflated):
                replaced = {"type": "collector.replaced", "by": self.channel_name}
                await self.channel_layer.group_send(self._groups[1], replaced)
        await self._flush()
        while not journal.has_room() and not self._closed:
            await asyncio.sleep(ROOM_CHECK_S)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Clean up."""
        if message.get("code") == 1009 and not self._closed:
            log.warning("node %s: its collector sent a frame over the size limit", self.node)
        elif (reason := message.get("reason")) and not self._closed:
            log.warning("node %s: its collector's link was cut: %s", self.node, reason)
        await self._leave()
        raise StopConsumer

    async def collector_revoked(self, message: dict[str, Any]) -> None:
        """An administrator revoked this collector."""
        self._cut("revoked", "this collector was revoked")

    async def collector_replaced(self, message: dict[str, Any]) -> None:
        """The node's collector has connected again, perhaps to another process.

        A connection that hasn't said Hello yet is newer than the one that this word is of.
        """
        if message["by"] != self.channel_name and self.session.hello is not None:
            self._cut("replaced", "the node's collector has connected again")

    async def collector_looked_at(self, message: dict[str, Any]) -> None:
        """Somebody looks at a namespace of this node, or ("") at the node."""
        netns = NetnsKey.parse(message["netns"]) if message["netns"] else None
        self._looks.take(netns, time.monotonic(), deciding=message.get("deciding", False))
        self._tell_what_is_watched()

    async def collector_ordered(self, message: dict[str, Any]) -> None:
        """Somebody observes on this node."""
        if self.session.observes:
            if message["id"] not in self._observed:
                self._observed.append(message["id"])
            self.session.send_probe(message["id"], message["body"])
            await self._flush()
        elif self.session.state in TALKING:
            await self._deliver(message["id"], encode(Refused(READS_ONLY)))

    async def _deliver(self, ident: str, body: bytes | None) -> None:
        try:
            if settings.REDIS_URL:
                await asyncio.to_thread(mailbox.deliver, ident, self.node, body)
            else:
                mailbox.deliver(ident, self.node, body)
        except RedisError as err:
            log.warning("node %s: a report on observation %s is lost: %s", self.node, ident, err)

    def _tell_what_is_watched(self) -> None:
        """Tell the collector if it isn't what it was told before."""
        watched = self._looks.watched(time.monotonic())
        if set(watched) != set(self._watched) and self.session.state in TALKING:
            self._watched = watched
            self.session.watch(watched)
            self._soon_flush()

    def _take(self, decoded: Any, size: int, inflated: int) -> bool:
        """Act on one message, sizes as sent and as inflated; tell whether it made this the node's connection."""
        entered = False
        if self.session.closed:
            return entered
        # A snapshot weighs what its parts do.
        self._frame_bytes += size
        try:
            for event in self.session.receive_message(decoded, time.monotonic(), inflated):
                if isinstance(event, ev.HelloReceived):
                    connections.enter(self.node, self._connection)
                    entered = True
                self.service.handle(event, self._frame_bytes)
        except RemoteProtocolError as err:
            self._broken(err)
        except Exception:
            log.exception("node %s: cannot handle %s", self.node, type(decoded).__name__)
            if not self.session.closed:
                self.session.refuse("internal", "the server failed; its log says why")
            self._end("internal")
        if self.session.state is not State.IN_SNAPSHOT:
            self._frame_bytes = 0
        return entered

    def _broken(self, err: RemoteProtocolError) -> None:
        log.warning("node %s: closing its collector's session: %s (%s)", self.node, err, err.code)
        if not self.session.closed:
            self.session.fail(err)
        self._end(err.code)

    def _end(self, code: str) -> None:
        """Remember how to close, once what is left to send was sent."""
        self._close_code = CLOSE_CODES.get(code, BAD_PROTOCOL)

    def _cut(self, code: str, reason: str) -> None:
        if not self._closed and not self.session.closed:
            log.warning("node %s: cutting its collector off: %s", self.node, reason)
            self.session.refuse(code, reason)
            self._end(code)
            self._soon_flush()

    def _cut_from_anywhere(self, code: str, reason: str) -> None:
        self._loop.call_soon_threadsafe(self._cut, code, reason)

    def _durable_from_thread(self, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._acknowledge, seq)

    def _acknowledge(self, seq: int) -> None:
        self.service.acknowledge(seq)
        if not self._closed:
            self._soon_flush()

    def _set_timer(self) -> None:
        delay = max(self.session.timer_due() - time.monotonic(), 0.05)
        self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        if self._closed or self.session.closed:
            return
        for event in self.session.handle_timer(time.monotonic()):
            if isinstance(event, ev.TimedOut):
                self._cut("timeout", f"silent for {event.silent_s:.0f} s")
                return
        self._tell_what_is_watched()
        self._soon_flush()
        self._set_timer()

    def _soon_flush(self) -> None:
        task = self._loop.create_task(self._flush())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self) -> None:
        """Send what the session has to say; close after its last word."""
        if self._flushing or self._closed:
            return
        self._flushing = True
        try:
            while (frame := self.session.next_frame(time.monotonic())) is not None:
                await self.send({"type": "websocket.send", "bytes": frame})
            if self.session.closed:
                await self.send({"type": "websocket.close", "code": self._close_code})
                await self._leave()
        except (OSError, RuntimeError):
            # The link went away while sending.
            await self._leave()
        finally:
            self._flushing = False

    async def _leave(self) -> None:
        """Leave the connections and groups, once."""
        if not self._joined:
            return
        self._joined, self._closed = False, True
        if self._timer is not None:
            self._timer.cancel()
        if connections.leave(self.node, self._connection):
            self.service.left()
        for ident in self._observed:
            await self._deliver(ident, None)
        try:
            for group in self._groups:
                await self.channel_layer.group_discard(group, self.channel_name)
        except (OSError, RedisError) as err:
            log.warning("node %s: cannot leave the channel layer's groups: %s", self.node, err)

    async def _refuse(self, status: int, reason: str) -> None:
        address = address_of_socket(self.scope)
        if status == UNKNOWN_TOKEN:
            await database_sync_to_async(refused_token)(reason, of_token(None, address), "a collector")
        else:
            log.warning("refused a collector from %s: %s", address or "?", reason)
        await refuse_socket(self.scope, self.send, status, reason)
        raise StopConsumer

"""The collector's link to the server: a WebSocket on one side, `AgentSession` on the other.

All rules are the session's; here is what it leaves out: the connection, the clock, and trying
again. While the link is slow the session keeps the changes, and while it is down too; the runner
never waits for either.

    transport = Transport(options, source)
    async with asyncio.TaskGroup() as group:
        group.create_task(transport.run())      # once `source.state()` is whole

Refusals that an administrator has to mend (a wrong or revoked token, a second collector with the
same one) are logged in one line and tried again slowly; everything else is tried again with a jittered, growing pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)

from agents.complaints import Complaints
from agents.schedule import until_tick
from agents.source import Observing, Say, StateSource
from agents.token_file import TokenFileError, read_token
from netviz.core.state.delta import NodeDelta
from netviz.core.wire import events as ev
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import MAX_FRAME_BYTES
from netviz.core.wire.errors import ProtocolError
from netviz.core.wire.messages import NOTICE, OBSERVE, PROTOCOL_VERSIONS, WATCH, AgentStatus, Hello
from netviz.core.wire.session import State

log = logging.getLogger("agents.transport")

FIRST_PAUSE_S = 0.3
LONGEST_PAUSE_S = 10.0
PAUSE_GROWTH = 1.7
REFUSED_PAUSE_S = 30.0
OPEN_TIMEOUT_S = 20.0
TIMER_STEP_S = 1.0
# Errors that only an administrator, or another version, can mend. Two collectors with one token
# replace each other: without a long pause, several times a second.
REFUSALS = frozenset({"revoked", "not_approved", "wrong_node", "bad_version", "replaced"})


@dataclass(frozen=True)
class TransportOptions:
    """Where to connect and as whom. `server` is the server's base URL (http, https, ws or wss)."""

    server: str
    token_file: Path
    node: str
    agent_version: str
    kernel: str = ""
    boot_id: str = ""
    refused_pause_s: float = REFUSED_PAUSE_S


class LinkError(Exception):
    """The link cannot be had or is gone; the message says why in one line. `refused`: waiting alone won't help."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


def socket_url(server: str) -> str:
    """Make the collectors' socket's URL from the server's. Raises: ValueError."""
    parts = urlsplit(server)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"not a server's URL: {server!r} (expected http://HOST:PORT or https://HOST)")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/ws/agents", "", ""))


def is_private(url: str) -> bool:
    """Tell whether nobody on the way can read along: by TLS, or because there is no way."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "wss" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Transport:
    """Keep a server informed of a node's state. It is a `Sink` for the runner's changes.

    `observing` makes what takes the server's orders to observe; without it, this collector only reads.
    """

    def __init__(
        self,
        options: TransportOptions,
        source: StateSource,
        observing: Callable[[Say], Observing] | None = None,
    ) -> None:
        self._options = options
        self._url = socket_url(options.server)
        self._source = source
        self._epoch = secrets.randbits(62)
        self._session = AgentSession(
            Hello(
                options.node,
                PROTOCOL_VERSIONS,
                options.agent_version,
                self._epoch,
                kernel=options.kernel,
                boot_id=options.boot_id,
                understands=(NOTICE, WATCH) if observing is None else (NOTICE, WATCH, OBSERVE),
            ),
            time.monotonic(),
        )
        self._complaints = Complaints()
        self._observers = observing(self._say_from_anywhere) if observing is not None else None
        self._wake = asyncio.Event()
        self._problem = ""
        self._welcomed = False
        self._ended: LinkError | None = None

    @property
    def connected(self) -> bool:
        """The server has accepted this collector and the link is up."""
        return self._session.state is State.LIVE

    @property
    def unacked(self) -> bool:
        """Something waits to be sent, or to be acknowledged by the server."""
        return self._session.wants_snapshot or self._session.unacked_bytes > 0

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        """Take one change of the node's state."""
        try:
            self._session.send_delta(delta, at_ns)
        except ProtocolError as err:
            log.error("a change cannot be sent, a snapshot will follow: %s", err)
            self._session.drop_kept()
        self._wake.set()

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._connect_for_ever()
        finally:
            if self._observers is not None:
                self._observers.close()

    async def _connect_for_ever(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._welcomed = False
            try:
                await self._connect_once()
            except LinkError as err:
                if str(err) != self._problem:
                    self._problem = str(err)
                    log.warning("no link to %s: %s", self._url, err)
                if self._welcomed:
                    pause_s = FIRST_PAUSE_S
                wait_s = self._options.refused_pause_s if err.refused else pause_s
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)

    async def _connect_once(self) -> None:
        """Hold one connection until it ends. Raises: LinkError, always."""
        try:
            token = read_token(self._options.token_file)
        except (OSError, TokenFileError) as err:
            raise LinkError(f"cannot read the token file: {err}", refused=True) from None
        try:
            async with connect(
                self._url,
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                max_size=MAX_FRAME_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=2,
                ping_interval=None,
                proxy=None,
            ) as link:
                await self._talk(link)
        except InvalidStatus as err:
            raise _refusal(err) from None
        except (OSError, TimeoutError, InvalidHandshake, InvalidMessage, InvalidURI) as err:
            raise LinkError(str(err) or type(err).__name__) from None

    async def _talk(self, link: ClientConnection) -> None:
        self._ended = None
        self._session.connect(time.monotonic())
        tasks = [asyncio.create_task(part) for part in (self._read(link), self._write(link), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._session.closed:
                await self._send_all(link)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._session.disconnect()
            self._source.watch(())
            if self._observers is not None:
                self._observers.cut()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, LinkError):
                raise result
        raise self._ended or next(
            (r for r in results if isinstance(r, LinkError)), LinkError("the link ended")
        )

    async def _read(self, link: ClientConnection) -> None:
        """Give the session what arrives, until the link or the session ends."""
        try:
            async for data in link:
                if isinstance(data, str):
                    raise LinkError("the server sent text: it is no netviz server")
                for event in self._session.receive_data(data, time.monotonic()):
                    self._handle(event)
                if self._session.closed:
                    return
                self._wake.set()
        except ProtocolError as err:
            raise LinkError(f"the server broke the protocol: {err}") from None
        except ConnectionClosed as err:
            raise LinkError(_closed(err)) from None
        raise LinkError("the server closed the connection")

    async def _write(self, link: ClientConnection) -> None:
        """Send whatever the session has, as fast as the link takes it."""
        while True:
            self._wake.clear()
            await self._send_all(link)
            await self._wake.wait()

    async def _send_all(self, link: ClientConnection) -> None:
        while True:
            if self._session.wants_snapshot:
                self._session.send_snapshot(self._source.state())
            frame = self._session.next_frame(time.monotonic())
            if frame is None:
                return
            try:
                await link.send(frame)
            except ConnectionClosed as err:
                raise LinkError(_closed(err)) from None

    async def _watch(self) -> None:
        """Look at the session's clock."""
        while True:
            now = time.monotonic()
            await asyncio.sleep(
                min(max(self._session.timer_due() - now, 0.05), until_tick(now, TIMER_STEP_S))
            )
            if self._session.closed:
                return
            for event in self._session.handle_timer(time.monotonic()):
                self._handle(event)
            self._wake.set()

    def _handle(self, event: ev.Event) -> None:
        match event:
            case ev.Welcomed(resumed=resumed):
                self._welcomed = True
                self._problem = ""
                log.info("connected to %s%s", self._url, ", going on where it was" if resumed else "")
                self._session.send_heartbeat(self._status())
            case ev.WatchChanged(watched=watched):
                self._source.watch(watched)
            case ev.ProbeWanted(id=ident, body=body) if self._observers is not None:
                self._observers.take(ident, body)
            case ev.Noticed():
                self._complaints.take(event)
            case ev.SnapshotWanted(reason=reason):
                log.info("the server asks for a snapshot: %s", reason)
            case ev.BodiesWanted(digests=digests):
                self._send_bodies(digests)
            case ev.HeartbeatDue():
                self._session.send_heartbeat(self._status())
            case ev.Refused(code=code, message=message):
                hint = " (another collector uses the same token)" if code == "replaced" else ""
                self._ended = LinkError(
                    f"the server ended the session: {message}{hint}", refused=code in REFUSALS
                )
            case ev.TimedOut(silent_s=silent_s):
                raise LinkError(f"the server was silent for {silent_s:.0f} s")

    def _say_from_anywhere(self, ident: str, body: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._say, ident, body)

    def _say(self, ident: str, body: bytes) -> None:
        """Say a report, if the server is still there to hear it."""
        if self.connected:
            self._session.send_probe_event(ident, body)
            self._wake.set()

    def _send_bodies(self, digests: tuple[bytes, ...]) -> None:
        known = self._source.bodies(digests)
        self._session.send_bodies(tuple(known), digests)

    def _status(self) -> AgentStatus:
        oldest_ns = self._session.oldest_unsent_at_ns
        return msgspec.structs.replace(
            self._source.status(),
            lag_s=0.0 if oldest_ns is None else max(0.0, (time.time_ns() - oldest_ns) / 1e9),
            unacked_bytes=self._session.unacked_bytes,
            resyncs=self._session.resyncs,
            bad_records=self._complaints.count,
            at_ns=time.time_ns(),
        )


def _refusal(err: InvalidStatus) -> LinkError:
    status = err.response.status_code
    words = (err.response.body or b"").decode(errors="replace").strip()[:200]
    return LinkError(f"refused ({status}): {words or 'no reason given'}", refused=status in (401, 403))


def _closed(err: ConnectionClosed) -> str:
    received = err.rcvd
    if received is None:
        return "the connection was cut"
    return f"the server closed the connection ({received.code}{' ' + received.reason if received.reason else ''})"

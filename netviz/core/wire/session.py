"""The session's rules for both sides, without any I/O: frames in, events out, frames to send on request.

    collector                                        server
    DISCONNECTED --connect()--> AWAIT_WELCOME
                     Hello ------------------------> AWAIT_HELLO --HelloReceived--> AWAIT_DECISION
                     <----- Welcome(resume_after) -- welcome(N) --> LIVE
                     <----- Welcome(None) ---------- welcome(None) --> AWAIT_SNAPSHOT
                     <----- Error ------------------ refuse() --> CLOSED
    LIVE
      SnapshotBegin, SnapshotPart..., SnapshotEnd -> IN_SNAPSHOT --> LIVE
      Delta, Bodies, Heartbeat --------------------> LIVE
                     <----- Ack, WantBodies, Watch, Heartbeat
                     <----- Resync ----------------- AWAIT_RESYNC (what was under way is ignored)

What may arrive when is one table per side; all else is a RemoteProtocolError that names both. A
RemoteProtocolError closes the session: `next_frame` still gives the Error to send, then the
connection is to be closed. Time is monotonic seconds, passed in as `now`.

Sending is pulled: the owner asks `next_frame()` when the link has room. Changes wait inside the
session up to a byte bound, sent or unsent, until they are acknowledged. Past the bound they are
dropped, and a snapshot takes their place: at once when unsent ones were dropped, at the next
connection otherwise. A snapshot has a number of its own in the sequence of deltas, so that every
number stands for one durable thing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, ClassVar

from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.codec import decode_sized, encode_frame
from netviz.core.wire.errors import LocalProtocolError, RemoteProtocolError

PROTOCOL_VERSION = m.PROTOCOL_VERSIONS[0]
HANDSHAKE_TIMEOUT_S = 20.0
# The other side is gone when nothing came for this many heartbeats.
SILENT_HEARTBEATS = 3


class State(Enum):
    """Where a session stands; the first two are the collector's alone, the next five the server's."""

    DISCONNECTED = auto()
    AWAIT_WELCOME = auto()
    AWAIT_HELLO = auto()
    AWAIT_DECISION = auto()
    AWAIT_SNAPSHOT = auto()
    AWAIT_RESYNC = auto()
    IN_SNAPSHOT = auto()
    LIVE = auto()
    CLOSED = auto()


# The server's states after the Welcome.
TALKING = (State.AWAIT_SNAPSHOT, State.AWAIT_RESYNC, State.IN_SNAPSHOT, State.LIVE)


# (state, what arrives) -> what is done with it.
Table = dict[tuple[State, type[m.Message]], Callable[[Any, Any], list[ev.Event]]]


class Session:
    """What both sides share: the table's use, the control frames that wait, the clock."""

    _table: ClassVar[Table]

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.heartbeat_s = HANDSHAKE_TIMEOUT_S
        self._control: deque[bytes] = deque()
        self._message_bytes = 0
        self._heard_at = now
        self._spoke_at = now

    @property
    def closed(self) -> bool:
        """The session was ended by either side; the connection is to be closed too."""
        return self.state is State.CLOSED

    @property
    def message_bytes(self) -> int:
        """How many bytes the message has that was received last, inflated."""
        return self._message_bytes

    def receive_data(self, data: bytes, now: float) -> list[ev.Event]:
        """Take one frame. Raises: RemoteProtocolError, LocalProtocolError."""
        self._require_open()
        try:
            message, size = decode_sized(data)
        except RemoteProtocolError as err:
            self.fail(err)
            raise
        return self.receive_message(message, now, size)

    def receive_message(self, message: m.AnyMessage, now: float, size: int = 0) -> list[ev.Event]:
        """Take one message of `size` bytes that was decoded elsewhere.

        Raises: RemoteProtocolError, LocalProtocolError.
        """
        self._require_open()
        self._message_bytes = size
        self._heard_at = now
        handler = self._table.get((self.state, type(message)))
        try:
            if handler is None:
                tag = type(message).__struct_config__.tag
                raise RemoteProtocolError("bad_state", f"{tag} is not allowed in the state {self.state.name}")
            return handler(self, message)
        except RemoteProtocolError as err:
            self.fail(err)
            raise

    def fail(self, err: RemoteProtocolError) -> None:
        """Close the session because the other side broke it; the Error to send is what is left to send."""
        self._close(err.code, str(err))

    def timer_due(self) -> float:
        """When `handle_timer` is to be called next."""
        return min(self._heard_at + self._silence_s(), self._spoke_at + self.heartbeat_s)

    def silent_s(self, now: float) -> float | None:
        """How long the other side has been silent, None when that is still within bounds."""
        silent = now - self._heard_at
        return silent if silent >= self._silence_s() else None

    def _silence_s(self) -> float:
        if self.state in (State.AWAIT_WELCOME, State.AWAIT_HELLO):
            return HANDSHAKE_TIMEOUT_S
        return self.heartbeat_s * SILENT_HEARTBEATS

    def _queue(self, message: m.AnyMessage) -> None:
        self._control.append(encode_frame(message))

    def _close(self, code: str, message: str) -> None:
        self.state = State.CLOSED
        self._control.clear()
        self._queue(m.Error(code, message[:500]))

    def _require(self, *states: State) -> None:
        if self.state not in states:
            raise LocalProtocolError("bad_state", f"this is not possible in the state {self.state.name}")

    def _require_open(self) -> None:
        if self.state in (State.DISCONNECTED, State.CLOSED):
            raise LocalProtocolError("bad_state", f"nothing can arrive in the state {self.state.name}")

    def _on_error(self, error: m.Error) -> list[ev.Event]:
        self.state = State.CLOSED
        self._control.clear()
        return [ev.Refused(error.code, error.message)]

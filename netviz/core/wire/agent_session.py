"""The collector's side of a session; see `session.py` for the rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from netviz.core.model.netfilter import Body, body_digest
from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_of
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.codec import encode_frame, encode_message, make_frame
from netviz.core.wire.errors import LocalProtocolError, RemoteProtocolError
from netviz.core.wire.session import Session, State, Table
from netviz.core.wire.split import split_bodies, split_delta

MAX_UNACKED_BYTES = 8 << 20
# A delta that encodes to more than this is sent in pieces, so that reading one holds up nobody for long.
LARGE_DELTA_BYTES = 512 << 10


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """A delta that isn't acknowledged yet."""

    seq: int
    at_ns: int
    frame: bytes


class AgentSession(Session):
    """The collector's side. One object lives as long as the collector's run (`epoch`), over all connections.

    `snapshot_due`: what is kept doesn't lead from anything that the server holds to the present.
    """

    def __init__(self, hello: m.Hello, now: float, *, max_unacked_bytes: int = MAX_UNACKED_BYTES) -> None:
        super().__init__(State.DISCONNECTED, now)
        self.snapshot_due = True
        self.resyncs = 0
        self._hello = hello
        self._max_unacked_bytes = max_unacked_bytes
        self._unacked: deque[_Kept] = deque()
        self._unsent: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._last_seq = -1
        self._sent_seq = -1
        self._acked_seq = -1
        # All after this number is kept, unless a snapshot is due.
        self._floor_seq = -1
        self._snapshot: Iterator[bytes] | None = None

    @property
    def unacked_bytes(self) -> int:
        """Bytes of the changes that wait for an acknowledgement, sent or not."""
        return self._kept_bytes

    @property
    def oldest_unsent_at_ns(self) -> int | None:
        """When the oldest change was read that is not sent yet, None if all are."""
        return self._unsent[0].at_ns if self._unsent else None

    @property
    def wants_snapshot(self) -> bool:
        """The owner is to call `send_snapshot` as soon as it has a state."""
        return self.state is State.LIVE and self.snapshot_due

    def connect(self, now: float) -> None:
        """Begin on a new connection: the Hello is the next frame."""
        self._require(State.DISCONNECTED)
        self.state = State.AWAIT_WELCOME
        self._heard_at = self._spoke_at = now
        self._queue(msgspec.structs.replace(self._hello, acked=self._acked_seq))

    def disconnect(self) -> None:
        """Note that the connection is gone. What was not acknowledged is kept for the next one."""
        self.state = State.DISCONNECTED
        self._control.clear()
        if self._snapshot is not None:
            self._need_snapshot()

    def send_delta(self, delta: NodeDelta, at_ns: int) -> None:
        """Take a change in; a snapshot that is due will hold it anyway.

        Raises: LocalProtocolError (too_large) when a single record doesn't fit a frame.
        """
        if self.snapshot_due:
            return
        data = self._delta_message(delta, at_ns)
        if len(data) <= LARGE_DELTA_BYTES:
            self._keep(make_frame(data), at_ns)
            return
        for piece in split_delta(delta):
            if not self.snapshot_due:
                self._keep(make_frame(self._delta_message(piece, at_ns)), at_ns)

    def send_snapshot(self, state: NodeState) -> None:
        """Send a whole state, read lazily part by part. It stands for all changes given so far."""
        self._require(State.LIVE)
        self._need_snapshot()
        self._last_seq += 1
        self._floor_seq = self._last_seq
        self._snapshot = self._snapshot_frames(state, self._last_seq)
        self.snapshot_due = False

    def drop_kept(self) -> None:
        """Give up what is kept: a snapshot will stand for it."""
        self._need_snapshot()

    def send_bodies(self, bodies: tuple[Body, ...], asked: tuple[bytes, ...]) -> None:
        """Answer BodiesWanted: digests that were asked for without a body here, or with one too large, are unknown."""
        self._require(State.LIVE)
        unknown = set(asked)
        for part in split_bodies(bodies):
            try:
                self._queue(m.Bodies(part))
            except LocalProtocolError:
                continue
            unknown.difference_update(map(body_digest, part))
        if unknown:
            self._queue(m.Bodies((), tuple(sorted(unknown))))

    def send_heartbeat(self, status: m.AgentStatus) -> None:
        """Tell this collector's health."""
        self._require(State.LIVE)
        self._queue(m.Heartbeat(status))

    def send_probe_event(self, probe: str, body: bytes) -> None:
        """Report on an observation."""
        self._require(State.LIVE)
        self._queue(m.ProbeEvent(probe, body))

    def next_frame(self, now: float) -> bytes | None:
        """Give the next frame to send, None when there is nothing: control first, then snapshot, then changes."""
        frame = self._control.popleft() if self._control else self._next_state_frame()
        if frame is not None:
            self._spoke_at = now
        return frame

    def handle_timer(self, now: float) -> list[ev.Event]:
        """Look at the clock: a heartbeat to send, or a server that fell silent."""
        self._require_open()
        if (silent := self.silent_s(now)) is not None:
            return [ev.TimedOut(silent)]
        if self.state is State.LIVE and now - self._spoke_at >= self.heartbeat_s:
            return [ev.HeartbeatDue()]
        return []

    def _next_state_frame(self) -> bytes | None:
        if self.state is not State.LIVE:
            return None
        if self._snapshot is not None:
            if (frame := next(self._snapshot, None)) is not None:
                return frame
            self._snapshot = None
        if not self._unsent:
            return None
        kept = self._unsent.popleft()
        self._unacked.append(kept)
        self._sent_seq = kept.seq
        return kept.frame

    def _snapshot_frames(self, state: NodeState, seq: int) -> Iterator[bytes]:
        yield encode_frame(m.SnapshotBegin(self._hello.epoch, seq))
        parts = 0
        for piece in split_delta(diff(NodeState(state.node), state)):
            yield encode_frame(m.SnapshotPart(parts, piece))
            parts += 1
        self._sent_seq = seq
        yield encode_frame(m.SnapshotEnd(parts))

    def _delta_message(self, delta: NodeDelta, at_ns: int) -> bytes:
        return encode_message(m.Delta(self._hello.epoch, self._last_seq + 1, at_ns, delta))

    def _keep(self, frame: bytes, at_ns: int) -> None:
        self._last_seq += 1
        self._unsent.append(_Kept(self._last_seq, at_ns, frame))
        self._kept_bytes += len(frame)
        while self._kept_bytes > self._max_unacked_bytes:
            if not self._unacked:
                self._need_snapshot()
                return
            self._drop_oldest()

    def _need_snapshot(self) -> None:
        """Drop what is kept and being sent: a snapshot will stand for it."""
        self._unacked.clear()
        self._unsent.clear()
        self._kept_bytes = 0
        self._snapshot = None
        self.snapshot_due = True

    def _drop_oldest(self) -> None:
        kept = self._unacked.popleft()
        self._kept_bytes -= len(kept.frame)
        self._floor_seq = kept.seq

    def _on_welcome(self, welcome: m.Welcome) -> list[ev.Event]:
        if welcome.version not in self._hello.versions:
            raise RemoteProtocolError("bad_version", f"the server chose version {welcome.version}")
        if not 0.1 <= welcome.heartbeat_s <= 3600:
            raise RemoteProtocolError("bad_message", f"a heartbeat of {welcome.heartbeat_s} s")
        if cluster_of(self._hello.node) is not None and m.OBJECTS not in welcome.understands:
            raise RemoteProtocolError("bad_version", "this server doesn't know what a cluster's objects are")
        self.state = State.LIVE
        self.heartbeat_s = welcome.heartbeat_s
        resume_after = welcome.resume_after
        if resume_after is not None and not -1 <= resume_after <= self._last_seq:
            raise RemoteProtocolError(
                "bad_message", f"{resume_after} was never sent: the last is {self._last_seq}"
            )
        if self.snapshot_due or resume_after is None or resume_after < self._floor_seq:
            self._need_snapshot()
            return [ev.Welcomed(resumed=False)]
        self._unacked.extend(self._unsent)
        self._unsent.clear()
        self._forget_through(resume_after)
        self._unsent, self._unacked = self._unacked, self._unsent
        self._floor_seq = self._sent_seq = resume_after
        return [ev.Welcomed(resumed=True)]

    def _forget_through(self, seq: int) -> None:
        while self._unacked and self._unacked[0].seq <= seq:
            self._drop_oldest()

    def _on_ack(self, ack: m.Ack) -> list[ev.Event]:
        if ack.epoch != self._hello.epoch or ack.seq > self._sent_seq:
            raise RemoteProtocolError("bad_message", f"ack of {ack.epoch}/{ack.seq}, which was not sent")
        self._acked_seq = max(self._acked_seq, ack.seq)
        self._forget_through(ack.seq)
        return [ev.Acked(ack.seq)]

    def _on_resync(self, resync: m.Resync) -> list[ev.Event]:
        self.resyncs += 1
        self._need_snapshot()
        return [ev.SnapshotWanted(resync.reason)]

    def _on_want_bodies(self, want: m.WantBodies) -> list[ev.Event]:
        return [ev.BodiesWanted(want.digests)]

    def _on_heartbeat(self, beat: m.Heartbeat) -> list[ev.Event]:
        return []

    def _on_notice(self, notice: m.Notice) -> list[ev.Event]:
        return [ev.Noticed(notice.code, notice.records, notice.more)]

    def _on_watch(self, watch: m.Watch) -> list[ev.Event]:
        return [ev.WatchChanged(watch.watched)]

    def _on_probe(self, probe: m.ProbeRequest) -> list[ev.Event]:
        return [ev.ProbeWanted(probe.id, probe.body)]

    _table: ClassVar[Table] = {
        (State.AWAIT_WELCOME, m.Welcome): _on_welcome,
        (State.AWAIT_WELCOME, m.Error): Session._on_error,
        (State.LIVE, m.Ack): _on_ack,
        (State.LIVE, m.Resync): _on_resync,
        (State.LIVE, m.WantBodies): _on_want_bodies,
        (State.LIVE, m.Heartbeat): _on_heartbeat,
        (State.LIVE, m.ProbeRequest): _on_probe,
        (State.LIVE, m.Notice): _on_notice,
        (State.LIVE, m.Watch): _on_watch,
        (State.LIVE, m.Error): Session._on_error,
    }

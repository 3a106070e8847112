"""The server's side of a session; see `session.py` for the rules."""

from __future__ import annotations

from typing import ClassVar

from netviz.core.state.delta import NodeDelta
from netviz.core.state.door import fold, refusals
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_of
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.errors import LocalProtocolError, RemoteProtocolError
from netviz.core.wire.session import PROTOCOL_VERSION, TALKING, Session, State, Table

MAX_SNAPSHOT_PARTS = 20_000
# Numbers of epochs and snapshots stay within what a database column holds, with room to count on.
MAX_NUMBER = (1 << 62) - 1
# What the parts of one snapshot may have together.
MAX_SNAPSHOT_BYTES = 256 << 20


class ServerSession(Session):
    """The server's side of one connection of the collector of `node`."""

    def __init__(
        self,
        node: str,
        now: float,
        *,
        heartbeat_s: float = 10.0,
        max_snapshot_bytes: int = MAX_SNAPSHOT_BYTES,
    ) -> None:
        super().__init__(State.AWAIT_HELLO, now)
        self.node = node
        self.hello: m.Hello | None = None
        self._welcome_heartbeat_s = heartbeat_s
        self._epoch = 0
        # The last number that was received, and so the last that can be acknowledged.
        self._last_seq = -1
        self._acked_seq = -1
        self._building: NodeState | None = None
        self._building_seq = -1
        self._parts = 0
        self._parts_bytes = 0
        self._max_snapshot_bytes = max_snapshot_bytes

    def welcome(self, resume_after: int | None) -> None:
        """Accept the collector, to go on after a number of its epoch or (None) from a snapshot."""
        self._require(State.AWAIT_DECISION)
        self.heartbeat_s = self._welcome_heartbeat_s
        understands = (m.OBJECTS,) if cluster_of(self.node) is not None else ()
        self._queue(m.Welcome(PROTOCOL_VERSION, resume_after, self.heartbeat_s, understands))
        if resume_after is None:
            self.state = State.AWAIT_SNAPSHOT
        else:
            self._last_seq = self._acked_seq = resume_after
            self.state = State.LIVE

    def refuse(self, code: str, message: str) -> None:
        """End the session from this side: the Error is all that is left to send."""
        self._require_open()
        self._close(code, message)

    def ack(self, seq: int) -> None:
        """Tell that everything up to `seq` is durable. An older number than told before says nothing new."""
        self._require(*TALKING)
        if seq > self._last_seq:
            raise LocalProtocolError("bad_state", f"ack of {seq}; the last received is {self._last_seq}")
        if seq > self._acked_seq:
            self._acked_seq = seq
            self._queue(m.Ack(self._epoch, seq))

    def resync(self, reason: str) -> None:
        """Ask for a snapshot; what the collector sends before it got this is ignored."""
        self._require(State.LIVE)
        self.state = State.AWAIT_RESYNC
        self._queue(m.Resync(reason))

    def want_bodies(self, digests: tuple[bytes, ...]) -> None:
        """Ask for bodies."""
        self._require(*TALKING)
        for start in range(0, len(digests), m.MAX_DIGESTS):
            self._queue(m.WantBodies(digests[start : start + m.MAX_DIGESTS]))

    def watch(self, watched: tuple[m.Watched, ...]) -> None:
        """Tell a collector that understands it what is looked at."""
        self._require(*TALKING)
        if self._understands(m.WATCH):
            self._queue(m.Watch(watched))

    @property
    def observes(self) -> bool:
        """Whether the collector may be ordered to observe now."""
        return self.state in TALKING and self._understands(m.OBSERVE)

    def send_probe(self, probe: str, body: bytes) -> None:
        """Order something of an observation."""
        self._require(*TALKING)
        self._queue(m.ProbeRequest(probe, body))

    def next_frame(self, now: float) -> bytes | None:
        """Give the next frame to send, None when there is nothing."""
        if not self._control:
            return None
        self._spoke_at = now
        return self._control.popleft()

    def handle_timer(self, now: float) -> list[ev.Event]:
        """Look at the clock: send a heartbeat, or find that the collector fell silent."""
        self._require_open()
        if (silent := self.silent_s(now)) is not None:
            return [ev.TimedOut(silent)]
        if self.state in TALKING and now - self._spoke_at >= self.heartbeat_s:
            self._queue(m.Heartbeat())
        return []

    def _on_hello(self, hello: m.Hello) -> list[ev.Event]:
        if PROTOCOL_VERSION not in hello.versions:
            offered = ", ".join(str(version) for version in hello.versions) or "none"
            raise RemoteProtocolError(
                "bad_version", f"this server speaks version {PROTOCOL_VERSION}, the collector {offered}"
            )
        if hello.node != self.node:
            raise RemoteProtocolError(
                "wrong_node", f"this token is for node {self.node!r}, not for {hello.node!r}"
            )
        if not 0 <= hello.epoch <= MAX_NUMBER:
            raise RemoteProtocolError("bad_message", f"an epoch of {hello.epoch}")
        self.hello, self._epoch = hello, hello.epoch
        self.state = State.AWAIT_DECISION
        return [ev.HelloReceived(hello)]

    def _on_snapshot_begin(self, begin: m.SnapshotBegin) -> list[ev.Event]:
        self._check_epoch(begin.epoch)
        if not self._last_seq < begin.seq <= MAX_NUMBER:
            raise RemoteProtocolError("bad_message", f"snapshot {begin.seq} after {self._last_seq}")
        self._building, self._building_seq = NodeState(self.node), begin.seq
        self._parts = self._parts_bytes = 0
        self.state = State.IN_SNAPSHOT
        return []

    def _on_snapshot_part(self, part: m.SnapshotPart) -> list[ev.Event]:
        assert self._building is not None
        if part.index != self._parts or part.index >= MAX_SNAPSHOT_PARTS:
            raise RemoteProtocolError("bad_message", f"snapshot part {part.index} instead of {self._parts}")
        self._parts_bytes += self._message_bytes
        if self._parts_bytes > self._max_snapshot_bytes:
            raise RemoteProtocolError("too_large", f"a snapshot of over {self._max_snapshot_bytes} bytes")
        self._check_nodes(part.delta)
        self._notice_records(part.delta)
        try:
            self._building = fold(self._building, part.delta)
        except KeyError as err:
            raise RemoteProtocolError("bad_message", f"snapshot part {part.index}: {err.args[0]}") from None
        self._parts += 1
        return []

    def _on_snapshot_end(self, end: m.SnapshotEnd) -> list[ev.Event]:
        assert self._building is not None
        if end.parts != self._parts:
            raise RemoteProtocolError(
                "bad_message", f"{end.parts} snapshot parts sent, {self._parts} received"
            )
        state, self._building = self._building, None
        self._last_seq = self._building_seq
        self.state = State.LIVE
        return [ev.SnapshotReceived(self._epoch, self._last_seq, state)]

    def _on_delta(self, message: m.Delta) -> list[ev.Event]:
        self._check_epoch(message.epoch)
        expected = self._last_seq + 1
        if message.seq > expected:
            self.resync(f"expected change {expected}, got {message.seq}")
            return [ev.GapFound(expected, message.seq)]
        if message.seq < expected:
            return []
        self._check_nodes(message.delta)
        self._notice_records(message.delta)
        self._last_seq = message.seq
        return [ev.DeltaReceived(message.epoch, message.seq, message.at_ns, message.delta)]

    def _on_bodies(self, bodies: m.Bodies) -> list[ev.Event]:
        self._notice([m.BadRecord("", "bodies", digest.hex(), reason) for digest, reason in bodies.refused])
        refused = tuple(digest for digest, _ in bodies.refused)
        return [ev.BodiesReceived(bodies.bodies, bodies.unknown, refused)]

    def _on_heartbeat(self, beat: m.Heartbeat) -> list[ev.Event]:
        return [] if beat.status is None else [ev.StatusReceived(beat.status)]

    def _on_probe_event(self, probe: m.ProbeEvent) -> list[ev.Event]:
        return [ev.ProbeSeen(probe.id, probe.body)]

    def _ignore(self, message: m.Message) -> list[ev.Event]:
        return []

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise RemoteProtocolError("bad_message", f"epoch {epoch} in a session of epoch {self._epoch}")

    def _check_nodes(self, delta: NodeDelta) -> None:
        """Let a node's collector speak of its own namespaces only, and a cluster's source of objects only."""
        is_cluster = cluster_of(self.node) is not None
        for change in delta.netns:
            if is_cluster or change.key.node != self.node:
                raise RemoteProtocolError("wrong_node", f"a change of {change.key} from {self.node!r}")
        if delta.objects is not None and not is_cluster:
            raise RemoteProtocolError("wrong_node", f"a cluster's objects from node {self.node!r}")

    def _notice_records(self, delta: NodeDelta) -> None:
        self._notice(
            [
                m.BadRecord("" if key is None else str(key), one.section, one.record, one.reason)
                for key, one in refusals(delta)
            ]
        )

    def _notice(self, bad: list[m.BadRecord]) -> None:
        """Tell the collector what was left out of its words, if it understands that."""
        if bad and self._understands(m.NOTICE):
            named = tuple(bad[: m.MAX_BAD_RECORDS])
            self._queue(m.Notice("bad_message", named, len(bad) - len(named)))

    def _understands(self, what: str) -> bool:
        return self.hello is not None and what in self.hello.understands

    _table: ClassVar[Table] = {
        (State.AWAIT_HELLO, m.Hello): _on_hello,
        (State.AWAIT_HELLO, m.Error): Session._on_error,
        (State.AWAIT_DECISION, m.Error): Session._on_error,
        (State.AWAIT_SNAPSHOT, m.SnapshotBegin): _on_snapshot_begin,
        (State.AWAIT_RESYNC, m.SnapshotBegin): _on_snapshot_begin,
        (State.AWAIT_RESYNC, m.Delta): _ignore,
        (State.AWAIT_RESYNC, m.SnapshotPart): _ignore,
        (State.AWAIT_RESYNC, m.SnapshotEnd): _ignore,
        (State.IN_SNAPSHOT, m.SnapshotBegin): _on_snapshot_begin,
        (State.IN_SNAPSHOT, m.SnapshotPart): _on_snapshot_part,
        (State.IN_SNAPSHOT, m.SnapshotEnd): _on_snapshot_end,
        (State.LIVE, m.SnapshotBegin): _on_snapshot_begin,
        (State.LIVE, m.Delta): _on_delta,
    }
    for _talking in TALKING:
        _table[_talking, m.Bodies] = _on_bodies
        _table[_talking, m.Heartbeat] = _on_heartbeat
        _table[_talking, m.ProbeEvent] = _on_probe_event
        _table[_talking, m.Error] = Session._on_error
    del _talking

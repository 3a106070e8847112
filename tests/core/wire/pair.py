"""A collector's session and a server's, joined without a socket, and small stand-ins for their owners."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netviz.core.model.netfilter import Body, body_digest
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.node import NodeState
from netviz.core.wire import events as ev
from netviz.core.wire.agent_session import MAX_UNACKED_BYTES, AgentSession
from netviz.core.wire.messages import AgentStatus, Hello
from netviz.core.wire.server_session import ServerSession

NODE = "n1"
EPOCH = 77


class Agent:
    """A collector's state, its session, and what happened to it."""

    def __init__(self, max_unacked_bytes: int = MAX_UNACKED_BYTES, epoch: int = EPOCH) -> None:
        hello = Hello(NODE, (1,), "test", epoch)
        self.session = AgentSession(hello, 0.0, max_unacked_bytes=max_unacked_bytes)
        self.state = NodeState(NODE)
        self.bodies: dict[bytes, Body] = {}
        self.events: list[ev.Event] = []

    def change(self, delta: NodeDelta) -> None:
        self.state = apply(self.state, delta)
        self.session.send_delta(delta, 0)

    def take(self, frame: bytes, now: float) -> None:
        for event in self.session.receive_data(frame, now):
            self.events.append(event)
            if isinstance(event, ev.BodiesWanted):
                known = tuple(self.bodies[d] for d in event.digests if d in self.bodies)
                self.session.send_bodies(known, event.digests)
            elif isinstance(event, ev.HeartbeatDue):
                self.session.send_heartbeat(AgentStatus())

    def next_frame(self, now: float) -> bytes | None:
        if self.session.wants_snapshot:
            self.session.send_snapshot(self.state)
        return self.session.next_frame(now)


class Server:
    """What outlives a connection on the server: the held state, the journal, and the sessions' events."""

    def __init__(self) -> None:
        self.session: ServerSession | None = None
        self.state: NodeState | None = None
        self.held: tuple[int, int] | None = None
        self.durable: tuple[int, int] | None = None
        self.queued: list[tuple[int, int, str]] = []
        self.journal: dict[tuple[int, int], str] = {}
        self.bodies: dict[bytes, Body] = {}
        self.events: list[ev.Event] = []

    def forget(self) -> None:
        """Restart: the state is gone, the journal stays."""
        self.session = self.state = self.held = self.durable = None
        self.queued.clear()

    def take(self, frame: bytes, now: float) -> None:
        assert self.session is not None
        for event in self.session.receive_data(frame, now):
            self.events.append(event)
            if isinstance(event, ev.HelloReceived):
                self._welcome(event.hello.epoch)
            elif isinstance(event, ev.SnapshotReceived):
                self.state, self.held = event.state, (event.epoch, event.seq)
                self.queued.append((*self.held, "snapshot"))
            elif isinstance(event, ev.DeltaReceived):
                here = (event.epoch, event.seq)
                if self.held is None or self.held[0] != here[0] or self.held < here:
                    assert self.state is not None
                    self.state, self.held = apply(self.state, event.delta), here
                self.queued.append((*here, "delta"))
            elif isinstance(event, ev.BodiesReceived):
                self.bodies.update((body_digest(body), body) for body in event.bodies)

    def _welcome(self, epoch: int) -> None:
        assert self.session is not None
        known = (
            self.held is not None and self.durable is not None and self.held[0] == self.durable[0] == epoch
        )
        self.session.welcome(
            min(self.held[1], self.durable[1]) if known and self.held and self.durable else None
        )

    def flush(self) -> None:
        """Make what is queued durable and acknowledge it."""
        for epoch, seq, kind in self.queued:
            self.journal.setdefault((epoch, seq), kind)
            self.durable = (epoch, seq)
        if self.queued and self.session is not None and not self.session.closed:
            seq = self.queued[-1][1]
            # What came over an earlier connection was for that one to acknowledge.
            if seq <= self.session._last_seq:
                self.session.ack(seq)
        self.queued.clear()


class Pair:
    """The two, and the frames under way between them."""

    def __init__(self, agent: Agent | None = None) -> None:
        self.agent = agent or Agent()
        self.server = Server()
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.connected = False
        self.now = 0.0

    def connect(self) -> None:
        self.server.session = ServerSession(NODE, self.now)
        self.agent.session.connect(self.now)
        self.connected = True

    def cut(self) -> None:
        """Lose the link and what is on it."""
        self.up.clear()
        self.down.clear()
        self.agent.session.disconnect()
        self.server.session = None
        self.connected = False

    def step_up(self) -> bool:
        """Move one frame from the collector to the link, and one from the link to the server."""
        frame = self.agent.next_frame(self.now)
        if frame is not None:
            self.up.append(frame)
        if not self.up:
            return frame is not None
        self.server.take(self.up.popleft(), self.now)
        return True

    def step_down(self) -> bool:
        """The same the other way."""
        assert self.server.session is not None
        frame = self.server.session.next_frame(self.now)
        if frame is not None:
            self.down.append(frame)
        if not self.down:
            return frame is not None
        self.agent.take(self.down.popleft(), self.now)
        return True

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Move frames until none is left."""
        for _ in range(100_000):
            if until() or not (self.step_up() | self.step_down()):
                return
        raise AssertionError("the sessions do not come to rest")

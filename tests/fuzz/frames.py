"""Mutated frames through both sides of a session. The only exceptions are the protocol's own."""

from __future__ import annotations

import zlib
from random import Random

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import ChainBody, NftExpr, NftRuleBody
from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.door import fold, sift
from netviz.core.state.node import NodeState
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import encode_frame, make_frame
from netviz.core.wire.errors import LocalProtocolError, RemoteProtocolError
from netviz.core.wire.server_session import ServerSession
from netviz.core.wire.session import TALKING, State
from netviz.core.wire.split import split_delta
from tests.fuzz.mutate import damaged, mutate
from tests.fuzz.report import Report
from tests.fuzz.samples import small_states

EPOCH = 7


def run(total: int, seed: int) -> Report:
    """Feed `total` frames, most of them damaged, half to each side."""
    report = Report("frames", total, seed)
    rng = Random(seed)
    talks = [_collector_frames(state) for state in small_states()]
    while report.done < total:
        if rng.randrange(2):
            frames = rng.choice(talks)
            _talk(report, rng, frames, _Server(frames.node))
        else:
            frames = rng.choice(talks)
            _talk(report, rng, _server_frames(frames.node), _Agent(frames.node))
    return report


class _Frames:
    def __init__(self, node: str, messages: list[m.AnyMessage]) -> None:
        self.node = node
        self.messages = messages
        self.plain = [msgspec.msgpack.encode(message) for message in messages]
        self.frames = [encode_frame(message) for message in messages]


def _collector_frames(state: NodeState) -> _Frames:
    body = ChainBody((NftRuleBody((NftExpr("cmp", {"sreg": 1, "op": 0, "data": b"\x0a\1\0\0"}),), "c"),))
    delta = diff(NodeState(state.node), state)
    parts = [m.SnapshotPart(index, piece) for index, piece in enumerate(split_delta(delta, 4096))]
    messages: list[m.AnyMessage] = [
        m.Hello(state.node, (1,), "1", EPOCH, understands=(m.NOTICE, m.WATCH)),
        m.SnapshotBegin(EPOCH, 0),
        *parts,
        m.SnapshotEnd(len(parts)),
        *(m.Delta(EPOCH, seq, 1, piece) for seq, piece in enumerate(split_delta(delta, 1024), 1)),
        m.Bodies((body,), (b"u" * 16,)),
        m.Heartbeat(m.AgentStatus(1, 0.5, 0.1)),
        m.ProbeEvent("p", b"x"),
    ]
    return _Frames(state.node, messages)


def _server_frames(node: str) -> _Frames:
    return _Frames(
        node,
        [
            m.Welcome(1),
            m.Ack(EPOCH, 0),
            m.WantBodies((b"d" * 16,)),
            m.Heartbeat(),
            m.Notice("bad_message", (m.BadRecord("n", "addrs", "k", "r"),), 3),
            m.Watch((m.Watched(("counters",), 2.0, NetnsKey("n", 4, 1)),)),
            m.ProbeRequest("p", b"x"),
            m.Resync("why"),
            m.Error("internal", "x"),
        ],
    )


def _mutated(rng: Random, talk: _Frames, at: int) -> bytes:
    """One frame of a talk: as it is, its bytes damaged, its message's bytes, or its values."""
    match rng.randrange(8):
        case 0:
            return talk.frames[at]
        case 1:
            return damaged(rng, talk.frames[at])
        case 2:
            return b"\0" + damaged(rng, talk.plain[at])
        case 3:
            return b"\1" + zlib.compress(damaged(rng, talk.plain[at]), 1)
        case 4:
            return rng.choice(talk.frames)
        case _:
            tree = msgspec.msgpack.decode(talk.plain[at])
            return make_frame(msgspec.msgpack.encode(mutate(rng, tree, rng.randrange(1, 5))))


class _Server:
    """The server's session and what its owner does with events."""

    def __init__(self, node: str) -> None:
        self.session: ServerSession | AgentSession = ServerSession(node, 0.0)
        self.state: NodeState | None = None

    def handle(self, event: ev.Event) -> None:
        session = self.session
        assert isinstance(session, ServerSession)
        match event:
            case ev.HelloReceived():
                session.welcome(None)
            case ev.SnapshotReceived():
                self.state = event.state
                session.ack(event.seq)
            case ev.DeltaReceived() if self.state is not None:
                # What the door lets in keeps every bound, also where it had to read piece by piece.
                msgspec.msgpack.decode(msgspec.msgpack.encode(event.delta), type=NodeDelta)
                assert sift(event.delta) is event.delta
                try:
                    self.state = fold(self.state, event.delta)
                except KeyError:
                    if session.state is State.LIVE:
                        session.resync("does not fit")
            case ev.BodiesReceived():
                if session.state in TALKING:
                    session.want_bodies((b"d" * 16,))


class _Agent(_Server):
    """The collector's, likewise."""

    def __init__(self, node: str) -> None:
        self.session = AgentSession(m.Hello(node, (1,), "1", EPOCH, understands=(m.NOTICE, m.WATCH)), 0.0)
        self.session.connect(0.0)
        self.node = NodeState(node)

    def handle(self, event: ev.Event) -> None:
        session = self.session
        assert isinstance(session, AgentSession)
        if session.wants_snapshot:
            session.send_snapshot(self.node)
        if isinstance(event, ev.BodiesWanted):
            session.send_bodies((), event.digests)


def _talk(report: Report, rng: Random, talk: _Frames, owner: _Server) -> None:
    """Give one session a talk's frames in order, some of them damaged, until it ends."""
    session = owner.session
    damage_from = rng.randrange(len(talk.frames))
    for at in range(len(talk.frames)):
        if report.done >= report.total:
            return
        number = report.done
        frame = talk.frames[at] if at < damage_from else _mutated(rng, talk, at)
        try:
            for event in session.receive_data(frame, 1.0):
                owner.handle(event)
            outcome = "taken"
        except (RemoteProtocolError, LocalProtocolError) as err:
            outcome = err.code
            if not session.closed:
                report.wrong(number, f"{err.code}: the session goes on after its end", str(err))
        except Exception as err:  # noqa: BLE001
            report.fail(number, err)
            outcome = "failure"
        report.step(outcome)
        while session.next_frame(1.0) is not None:
            pass
        if session.closed or outcome == "failure":
            return

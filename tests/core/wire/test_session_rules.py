"""Who may say what when: every state with every message, and every check with its precise error."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.state.node import NodeState
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import (
    MAX_FRAME_BYTES,
    decode_frame,
    decode_sized,
    encode_frame,
    encode_message,
    is_large,
)
from netviz.core.wire.errors import LocalProtocolError, RemoteProtocolError
from netviz.core.wire.server_session import MAX_NUMBER, MAX_SNAPSHOT_PARTS, ServerSession
from netviz.core.wire.session import State

NODE, EPOCH = "n1", 77
KEY = NetnsKey(NODE, 4, 1)
HELLO = m.Hello(NODE, (1,), "test", EPOCH)
MESSAGES: list[Any] = [
    HELLO,
    m.Welcome(1),
    m.SnapshotBegin(EPOCH, 5),
    m.SnapshotPart(0, NodeDelta()),
    m.SnapshotEnd(0),
    m.Delta(EPOCH, 1, 0, NodeDelta()),
    m.Ack(EPOCH, 0),
    m.Resync("why"),
    m.WantBodies((b"d",)),
    m.Bodies(),
    m.Heartbeat(),
    m.ProbeRequest("p"),
    m.ProbeEvent("p"),
    m.Error("internal", "why"),
]


def server_in(state: State) -> ServerSession:
    """A server's session in a state, with the last number 0 where there is one."""
    session = ServerSession(NODE, 0.0)
    if state is State.AWAIT_HELLO:
        return session
    session.receive_message(HELLO, 0.0)
    if state is State.AWAIT_DECISION:
        return session
    session.welcome(0 if state in (State.LIVE, State.AWAIT_RESYNC) else None)
    if state is State.AWAIT_RESYNC:
        session.resync("why")
    if state is State.IN_SNAPSHOT:
        session.receive_message(m.SnapshotBegin(EPOCH, 0), 0.0)
    assert session.state is state
    return session


def agent_in(state: State) -> AgentSession:
    """A collector's session in a state; live, it has sent a snapshot under the number 0."""
    session = AgentSession(HELLO, 0.0)
    session.connect(0.0)
    if state is State.LIVE:
        session.receive_message(m.Welcome(1), 0.0)
        session.send_snapshot(NodeState(NODE))
        while session.next_frame(0.0) is not None:
            pass
    assert session.state is state
    return session


TALK = {"bodies", "beat", "probe_event", "error"}
SERVER_ALLOWS = {
    State.AWAIT_HELLO: {"hello", "error"},
    State.AWAIT_DECISION: {"error"},
    State.AWAIT_SNAPSHOT: {"snap_begin"} | TALK,
    State.AWAIT_RESYNC: {"snap_begin", "snap_part", "snap_end", "delta"} | TALK,
    State.IN_SNAPSHOT: {"snap_begin", "snap_part", "snap_end"} | TALK,
    State.LIVE: {"snap_begin", "delta"} | TALK,
}
AGENT_ALLOWS = {
    State.AWAIT_WELCOME: {"welcome", "error"},
    State.LIVE: {"ack", "resync", "want", "beat", "probe", "error"},
}
CASES = [(server_in, state, allowed) for state, allowed in SERVER_ALLOWS.items()] + [
    (agent_in, state, allowed) for state, allowed in AGENT_ALLOWS.items()
]


def tag(message: Any) -> str:
    return str(type(message).__struct_config__.tag)


@pytest.mark.parametrize("message", MESSAGES, ids=tag)
@pytest.mark.parametrize(
    ("make", "state", "allowed"), CASES, ids=[f"{c[0].__name__}-{c[1].name}" for c in CASES]
)
def test_every_message_in_every_state(make: Any, state: State, allowed: set[str], message: Any) -> None:
    session = make(state)
    if tag(message) in allowed:
        session.receive_data(encode_frame(message), 1.0)
        return
    with pytest.raises(
        RemoteProtocolError, match=f"{tag(message)} is not allowed in the state {state.name}"
    ) as caught:
        session.receive_data(encode_frame(message), 1.0)
    assert caught.value.code == "bad_state"
    assert_closed_with(session, "bad_state")


def assert_closed_with(session: Any, code: str) -> None:
    """The session is over, and its Error is the only thing left to send."""
    assert session.closed
    error = decode_frame(session.next_frame(1.0))
    assert isinstance(error, m.Error)
    assert error.code == code
    assert session.next_frame(1.0) is None
    with pytest.raises(LocalProtocolError):
        session.receive_data(b"", 1.0)
    with pytest.raises(LocalProtocolError):
        session.handle_timer(1.0)


def test_an_unknown_tag_is_refused() -> None:
    frame = b"\0" + msgspec.msgpack.encode({"t": "surprise"})
    session = server_in(State.LIVE)
    with pytest.raises(RemoteProtocolError, match="surprise"):
        session.receive_data(frame, 1.0)
    assert_closed_with(session, "bad_message")


def test_unknown_fields_are_ignored() -> None:
    frame = b"\0" + msgspec.msgpack.encode({"t": "beat", "mood": "good"})
    assert server_in(State.LIVE).receive_data(frame, 1.0) == []


DELTA_OF_OTHER = NodeDelta(netns=(NetnsDelta(NetnsKey("n2", 4, 1), Netns(NetnsKey("n2", 4, 1))),))
ORPHAN = NodeDelta(netns=(NetnsDelta(KEY, links=Change((), (1,))),))


@pytest.mark.parametrize(
    ("state", "message", "code", "words"),
    [
        (State.AWAIT_HELLO, m.Hello(NODE, (7, 9), "x", 1), "bad_version", "version 1, the collector 7, 9"),
        (State.AWAIT_HELLO, m.Hello(NODE, (), "x", 1), "bad_version", "the collector none"),
        (State.AWAIT_HELLO, m.Hello("n2", (1,), "x", 1), "wrong_node", "'n1', not for 'n2'"),
        (State.AWAIT_HELLO, m.Hello(NODE, (1,), "x", -1), "bad_message", "epoch of -1"),
        (State.AWAIT_HELLO, m.Hello(NODE, (1,), "x", MAX_NUMBER + 1), "bad_message", "epoch of"),
        (State.LIVE, m.Delta(EPOCH + 1, 1, 0, NodeDelta()), "bad_message", "epoch 78"),
        (State.LIVE, m.Delta(EPOCH, 1, 0, DELTA_OF_OTHER), "wrong_node", "n2:4:1"),
        (State.LIVE, m.SnapshotBegin(EPOCH, 0), "bad_message", "snapshot 0 after 0"),
        (State.LIVE, m.SnapshotBegin(EPOCH, MAX_NUMBER + 1), "bad_message", "snapshot"),
        (State.AWAIT_SNAPSHOT, m.SnapshotBegin(EPOCH + 1, 0), "bad_message", "epoch 78"),
        (State.IN_SNAPSHOT, m.SnapshotPart(1, NodeDelta()), "bad_message", "part 1 instead of 0"),
        (State.IN_SNAPSHOT, m.SnapshotPart(0, ORPHAN), "bad_message", "never introduced"),
        (State.IN_SNAPSHOT, m.SnapshotPart(0, DELTA_OF_OTHER), "wrong_node", "n2:4:1"),
        (State.IN_SNAPSHOT, m.SnapshotEnd(3), "bad_message", "3 snapshot parts sent, 0 received"),
    ],
)
def test_what_the_server_checks(state: State, message: Any, code: str, words: str) -> None:
    session = server_in(state)
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        session.receive_message(message, 1.0)
    assert caught.value.code == code
    assert_closed_with(session, code)


@pytest.mark.parametrize(
    ("state", "message", "code", "words"),
    [
        (State.AWAIT_WELCOME, m.Welcome(2), "bad_version", "version 2"),
        (State.AWAIT_WELCOME, m.Welcome(1, 5), "bad_message", "5 was never sent"),
        (State.AWAIT_WELCOME, m.Welcome(1, -2), "bad_message", "-2 was never sent"),
        (State.AWAIT_WELCOME, m.Welcome(1, None, 0.0), "bad_message", "heartbeat of 0"),
        (State.LIVE, m.Ack(EPOCH + 1, 0), "bad_message", "ack of 78/0"),
        (State.LIVE, m.Ack(EPOCH, 1), "bad_message", "ack of 77/1"),
    ],
)
def test_what_the_collector_checks(state: State, message: Any, code: str, words: str) -> None:
    session = agent_in(state)
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        session.receive_message(message, 1.0)
    assert caught.value.code == code
    assert_closed_with(session, code)


def test_a_gap_asks_for_a_snapshot_and_what_is_under_way_is_ignored() -> None:
    session = server_in(State.LIVE)
    while session.next_frame(1.0) is not None:
        pass
    assert session.receive_message(m.Delta(EPOCH, 3, 0, NodeDelta()), 1.0) == [ev.GapFound(1, 3)]
    assert session.state is State.AWAIT_RESYNC
    frame = session.next_frame(1.0)
    assert frame is not None
    assert isinstance(decode_frame(frame), m.Resync)
    assert session.receive_message(m.Delta(EPOCH, 4, 0, DELTA_OF_OTHER), 1.0) == []


def test_a_change_that_comes_twice_is_taken_once() -> None:
    session = server_in(State.LIVE)
    first = m.Delta(EPOCH, 1, 0, NodeDelta(kernel="6.18"))
    assert len(session.receive_message(first, 1.0)) == 1
    assert session.receive_message(first, 1.0) == []


def test_a_snapshot_cannot_have_parts_without_end() -> None:
    session = server_in(State.IN_SNAPSHOT)
    part = m.SnapshotPart(0, NodeDelta())
    for index in range(MAX_SNAPSHOT_PARTS):
        session.receive_message(msgspec.structs.replace(part, index=index), 1.0)
    with pytest.raises(RemoteProtocolError, match=str(MAX_SNAPSHOT_PARTS)):
        session.receive_message(msgspec.structs.replace(part, index=MAX_SNAPSHOT_PARTS), 1.0)


@pytest.mark.parametrize(
    ("state", "call"),
    [
        (State.AWAIT_HELLO, lambda s: s.welcome(None)),
        (State.LIVE, lambda s: s.welcome(None)),
        (State.AWAIT_DECISION, lambda s: s.ack(0)),
        (State.LIVE, lambda s: s.ack(1)),
        (State.AWAIT_SNAPSHOT, lambda s: s.resync("why")),
        (State.AWAIT_DECISION, lambda s: s.want_bodies((b"d",))),
        (State.AWAIT_DECISION, lambda s: s.send_probe("p", b"")),
    ],
)
def test_what_the_server_s_owner_may_not_do(state: State, call: Any) -> None:
    session = server_in(state)
    with pytest.raises(LocalProtocolError) as caught:
        call(session)
    assert caught.value.code == "bad_state"


def test_what_the_collector_s_owner_may_not_do() -> None:
    waiting = agent_in(State.AWAIT_WELCOME)
    for call in (
        lambda: waiting.connect(0.0),
        lambda: waiting.send_snapshot(NodeState(NODE)),
        lambda: waiting.send_bodies((), ()),
        lambda: waiting.send_heartbeat(m.AgentStatus()),
        lambda: waiting.send_probe_event("p", b""),
        lambda: AgentSession(HELLO, 0.0).receive_data(b"", 0.0),
    ):
        with pytest.raises(LocalProtocolError):
            call()


def test_an_acknowledgement_that_says_nothing_new_is_not_sent() -> None:
    session = server_in(State.LIVE)
    while session.next_frame(1.0) is not None:
        pass
    session.ack(0)
    assert session.next_frame(1.0) is None


def test_a_server_s_heartbeat_is_sent_when_it_said_nothing_for_long() -> None:
    session = server_in(State.LIVE)
    while session.next_frame(1.0) is not None:
        pass
    assert session.handle_timer(2.0) == []
    assert session.next_frame(2.0) is None
    session.receive_message(m.Heartbeat(), 12.0)
    assert session.handle_timer(12.0) == []
    frame = session.next_frame(12.0)
    assert frame is not None
    assert decode_frame(frame) == m.Heartbeat()


def test_a_frame_over_the_bound_is_refused_unread() -> None:
    session = server_in(State.LIVE)
    with pytest.raises(RemoteProtocolError, match="over"):
        session.receive_data(bytes(MAX_FRAME_BYTES + 1), 1.0)
    assert_closed_with(session, "too_large")


FRAMES = [encode_frame(message) for message in MESSAGES] + [
    encode_frame(m.SnapshotPart(0, NodeDelta(kernel="x" * 4000)))
]


@given(st.sampled_from(list(SERVER_ALLOWS)), st.sampled_from(FRAMES), st.data())
def test_damaged_frames_break_nothing_but_the_session(
    state: State, frame: bytes, data: st.DataObject
) -> None:
    """Truncated, changed and random frames: an event list or a protocol error, nothing else."""
    kind = data.draw(st.sampled_from(["truncate", "change", "random"]))
    if kind == "truncate":
        frame = frame[: data.draw(st.integers(0, len(frame)))]
    elif kind == "change":
        at = data.draw(st.integers(0, len(frame) - 1))
        frame = frame[:at] + bytes([data.draw(st.integers(0, 255))]) + frame[at + 1 :]
    else:
        frame = data.draw(st.binary(max_size=200))
    session = server_in(state)
    try:
        session.receive_data(frame, 1.0)
        broken = False
    except RemoteProtocolError:
        broken = True
    assert session.closed or not broken


@pytest.mark.parametrize(
    "frame", [b"", b"\2x", b"\1notzlib", b"\0\xc1", FRAMES[-1][:-3], FRAMES[-1] + b"tail"]
)
def test_what_is_no_frame_is_named(frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_frame(frame)


def test_a_frame_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = FRAMES[-1]
    monkeypatch.setattr("netviz.core.wire.codec.MAX_MESSAGE_BYTES", 1000)
    with pytest.raises(RemoteProtocolError, match="inflates"):
        decode_frame(bomb)


def test_a_frame_over_the_bound_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netviz.core.wire.codec.MAX_FRAME_BYTES", 10)
    with pytest.raises(LocalProtocolError, match="over 10"):
        encode_frame(HELLO)


def test_a_small_frame_cannot_cost_much() -> None:
    items = msgspec.msgpack.encode({"t": "bodies", "unknown": [b""] * 15_000_000})
    bomb = b"\1" + zlib.compress(items, 9)
    assert len(bomb) < 64 << 10
    assert is_large(bomb)
    with pytest.raises(RemoteProtocolError, match="inflates"):
        decode_frame(bomb)
    with pytest.raises(RemoteProtocolError, match=r"unknown: expected array of length <= 4096"):
        decode_frame(encode_frame(m.Bodies((), (b"",) * 4097)))


def test_what_is_much_alike_still_fits_its_frame() -> None:
    alike = tuple(Sysctl("x" * 1000, 1) for _ in range(6000))
    message = m.SnapshotPart(0, NodeDelta((NetnsDelta(KEY, Netns(KEY), sysctls=Change(alike)),)))
    frame = encode_frame(message)
    assert len(frame) <= MAX_FRAME_BYTES
    assert decode_sized(frame) == (message, len(encode_message(message)))


def test_a_snapshot_has_a_bound_in_bytes_too() -> None:
    part = encode_message(m.SnapshotPart(0, NodeDelta(kernel="x" * 4000)))
    session = ServerSession(NODE, 0.0, max_snapshot_bytes=2 * len(part))
    session.receive_message(HELLO, 0.0)
    session.welcome(None)
    for seq in (0, 1):  # A snapshot that begins anew counts from nothing.
        session.receive_message(m.SnapshotBegin(EPOCH, seq), 0.0)
        for index in (0, 1):
            frame = encode_frame(m.SnapshotPart(index, NodeDelta(kernel="x" * 4000)))
            session.receive_data(frame, 1.0)
    frame = encode_frame(m.SnapshotPart(2, NodeDelta(kernel="x")))
    with pytest.raises(RemoteProtocolError, match="a snapshot of over"):
        session.receive_data(frame, 1.0)
    assert_closed_with(session, "too_large")

"""Both sides of a session joined without a socket: what arrives is what was sent, whatever happens between."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Route
from netviz.core.model.netfilter import ChainBody, NftExpr, NftRuleBody, body_digest
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply, diff
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.wire import events as ev
from netviz.core.wire.codec import MAX_FRAME_BYTES
from netviz.core.wire.errors import LocalProtocolError
from netviz.core.wire.messages import AgentStatus
from netviz.core.wire.server_session import ServerSession
from netviz.core.wire.session import HANDSHAKE_TIMEOUT_S, State
from netviz.core.wire.split import PIECE_BYTES, split_delta
from tests.core.strategies import node_states
from tests.core.wire.pair import EPOCH, NODE, Agent, Pair

KEY = NetnsKey(NODE, 4, 1)


def introduce() -> NodeDelta:
    return NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY, "root", True)),), status={"links": SectionStatus(1.0)})


def sysctl(value: int, name: str = "net.a") -> NodeDelta:
    return NodeDelta(netns=(NetnsDelta(KEY, sysctls=Change((Sysctl(name, value),), ())),))


def many_routes(count: int) -> NodeDelta:
    routes = tuple(Route(254, n.to_bytes(4, "big"), 32, metric=n * 7919 % 1000) for n in range(count))
    return NodeDelta(netns=(NetnsDelta(KEY, routes=Change(routes, ())),))


@pytest.fixture
def pair() -> Pair:
    """Connected, with a first snapshot received and acknowledged."""
    pair = Pair()
    pair.agent.change(introduce())
    pair.connect()
    pair.settle()
    pair.server.flush()
    pair.settle()
    return pair


def test_a_snapshot_and_changes_arrive(pair: Pair) -> None:
    for value in range(5):
        pair.agent.change(sysctl(value))
    pair.settle()
    assert pair.server.state == pair.agent.state
    assert [seq for _, seq, _ in pair.server.queued] == [1, 2, 3, 4, 5]
    assert pair.agent.session.unacked_bytes > 0
    pair.server.flush()
    pair.settle()
    assert pair.agent.session.unacked_bytes == 0


def test_a_cut_link_loses_nothing(pair: Pair) -> None:
    pair.agent.change(sysctl(1))
    pair.step_up()
    pair.cut()
    for value in (2, 3):
        pair.agent.change(sysctl(value))
    pair.connect()
    pair.settle()
    pair.server.flush()
    assert ev.Welcomed(resumed=True) in pair.agent.events
    assert pair.server.state == pair.agent.state
    assert list(pair.server.journal.values()).count("snapshot") == 1
    assert sorted(seq for _, seq in pair.server.journal) == [0, 1, 2, 3]


def test_a_restarted_server_is_given_a_snapshot(pair: Pair) -> None:
    pair.agent.change(sysctl(1))
    pair.cut()
    pair.server.forget()
    pair.connect()
    pair.settle()
    assert pair.agent.events[-1] == ev.Welcomed(resumed=False)
    assert pair.server.state == pair.agent.state


def test_what_was_received_but_not_durable_is_sent_again(pair: Pair) -> None:
    pair.agent.change(sysctl(1))
    pair.settle()
    pair.server.queued.clear()
    pair.cut()
    pair.connect()
    pair.settle()
    pair.server.flush()
    assert sorted(seq for _, seq in pair.server.journal) == [0, 1]
    assert pair.server.state == pair.agent.state


def test_past_the_byte_bound_a_snapshot_takes_the_changes_place() -> None:
    pair = Pair(Agent(max_unacked_bytes=2000))
    pair.agent.change(introduce())
    pair.connect()
    pair.settle()
    pair.server.flush()
    pair.settle()
    pair.cut()
    for value in range(100):
        pair.agent.change(sysctl(value))
    assert pair.agent.session.unacked_bytes <= 2000
    pair.connect()
    pair.settle()
    assert ev.Welcomed(resumed=False) in pair.agent.events
    assert pair.server.state == pair.agent.state


def test_sent_changes_past_the_bound_are_dropped_first_and_cost_a_snapshot_only_at_a_cut() -> None:
    pair = Pair(Agent(max_unacked_bytes=2000))
    pair.agent.change(introduce())
    pair.connect()
    pair.settle()
    pair.server.flush()
    for value in range(100):
        pair.agent.change(sysctl(value))
        pair.settle()
    assert not pair.agent.session.snapshot_due
    assert pair.server.state == pair.agent.state
    pair.server.queued.clear()
    pair.cut()
    pair.connect()
    pair.settle()
    assert pair.agent.events[-1] == ev.Welcomed(resumed=False)
    assert pair.server.state == pair.agent.state


def test_unsent_changes_past_the_bound_are_replaced_on_a_live_link() -> None:
    pair = Pair(Agent(max_unacked_bytes=2000))
    pair.agent.change(introduce())
    pair.connect()
    pair.settle()
    for value in range(100):
        pair.agent.change(sysctl(value))
    assert pair.agent.session.wants_snapshot
    assert pair.agent.session.oldest_unsent_at_ns is None
    pair.settle()
    assert pair.server.state == pair.agent.state
    assert not any(isinstance(event, ev.GapFound) for event in pair.server.events)


def test_a_large_state_goes_in_bounded_parts() -> None:
    pair = Pair()
    pair.agent.change(introduce())
    pair.agent.change(many_routes(60_000))
    pair.connect()
    sizes = []
    for _ in range(1000):
        while (frame := pair.agent.next_frame(0.0)) is not None:
            sizes.append(len(frame))
            pair.server.take(frame, 0.0)
        if not pair.step_down():
            break
    assert pair.server.state == pair.agent.state
    assert len(sizes) > 8
    assert max(sizes) < MAX_FRAME_BYTES / 8


def test_a_large_change_goes_in_pieces(pair: Pair) -> None:
    pair.agent.change(many_routes(200_000))
    assert pair.agent.session.unacked_bytes > 0
    pair.settle()
    assert pair.server.state == pair.agent.state
    assert len(pair.server.queued) > 8


def test_a_large_change_past_the_bound_is_replaced_by_a_snapshot() -> None:
    pair = Pair(Agent(max_unacked_bytes=100_000))
    pair.agent.change(introduce())
    pair.connect()
    pair.settle()
    pair.agent.change(many_routes(200_000))
    assert pair.agent.session.snapshot_due
    pair.settle()
    assert pair.server.state == pair.agent.state


def test_changes_made_while_a_snapshot_is_under_way_follow_it() -> None:
    pair = Pair()
    pair.agent.change(introduce())
    pair.agent.change(many_routes(30_000))
    pair.connect()
    pair.settle(lambda: pair.server.session is not None and pair.server.session.state is State.IN_SNAPSHOT)
    pair.agent.change(sysctl(9))
    pair.settle()
    assert pair.server.state == pair.agent.state
    assert [kind for *_, kind in pair.server.queued] == ["snapshot", "delta"]


def test_a_cut_within_a_snapshot_begins_it_anew() -> None:
    pair = Pair()
    pair.agent.change(introduce())
    pair.agent.change(many_routes(30_000))
    pair.connect()
    pair.settle(lambda: pair.server.session is not None and pair.server.session.state is State.IN_SNAPSHOT)
    pair.cut()
    pair.connect()
    pair.settle()
    assert pair.server.state == pair.agent.state


def test_the_server_may_ask_for_a_snapshot_with_changes_under_way(pair: Pair) -> None:
    pair.agent.change(sysctl(1))
    frame = pair.agent.next_frame(0.0)
    assert frame is not None
    assert pair.server.session is not None
    pair.server.session.resync("a change did not fit")
    pair.up.append(frame)
    pair.settle()
    assert ev.SnapshotWanted("a change did not fit") in pair.agent.events
    assert pair.agent.session.resyncs == 1
    assert pair.server.state == pair.agent.state
    assert pair.server.session.state is State.LIVE


def test_a_snapshot_under_way_is_begun_anew_when_a_resync_crosses_it(pair: Pair) -> None:
    pair.agent.change(many_routes(30_000))
    pair.agent.session.send_snapshot(pair.agent.state)
    pair.up.extend(frame for _ in range(2) if (frame := pair.agent.session.next_frame(0.0)) is not None)
    assert pair.server.session is not None
    pair.server.session.resync("crossing")
    pair.settle()
    assert pair.server.state == pair.agent.state


def test_bodies_are_asked_for_and_sent_in_parts(pair: Pair) -> None:
    rule = NftRuleBody(tuple(NftExpr("payload", {"base": n, "data": bytes(64)}) for n in range(40)))
    bodies = [
        ChainBody(tuple(msgspec.structs.replace(rule, comment=f"{i} {j}") for j in range(20)))
        for i in range(20)
    ]
    pair.agent.bodies = {body_digest(body): body for body in bodies}
    assert pair.server.session is not None
    pair.server.session.want_bodies((*pair.agent.bodies, b"gone"))
    pair.settle()
    assert pair.server.bodies == pair.agent.bodies
    answers = [event for event in pair.server.events if isinstance(event, ev.BodiesReceived)]
    assert len(answers) > 3
    assert answers[-1].unknown == (b"gone",)


def test_when_all_bodies_are_known_nothing_more_is_said(pair: Pair) -> None:
    body = ChainBody((NftRuleBody((NftExpr("counter"),)),))
    pair.agent.bodies = {body_digest(body): body}
    assert pair.server.session is not None
    pair.server.session.want_bodies(tuple(pair.agent.bodies))
    pair.settle()
    assert pair.server.events[-1] == ev.BodiesReceived((body,), ())


def test_a_body_too_large_to_send_is_unknown(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netviz.core.wire.codec.MAX_MESSAGE_BYTES", 1000)
    body = ChainBody((NftRuleBody((NftExpr("raw", {"raw": bytes(2000)}),)),))
    pair.agent.bodies = {body_digest(body): body}
    assert pair.server.session is not None
    pair.server.session.want_bodies(tuple(pair.agent.bodies))
    pair.settle()
    assert pair.server.events[-1] == ev.BodiesReceived((), tuple(pair.agent.bodies))


def test_a_record_too_large_to_send_is_the_collector_s_error(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netviz.core.wire.codec.MAX_MESSAGE_BYTES", 1000)
    with pytest.raises(LocalProtocolError, match="over 1000"):
        pair.agent.session.send_delta(sysctl(1, "x" * 2000), 0)
    pair.agent.session.drop_kept()
    assert pair.agent.session.wants_snapshot


def test_many_digests_are_asked_for_in_several_messages(pair: Pair) -> None:
    assert pair.server.session is not None
    pair.server.session.want_bodies(tuple(n.to_bytes(16, "big") for n in range(5000)))
    pair.settle()
    asked = [event for event in pair.agent.events if isinstance(event, ev.BodiesWanted)]
    assert [len(event.digests) for event in asked] == [4096, 904]


def test_heartbeats_go_both_ways_and_silence_is_found(pair: Pair) -> None:
    agent, server = pair.agent.session, pair.server.session
    assert server is not None
    assert agent.timer_due() == agent.heartbeat_s
    pair.now = agent.heartbeat_s
    assert agent.handle_timer(pair.now) == [ev.HeartbeatDue()]
    agent.send_heartbeat(AgentStatus(rss_bytes=5))
    assert server.handle_timer(pair.now) == []
    pair.settle()
    assert pair.server.events[-1] == ev.StatusReceived(AgentStatus(rss_bytes=5))
    assert agent.handle_timer(pair.now + 1) == server.handle_timer(pair.now + 1) == []
    late = pair.now + 3 * agent.heartbeat_s
    assert agent.handle_timer(late) == server.handle_timer(late) == [ev.TimedOut(3 * agent.heartbeat_s)]


def test_an_unfinished_handshake_times_out() -> None:
    pair = Pair()
    pair.connect()
    assert pair.server.session is not None
    for session in (pair.agent.session, pair.server.session):
        assert session.handle_timer(HANDSHAKE_TIMEOUT_S - 1) == []
        assert session.handle_timer(HANDSHAKE_TIMEOUT_S) == [ev.TimedOut(HANDSHAKE_TIMEOUT_S)]


def test_probes_go_down_and_what_was_seen_comes_up(pair: Pair) -> None:
    assert pair.server.session is not None
    pair.server.session.send_probe("p1", b"ask")
    pair.settle()
    assert pair.agent.events[-1] == ev.ProbeWanted("p1", b"ask")
    pair.agent.session.send_probe_event("p1", b"seen")
    pair.settle()
    assert pair.server.events[-1] == ev.ProbeSeen("p1", b"seen")


def test_a_refused_collector_is_told_why() -> None:
    pair = Pair()
    pair.connect()
    assert pair.server.session is not None
    pair.server.session.refuse("overload", "try later")
    pair.step_down()
    assert pair.agent.events == [ev.Refused("overload", "try later")]
    assert pair.agent.session.closed
    assert pair.agent.session.next_frame(0.0) is None


@given(node_states(), node_states(), st.sampled_from([40, 200, 1000]))
def test_pieces_of_a_delta_give_what_the_delta_gives(a: NodeState, b: NodeState, size: int) -> None:
    delta = diff(a, b)
    pieces = list(split_delta(delta, size))
    state = a
    for piece in pieces:
        state = apply(state, piece)
    assert state == b
    assert all(not piece.status for piece in pieces[:-1])


def test_pieces_keep_to_their_size() -> None:
    delta = many_routes(50_000)
    pieces = list(split_delta(delta))
    assert max(len(msgspec.msgpack.encode(piece)) for piece in pieces) < 1.5 * PIECE_BYTES


OPERATIONS = [
    "change",
    "up",
    "up",
    "down",
    "flush",
    "cut",
    "restart",
    "connect",
    "settle",
    "resync",
    "truncate",
]


@settings(max_examples=150)
@given(st.lists(st.sampled_from(OPERATIONS), max_size=60), st.sampled_from([300, 2000, 8 << 20]))
def test_whatever_happens_the_server_ends_with_the_collector_s_state(
    operations: list[str], bound: int
) -> None:
    """Random cuts, restarts, losses of what was not durable, and lost frames: state and journal hold."""
    pair = Pair(Agent(max_unacked_bytes=bound))
    pair.agent.change(introduce())
    acked: set[tuple[int, int]] = set()
    value = 0
    for operation in [*operations, "connect", "settle", "flush", "settle"]:
        if operation == "change":
            value += 1
            pair.agent.change(sysctl(value))
        elif operation == "connect" and not pair.connected:
            pair.connect()
        elif operation == "restart":
            if pair.connected:
                pair.cut()
            pair.server.forget()
        elif not pair.connected:
            continue
        elif operation == "up":
            pair.step_up()
        elif operation == "down":
            pair.step_down()
        elif operation == "cut":
            pair.cut()
        elif operation == "settle":
            pair.settle()
        elif operation == "truncate" and pair.agent.next_frame(0.0) is not None:
            # A frame that got lost halfway takes the link with it.
            pair.cut()
        elif operation == "resync" and pair.server.session is not None:
            if pair.server.session.state is State.LIVE:
                pair.server.session.resync("because")
        elif operation == "flush":
            before = set(pair.server.journal)
            pair.server.flush()
            acked |= set(pair.server.journal) - before
    assert pair.server.state == pair.agent.state
    assert pair.agent.session.unacked_bytes == 0
    _check_journal(pair)


def _check_journal(pair: Pair) -> None:
    """Every number up to the last acknowledged is in the journal, or a later snapshot stands for it."""
    numbers = sorted(seq for _, seq in pair.server.journal)
    assert pair.server.durable == (EPOCH, numbers[-1])
    for before, after in pairwise(numbers):
        assert after == before + 1 or pair.server.journal[EPOCH, after] == "snapshot"


def test_sessions_are_not_shared_between_connections() -> None:
    first, second = ServerSession(NODE, 0.0), ServerSession(NODE, 0.0)
    assert first.state is second.state is State.AWAIT_HELLO

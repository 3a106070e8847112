"""What the server says that somebody looks at, and to whom."""

from __future__ import annotations

from netviz.core.model.ids import NetnsKey
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.agent_session import AgentSession
from tests.core.wire.pair import EPOCH, NODE, Agent, Pair

WATCHED = (m.Watched(("counters",), 10.0), m.Watched(("sockets", "neighs"), 2.0, NetnsKey(NODE, 4, 1)))


def connected(*understands: str) -> Pair:
    agent = Agent()
    agent.session = AgentSession(m.Hello(NODE, (1,), "test", EPOCH, understands=understands), 0.0)
    pair = Pair(agent)
    pair.connect()
    pair.settle()
    return pair


def told(pair: Pair, watched: tuple[m.Watched, ...]) -> list[ev.Event]:
    assert pair.server.session is not None
    pair.server.session.watch(watched)
    pair.settle()
    return [one for one in pair.agent.events if isinstance(one, ev.WatchChanged)]


def test_a_collector_that_understands_is_told_what_is_watched() -> None:
    pair = connected(m.WATCH)
    assert told(pair, WATCHED) == [ev.WatchChanged(WATCHED)]
    assert told(pair, ())[1:] == [ev.WatchChanged(())]


def test_an_older_collector_is_told_nothing() -> None:
    assert told(connected(m.NOTICE), WATCHED) == []

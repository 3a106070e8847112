"""What the server does with what a collector says: the rules between session, store and journal.

A change is folded into the live state at once and acknowledged when the journal has made it
durable. A collector that returns goes on after the last number that is both held and durable; if
the server doesn't know its epoch, it is asked for a snapshot.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

from netviz.core.model.netns import Refused
from netviz.core.plain import plain
from netviz.core.state.delta import NodeDelta
from netviz.core.state.door import refusals, settle
from netviz.core.state.node import NodeState
from netviz.core.wire import events as ev
from netviz.core.wire.errors import RemoteProtocolError
from netviz.core.wire.messages import AgentStatus, Hello
from netviz.core.wire.server_session import ServerSession
from netviz.core.wire.session import State
from netviz.ingest.journal import JournalChange, journal
from netviz.ingest.keeper import keeper
from netviz.ingest.live_store import get_store
from netviz.ingest.store import CollectorReport, Position
from netviz.ingest.weight import weigh

log = logging.getLogger("netviz.ingest")


# A body that breaks a bound will break it again, but a later version of its collector may tell it right.
ASK_REFUSED_AGAIN_S = 600.0
MAX_COUNT = (1 << 63) - 1
MAX_MEASURE = 1e9


def bounded(status: AgentStatus) -> AgentStatus:
    """Keep a collector's numbers within what the database and JSON hold; what is no number counts as 0."""
    numbers: dict[str, Any] = {}
    for name in status.__struct_fields__:
        value = getattr(status, name)
        limit = MAX_MEASURE if isinstance(value, float) else MAX_COUNT
        numbers[name] = 0.0 if math.isnan(value) else max(type(value)(0), min(value, limit))
    return AgentStatus(**numbers)


class CollectorService:
    """One collector's connection, seen from the store. Called on the event loop's thread."""

    def __init__(self, session: ServerSession, collector_id: int, durable: Callable[[int], None]) -> None:
        self._session = session
        self._node = session.node
        self._collector_id = collector_id
        self._durable = durable
        self._store = get_store()
        self._epoch = 0
        self._refused_logged = False

    def handle(self, event: ev.Event, frame_bytes: int) -> None:
        """Act on one event of the session. `frame_bytes`: the size of the frame that it came in.

        Raises: RemoteProtocolError (too_large) when the node's state has grown past its bound.
        """
        match event:
            case ev.DeltaReceived():
                self._log_refused(one for _, one in refusals(event.delta))
                self._fold(event, frame_bytes)
                self._weigh(self._session.message_bytes)
            case ev.SnapshotReceived():
                refused = (*(ns.refused for ns in event.state.netns.values()), event.state.objects.refused)
                self._log_refused(one for found in refused for one in found.values())
                position = Position(event.epoch, event.seq)
                self._store.replace(event.state, position, time.time())
                self._write(event.seq, event.state, frame_bytes)
                self._weigh(0)
                self._ask_for_bodies()
            case ev.BodiesReceived():
                self._store.put_bodies(event.bodies)
                self._weigh(self._session.message_bytes)
                self._store.ask_again(event.unknown, 0.0)
                self._store.ask_again(event.refused, time.monotonic() + ASK_REFUSED_AGAIN_S)
            case ev.StatusReceived():
                self._report(event)
            case ev.HelloReceived():
                self._welcome(event.hello)
            case ev.GapFound():
                log.warning("node %s: change %d is missing before %d", self._node, event.expected, event.got)
            case ev.Refused():
                log.warning("node %s: its collector ended the session: %s", self._node, event.message)

    def acknowledge(self, seq: int) -> None:
        """Tell the collector that everything up to `seq` is durable."""
        self._store.set_durable(self._node, Position(self._epoch, seq))
        if self._session.state not in (State.CLOSED, State.AWAIT_HELLO, State.AWAIT_DECISION):
            self._session.ack(seq)

    def left(self) -> None:
        """Note that the node's collector is gone."""
        self._store.set_connected(self._node, False, time.time())
        keeper.note(self._collector_id, connected=False)

    def _welcome(self, hello: Hello) -> None:
        if not journal.has_room():
            self._session.refuse("overload", "the server cannot keep up; try again later")
            return
        self._epoch = hello.epoch
        held, durable = self._store.position(self._node), self._store.durable(self._node)
        resume_after = None
        if held is not None and durable is not None and held.epoch == durable.epoch == hello.epoch:
            # What was too heavy has to be told anew.
            resume_after = None if self._store.weights.due(self._node) else min(held.seq, durable.seq)
        self._session.welcome(resume_after)
        self._store.set_connected(self._node, True, time.time())
        keeper.note(
            self._collector_id,
            connected=True,
            version=plain(hello.agent_version)[:64],
            kernel=plain(hello.kernel)[:128],
        )

    def _fold(self, event: ev.DeltaReceived, frame_bytes: int) -> None:
        before: NodeState | None = None
        held, state, delta = self._store.position(self._node), self._store.state(self._node), event.delta
        if held is None or held.epoch != event.epoch or held.seq < event.seq:
            if state is not None:
                delta = settle(state, delta)
            try:
                position = Position(event.epoch, event.seq)
                before = self._store.fold(self._node, delta, position, time.time())
            except KeyError as err:
                log.warning("node %s: change %d does not fit: %s", self._node, event.seq, err.args[0])
                if self._session.state is State.LIVE:
                    self._session.resync("a change did not fit the state")
                return
        self._write(event.seq, delta, frame_bytes, before)
        if journal.wants_checkpoint(self._node):
            self._checkpoint(Position(event.epoch, event.seq))
        self._ask_for_bodies()

    def _weigh(self, more_bytes: int) -> None:
        """Count what came in, and weigh the state now and then. Raises: RemoteProtocolError (too_large)."""
        self._store.weights.add(self._node, more_bytes)
        state = self._store.state(self._node)
        if state is None or not self._store.weights.due(self._node):
            return
        limit = settings.SNAPSHOT_MAX_BYTES
        if weigh(state) + self._store.body_bytes(self._node) > limit:
            raise RemoteProtocolError("too_large", f"the node's state has grown to over {limit} bytes")
        self._store.weights.passed(self._node)

    def _log_refused(self, refused: Iterable[Refused]) -> None:
        """Log the first record of this connection that is left out; the node's gaps name all."""
        if not self._refused_logged and (one := next(iter(refused), None)) is not None:
            self._refused_logged = True
            log.warning(
                "node %s: left out a record that cannot be used: %s %s: %s",
                self._node,
                one.section,
                one.record,
                one.reason,
            )

    def _write(
        self, seq: int, what: NodeDelta | NodeState, frame_bytes: int, before: NodeState | None = None
    ) -> None:
        now_s = time.time()
        journal.append(
            JournalChange(
                self._node, self._epoch, seq, now_s, what, frame_bytes, self._durable, before=before
            )
        )

    def _checkpoint(self, position: Position) -> None:
        """Let the journal have the whole state, unless what is held is already past this change."""
        state = self._store.state(self._node)
        if state is not None and self._store.position(self._node) == position:
            now_s = time.time()
            journal.append(
                JournalChange(self._node, *position, now_s, state, 0, self._durable, checkpoint=True)
            )

    def _ask_for_bodies(self) -> None:
        if ask := self._store.bodies_to_ask(self._node, time.monotonic()):
            self._session.want_bodies(ask)

    def _report(self, event: ev.StatusReceived) -> None:
        status, hello = bounded(event.status), self._session.hello
        version = plain(hello.agent_version)[:64] if hello is not None else ""
        self._store.report(self._node, CollectorReport(version, status), time.time())
        keeper.note(
            self._collector_id,
            connected=True,
            lag_s=status.lag_s,
            clock_s=status.at_ns / 1e9 - time.time() if status.at_ns else None,
            lost_events=status.lost_events,
            shed_events=status.shed_events,
            resyncs=status.resyncs,
            cpu=status.cpu,
            rss_bytes=status.rss_bytes,
            complete=self._store.complete(self._node),
        )
        self._ask_for_bodies()

"""The checking process's own copy of the live state, as the server tells it (feeding.py)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.node import NodeState
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.redis_records import parse_body
from netviz.ingest.store import CollectorReport, Position
from netviz.problems.pipe import (
    Begin,
    Bodies,
    Closed,
    FromServer,
    Gone,
    Heard,
    Part,
    Pipe,
    Stands,
    Taken,
    Told,
)

# The server's numbering of a collector's changes isn't told: nothing here goes on after it.
NOWHERE = Position(0, 0)


class Follower:
    """A store that one pipe fills. `on_told` is called when it is the live state of a moment, `on_end` at the end."""

    def __init__(
        self, store: MemoryStore, pipe: Pipe, on_told: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self._store = store
        self._on_told = on_told
        self._pipe = pipe
        self._on_end = on_end
        self._whole: dict[str, NodeState] = {}
        self._deltas: dict[str, list[NodeDelta]] = {}
        threading.Thread(target=self._run, name="checks-follower", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._take(self._pipe.from_server())
        except Closed:
            self._on_end()

    def _take(self, message: FromServer) -> None:
        match message:
            case Begin(node):
                self._whole[node] = NodeState(node)
            case Part(node, delta):
                if node in self._whole:
                    self._whole[node] = apply(self._whole[node], delta)
                else:
                    self._deltas.setdefault(node, []).append(delta)
            case Stands():
                self._stand(message)
            case Heard(at):
                for node, (heard_at_s, lag_s) in at.items():
                    self._store.report(node, CollectorReport("", AgentStatus(lag_s=lag_s)), heard_at_s)
            case Gone(node):
                self._store.forget(node)
            case Bodies(encoded):
                self._store.put_bodies(body for one in encoded if (body := parse_body(one)) is not None)
            case Told():
                self._pipe.send(Taken(tuple(self._store.wanted_bodies())))
                self._on_told()

    def _stand(self, now: Stands) -> None:
        """Let what was told of a node be seen."""
        whole, deltas = self._whole.pop(now.node, None), self._deltas.pop(now.node, [])
        if whole is not None:
            self._store.mirror(whole, now.revision, NOWHERE, now.received_at_s)
        for delta in deltas:
            self._store.fold(now.node, delta, NOWHERE, now.received_at_s)
        self._store.set_connected(now.node, now.connected, time.time())

"""The live state of this process, told to the checking process where it can't read it from Redis.

The store calls `_note` at each change, under its lock: all that is done there is to remember the change, or, when
many wait, that the node is to be told whole. A thread sends what waits whenever the process has taken the last batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_source
from netviz.core.wire.split import split_delta
from netviz.ingest.store import Store
from netviz.problems.pipe import Begin, Bodies, Closed, Gone, Heard, Part, Pipe, Stands, Told

log = logging.getLogger("netviz.problems")

SETTLE_S = 0.02
# Bodies come without a word from the store, so what is wanted is looked for this often.
LOOK_EVERY_S = 0.2
# A collector that says nothing new is still heard.
HEARD_EVERY_S = 5.0
# More changes of one node than this are told as its whole state.
MOST_DELTAS = 256


class _Waiting:
    """What of a node is to be told: its state as it was when `deltas` began, or (None) only what changed."""

    __slots__ = ("deltas", "whole")

    def __init__(self, whole: NodeState | None) -> None:
        self.whole = whole
        self.deltas: list[NodeDelta] = []


class Feeder:
    """Tells one process of a store's state, from the beginning on."""

    def __init__(self, store: Store, pipe: Pipe) -> None:
        self._store = store
        self._pipe = pipe
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._wanted: dict[bytes, None] = {}
        # What each node's state was when it was noted last, and whether its collector was connected: a change of that alone is
        # told without the state, and one of anything else not at all: `Heard` says who is heard.
        self._noted: dict[str, tuple[NodeState | None, bool]] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checks-feeder", daemon=True)
        self._heard_s = -HEARD_EVERY_S
        self._leave = (store.subscribe(self._note), store.subscribe_clusters(self._note))
        for source in (*store.node_revisions(), *map(cluster_source, store.cluster_revisions())):
            self._note(source, None, 0)
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """End; the pipe has to be closed before."""
        for leave in self._leave:
            leave()
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _note(self, node: str, delta: NodeDelta | None, revision: int) -> None:
        state, at = self._store.state(node), self._store.node_revision(node)
        connected = at is not None and at.connected
        with self._lock:
            known, was_connected = self._noted.get(node, (None, None))
            self._noted[node] = state, connected
            waiting = self._waiting.get(node)
            if (
                delta is not None
                and known is not None
                and (waiting is None or len(waiting.deltas) < MOST_DELTAS)
            ):
                self._waiting.setdefault(node, _Waiting(None)).deltas.append(delta)
            elif state is not known:
                self._waiting[node] = _Waiting(state)
            elif connected != was_connected or at is None:
                self._waiting.setdefault(node, _Waiting(None))
            else:
                return
        self._wake.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.wait(LOOK_EVERY_S if self._wanted else HEARD_EVERY_S)
                self._stop.wait(SETTLE_S)
                self._wake.clear()
                if not self._stop.is_set():
                    self._batch()
        except Closed:
            pass
        except Exception:
            log.exception("the checking process can't be told of the live state")
            self._pipe.close()

    def _batch(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        bodies = tuple(
            body for digest in self._wanted if (body := self._store.encoded_body(digest)) is not None
        )
        heard = time.monotonic() - self._heard_s >= HEARD_EVERY_S
        if not heard and not waiting and not bodies:
            return
        for node, what in waiting.items():
            self._tell(node, what)
        if bodies:
            self._pipe.send(Bodies(bodies))
        if heard:
            self._heard_s = time.monotonic()
            self._pipe.send(Heard(self._contacts()))
        self._pipe.send(Told())
        self._wanted = dict.fromkeys(self._pipe.taken().wanted)

    def _contacts(self) -> dict[str, tuple[float, float]]:
        reports = self._store.collectors()
        return {
            name: (one.received_at_s, reports[name].status.lag_s if name in reports else 0.0)
            for name, one in self._store.node_revisions().items()
        }

    def _tell(self, node: str, what: _Waiting) -> None:
        revision = self._store.node_revision(node)
        if revision is None:
            with self._lock:
                if node not in self._waiting:
                    self._noted.pop(node, None)
            self._pipe.send(Gone(node))
            return
        if what.whole is not None:
            self._pipe.send(Begin(node))
        for delta in _parts(node, what):
            self._pipe.send(Part(node, delta))
        self._pipe.send(Stands(node, revision.revision, revision.received_at_s, revision.connected))


def _parts(node: str, what: _Waiting) -> Iterator[NodeDelta]:
    if what.whole is not None:
        yield from split_delta(diff(NodeState(node), what.whole))
    yield from what.deltas

"""A cluster's objects as a source tells them, wherever it has them from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from agents.health import Meter
from agents.source import Sink
from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.door import settle, sift
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import cluster_source
from netviz.core.wire.messages import AgentStatus, Watched


class ObjectsSource:
    """A `StateSource` of a cluster's objects. `run` it once; `ready` is set when there is something to tell."""

    def __init__(self, cluster: str, sink: Sink | None = None) -> None:
        self.sink = sink
        self.ready = asyncio.Event()
        self._meter = Meter()
        self._state = NodeState(cluster_source(cluster))

    async def run(self) -> None:
        """Follow the objects until cancelled."""
        raise NotImplementedError

    def _tell(self, delta: NodeDelta, status: Mapping[str, SectionStatus], at_ns: int) -> None:
        """Fold a change in, with how whole everything is now, and tell it."""
        news = {name: one for name, one in status.items() if self._state.status.get(name) != one}
        delta = settle(self._state, sift(msgspec.structs.replace(delta, status=news)))
        if delta.empty:
            return
        self._state = apply(self._state, delta)
        if self.sink is not None and self.ready.is_set():
            self.sink.state_changed(delta, at_ns)

    def state(self) -> NodeState:
        """The state as told to the sink."""
        return self._state

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        """A cluster has no netfilter bodies."""
        return []

    def status(self) -> AgentStatus:
        """The source's own health."""
        rss_bytes, cpu = self._meter.measure()
        return AgentStatus(rss_bytes=rss_bytes, cpu=cpu)

    def watch(self, watched: Iterable[Watched]) -> None:
        """Everything is told as soon as it is known: there is nothing to read more often."""

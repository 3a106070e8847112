"""What the transport and the runner know of each other.

The runner owns the node's state and tells a `Sink` of every change; whoever sends the state away
(the WebSocket transport, a recorder, a test) is a `Sink`, and reads whatever else it needs from the
runner as a `StateSource`. All calls are made on the event loop's thread and must not block.

    class Printer:
        def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
            print(len(delta.netns), "namespaces changed")

    await Runner(options, [Rtnl()], sink=Printer()).run()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import NodeState
from netviz.core.wire.messages import AgentStatus, Watched


class Sink(Protocol):
    """Whoever wants the changes of a node's state, in order and without a gap."""

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        """Take one change, already folded into `StateSource.state()`.

        `at_ns` is the wall clock (Unix ns) when the oldest kernel event in it was read. Never called
        with an empty delta, and first called after the first whole snapshot is in `state()`.
        """
        ...


class StateSource(Protocol):
    """What the runner answers at any time."""

    def state(self) -> NodeState:
        """Return the node's state now: everything told to the sink so far, and nothing more."""
        ...

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        """Return the netfilter bodies that are still known, in the order asked for."""
        ...

    def status(self) -> AgentStatus:
        """Return the collector's own health; `cpu` is since the last call.

        The transport fills in what only it knows (`lag_s`, `unacked_bytes`, `resyncs`).
        """
        ...

    def watch(self, watched: Iterable[Watched]) -> None:
        """Read this so often from now on, and nothing else more often than by itself."""
        ...


# Says a report on an observation, by its id. Any thread.
Say = Callable[[str, bytes], None]


class Observing(Protocol):
    """What takes the server's orders to observe (`agents.observers.service`). On the event loop's thread."""

    def take(self, ident: str, body: bytes) -> None:
        """Take an order."""
        ...

    def cut(self) -> None:
        """End what is under way: nobody hears any more."""
        ...

    def close(self) -> None:
        """End what is under way, and wait until everything is removed."""
        ...

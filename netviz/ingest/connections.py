"""The collectors that are connected to this process, one for each node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

ASK_AGAIN_S = 5.0
# A body that breaks a bound will break it again, but a later version of its collector may tell it right.
ASK_REFUSED_AGAIN_S = 600.0


class Connection(NamedTuple):
    """One collector's connection. `cut(code, reason)` ends it, from any thread."""

    collector_id: int
    cut: Callable[[str, str], None]


class Connections:
    """Who is connected. Changed on the event loop's thread only."""

    def __init__(self) -> None:
        self._by_node: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._by_node)

    def enter(self, node: str, connection: Connection) -> None:
        """Take a node's new connection; the one before, if any, is cut: its link is dead or it is a double."""
        before = self._by_node.get(node)
        self._by_node[node] = connection
        if before is not None:
            before.cut("replaced", "the node's collector has connected again")

    def leave(self, node: str, connection: Connection) -> bool:
        """Note the end of a connection; False when another one took its place before."""
        if self._by_node.get(node) is not connection:
            return False
        del self._by_node[node]
        return True

    def cut(self, node: str, code: str, reason: str) -> None:
        """End a node's connection, if it has one. May be called from any thread."""
        if (connection := self._by_node.get(node)) is not None:
            connection.cut(code, reason)

    def all(self) -> list[Connection]:
        """Every connection now. May be called from any thread."""
        return list(self._by_node.values())


class Questions:
    """Which missing bodies were asked for, so that 500 nodes with the same chains aren't all asked."""

    def __init__(self) -> None:
        self._asked_at: dict[bytes, float] = {}

    def to_ask(self, missing: Iterable[bytes]) -> tuple[bytes, ...]:
        """Pick those that nobody was asked for lately, and note that they are asked for now."""
        now = time.monotonic()
        ask = tuple(d for d in missing if now - self._asked_at.get(d, -ASK_AGAIN_S) >= ASK_AGAIN_S)
        self._asked_at.update(dict.fromkeys(ask, now))
        return ask

    def answered(self, digests: Iterable[bytes]) -> None:
        """Forget questions that were answered."""
        for digest in digests:
            self._asked_at.pop(digest, None)

    def refuse(self, digests: Iterable[bytes]) -> None:
        """Note that a body came that cannot be used: it isn't asked for again soon."""
        again = time.monotonic() + ASK_REFUSED_AGAIN_S - ASK_AGAIN_S
        self._asked_at.update((digest, again) for digest in digests if digest in self._asked_at)


connections = Connections()
questions = Questions()

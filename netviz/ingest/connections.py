"""The collectors that are connected to this process, one for each node."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


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


connections = Connections()

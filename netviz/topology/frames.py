"""What the feed's sockets send: JSON text, put together from parts that are encoded once for all pages.

Each page is told what its scope has: the base (nodes, problems, how the checking is) and the details of the nodes that it watches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from netviz.topology.graph import PARTS, Graph, GraphDelta, as_lists

# The nodes that a page watches; None: all.
Watch = frozenset[str] | None

_encode = msgspec.json.Encoder().encode


def watches(watch: Watch, node: str) -> bool:
    """Tell whether a node is in a page's scope."""
    return watch is None or node in watch


class _Encoded:
    """A delta's parts, each as the inside of a JSON list."""

    def __init__(self, delta: GraphDelta) -> None:
        self.upsert = {part: _inside(getattr(delta.upsert, part)) for part in PARTS}
        self.remove = {part: _inside(getattr(delta.remove, part)) for part in PARTS}


def _inside(items: list[object]) -> bytes:
    return _encode(items)[1:-1] if items else b""


def _lists(all_: Iterable[Mapping[str, bytes]], parts: Iterable[str]) -> bytes:
    every = list(all_)
    texts = (b'"%b":[%b]' % (part.encode(), b",".join(e[part] for e in every if e[part])) for part in parts)
    return b",".join(texts)


class Frame:
    """One revision's changes. With a `watch` it changes the scope of the page that it is for, and is all for it."""

    def __init__(
        self,
        revision: int,
        base: GraphDelta,
        details: Mapping[str, GraphDelta],
        watch: Watch = None,
        scope: bool = False,
    ) -> None:
        self.revision = revision
        self.watch = watch
        self.scope = scope
        self._base = base
        self._details = {name: delta for name, delta in details.items() if delta}

    @cached_property
    def _encoded(self) -> tuple[_Encoded, dict[str, _Encoded]]:
        return _Encoded(self._base), {name: _Encoded(delta) for name, delta in self._details.items()}

    def text(self, base_revision: int, watch: Watch) -> str | None:
        """The delta for a page that has `base_revision` and watches these nodes; None when it has nothing for it."""
        names = [name for name in self._details if self.scope or watches(watch, name)]
        if not self._base and not names and not self.scope:
            return None
        base, details = self._encoded
        parts = [base, *(details[name] for name in names)]
        return (
            b'{"type":"delta","base":%d,"revision":%d,"upsert":{%b},"remove":{%b}}'
            % (
                base_revision,
                self.revision,
                _lists((part.upsert for part in parts), PARTS),
                _lists((part.remove for part in parts), PARTS),
            )
        ).decode()


def snapshot_text(revision: int, graph: Graph) -> str:
    """The snapshot for a page that holds this graph."""
    return _encode({"type": "snapshot", "revision": revision, **as_lists(graph)}).decode()

"""How much a node's held state has, against the bound that its snapshot has.

The parts of a snapshot are counted as they come. Changes put the same records again and again, and bodies
come beside both, so what these add is known only by weighing: when a quarter of the bound came in since
the state was last weighed. That is remembered by node, so that who connects anew goes on where they were.
"""

from __future__ import annotations

import msgspec
from django.conf import settings

from netviz.core.state.node import SECTIONS, NodeState
from netviz.core.state.objects import OBJECT_SECTIONS

_encode = msgspec.msgpack.Encoder().encode


def weigh(state: NodeState) -> int:
    """Return how many bytes a state has, without the bodies that it refers to."""
    records = [getattr(ns, section) for ns in state.netns.values() for section in SECTIONS]
    records += [getattr(state.objects, section) for section in OBJECT_SECTIONS]
    named = sum(len(_encode(ns.netns)) for ns in state.netns.values())
    return named + sum(len(_encode(tuple(section.values()))) for section in records if section)


class Weights:
    """What came in of each node since it was last weighed."""

    def __init__(self) -> None:
        self._since_bytes: dict[str, int] = {}

    def add(self, node: str, size_bytes: int) -> None:
        """Count what came in."""
        self._since_bytes[node] = self._since_bytes.get(node, 0) + size_bytes

    def due(self, node: str) -> bool:
        """Tell whether a node is to be weighed; it stays so while it is too heavy."""
        return self._since_bytes.get(node, 0) >= settings.SNAPSHOT_MAX_BYTES // 4

    def passed(self, node: str) -> None:
        """It was weighed and within the bound, or is held no more."""
        self._since_bytes.pop(node, None)

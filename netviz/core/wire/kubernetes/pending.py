"""Events of watches, gathered until they are told: what happens to an object many times in between is told once."""

from __future__ import annotations

from typing import Any

from netviz.core.model.base import Record
from netviz.core.model.netns import Refused
from netviz.core.state.delta import Change, NodeDelta, ObjectsDelta
from netviz.core.state.door import key_text
from netviz.core.state.node import NodeState
from netviz.core.wire.kubernetes.api import Event, Resource, Unread


class Pending:
    """What events changed since the last `take`."""

    def __init__(self) -> None:
        self._sections: dict[str, dict[Any, Record | Unread | None]] = {}

    def add(self, resource: Resource, event: Event) -> None:
        """Take an event in. An object that can't be used any more isn't what it was before."""
        if event.key is not None or event.unread is not None:
            self._sections.setdefault(resource.section, {})[event.key] = event.record or event.unread

    def take(self, state: NodeState) -> NodeDelta:
        """Return what changes a state, and forget it."""
        sections, self._sections = self._sections, {}
        changes: dict[str, Any] = {}
        refused: list[Refused] = []
        for section, found in sections.items():
            held, put, drop = getattr(state.objects, section), [], []
            for key, one in found.items():
                if isinstance(one, Unread):
                    told = Refused(section, one.record, one.reason)
                    if state.objects.refused.get(told.key) != told:
                        refused.append(told)
                if isinstance(one, Record):
                    if held.get(key) != one:
                        put.append(one)
                elif key in held or (one is None and (section, key_text(key)) in state.objects.refused):
                    drop.append(key)
            if put or drop:
                changes[section] = Change(tuple(put), tuple(drop))
        if refused:
            changes["refused"] = Change(tuple(refused))
        return NodeDelta(objects=ObjectsDelta(**changes)) if changes else NodeDelta()

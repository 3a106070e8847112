"""A list that the API gives, as a change of a cluster's state: it is compared with what is held.

A list comes page by page, and of each page only what differs from what is held is kept: so a list of 150,000 pods that
are known already costs their keys.
"""

from __future__ import annotations

from typing import Any

from netviz.core.model.base import Record
from netviz.core.model.netns import MORE, Refused
from netviz.core.state.delta import Change, NodeDelta, ObjectsDelta
from netviz.core.state.node import NodeState
from netviz.core.wire.kubernetes.api import Page, Resource, Unread


class Listing:
    """A list while it comes in, held against a state. Records that are equal to what is held aren't kept twice."""

    def __init__(self, resource: Resource, state: NodeState) -> None:
        self._resource = resource
        self._objects = state.objects
        self._held = getattr(state.objects, resource.section)
        self._put: dict[Any, Record] = {}
        self._seen: set[Any] = set()
        self._unread: list[Unread] = []

    def add(self, page: Page) -> None:
        """Take a page in."""
        held = self._held
        for record in page.records:
            key = record.key  # type: ignore[attr-defined]
            was = held.get(key)
            self._seen.add(key)
            if was != record:
                self._put[key] = record
        self._unread += page.unread

    def delta(self) -> NodeDelta:
        """What the whole list changes: what it has, and what is held and not in it."""
        section, owns = self._resource.section, self._resource.owns
        drop = tuple(key for key in self._held if key not in self._seen and owns(key))
        again = {(section, one.record) for one in self._unread}
        ended = tuple(
            key
            for key in self._objects.refused
            if key[0] == section and (key[1] in ("", MORE) or owns(key[1])) and key not in again
        )
        changes: dict[str, Any] = {}
        if self._put or drop:
            changes[section] = Change(tuple(self._put.values()), drop)
        if self._unread or ended:
            refused = tuple(Refused(section, one.record, one.reason) for one in self._unread)
            changes["refused"] = Change(refused, ended)
        return NodeDelta(objects=ObjectsDelta(**changes)) if changes else NodeDelta()

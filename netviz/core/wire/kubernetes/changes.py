"""What the API says, as changes of a cluster's state: a list is compared with what is held, an event is a change.

A list comes page by page, and of each page only what differs from what is held is kept: so a list of 150,000 pods that
are known already costs their keys.
"""

from __future__ import annotations

from typing import Any

from netviz.core.model.base import Record
from netviz.core.model.netns import MORE, Refused
from netviz.core.state.delta import Change, NodeDelta, ObjectsDelta
from netviz.core.state.node import NodeState
from netviz.core.wire.kubernetes.api import Event, Page, Resource, Unread


def _delta(
    section: str,
    put: tuple[Record, ...],
    drop: tuple[Any, ...],
    unread: tuple[Unread, ...] = (),
    ended: tuple[tuple[str, str], ...] = (),
) -> NodeDelta:
    changes: dict[str, Any] = {}
    if put or drop:
        changes[section] = Change(put, drop)
    if unread or ended:
        refused = tuple(Refused(section, one.record, one.reason) for one in unread)
        changes["refused"] = Change(refused, ended)
    return NodeDelta(objects=ObjectsDelta(**changes)) if changes else NodeDelta()


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
        return _delta(section, tuple(self._put.values()), drop, tuple(self._unread), ended)


def event_delta(resource: Resource, event: Event) -> NodeDelta:
    """What an event changes. An object that can't be used any more isn't what it was before."""
    section = resource.section
    if event.record is not None:
        return _delta(section, (event.record,), ())
    drop = () if event.key is None else (event.key,)
    return _delta(section, (), drop, () if event.unread is None else (event.unread,))

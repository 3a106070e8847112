"""What was asked of a cluster's state, and whether it would be answered alike by another.

    recording = Recording(cluster)
    trace = trace_json(simulate(recording.cluster, flow))
    reads = recording.reads()
    ...
    reads.hold(newer)              # the same trace comes of `newer`

A change of the state matters to a trace only if a question that the trace put is answered otherwise: a route that is
more specific, a first neighbour entry, a pod that isn't there any more. Of what is the same object as then nothing
needs to be asked again, so to see that a change is of no matter takes as long as looking at the sections that changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.index import Index
from netviz.core.sim.section_views import (
    ABSENT,
    FILLED,
    PLAIN,
    WHOLE,
    Extent,
    IndexView,
    Lookups,
    Raised,
    SectionView,
)
from netviz.core.sim.state_views import Asked, ClusterView, NetnsView, NodeView, are_those, put
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState
from netviz.core.state.section import Section

# The numbers that a kernel gives to what its rules are made of.
HANDLES: Mapping[str, Any] = {"handle": 0, "handles": ()}


class Read(NamedTuple):
    """One question: what kind, to which node ("": to all) and namespace (None: to the node), by which key.

    `kind` is a section, a section's index with a dot between, a field of the namespace's own record, or the name of a
    function that is one question. An `Extent` as the key asks for all of it, or whether there is anything.
    """

    kind: str
    node: str
    netns: NetnsKey | None
    key: Hashable


# A question, what was answered, and what is answered by the state that it is compared with.
Told = tuple[Read, Any, Any]


class Recording:
    """What is asked of a cluster's state through `cluster`, until `reads` is called."""

    def __init__(self, cluster: ClusterState) -> None:
        self._view = ClusterView(cluster)

    @property
    def cluster(self) -> ClusterState:
        """The state, to be read in its stead."""
        return cast(ClusterState, self._view)

    def reads(self) -> Reads:
        """End the recording. What is asked from now on and hasn't been asked before raises Sealed."""
        self._view.seal()
        return Reads(self._view)


class Reads:
    """All questions that were put to a state, with their answers."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def answers(self) -> Iterator[tuple[Read, Any]]:
        """List each question with its answer: `ABSENT` for nothing, an exception where the state is too damaged."""
        return ((read, was) for read, was, _ in _told(self._view, None))

    def changed(self, cluster: ClusterState) -> Iterator[Read]:
        """List the questions that this state answers otherwise."""
        return (read for read, was, now in _told(self._view, cluster) if not _alike(was, now))

    def hold(self, cluster: ClusterState) -> bool:
        """Tell whether this state answers every question alike."""
        return next(self.changed(cluster), None) is None

    def fit(
        self, ns: NetnsKey, other: NetnsState, bodies: Mapping[bytes, Any], sections: tuple[str, ...]
    ) -> bool:
        """Tell whether another namespace answers alike what this one was asked of some sections.

        The handles that each kernel gives to tables, chains, sets and rules count for nothing.
        """
        spaces = [
            space for node in self._view.nodes.views() for space in node.netns.views() if space.key == ns
        ]
        return all(
            _alike(was, now) or _alike(_without_handles(was), _without_handles(now))
            for space in spaces
            for _, was, now in _of_sections(space, other, bodies, sections)
        )

    def sections(self) -> set[tuple[str, str]]:
        """List what was read: (node, section)."""
        return {(view.node, name) for view in self._view.nodes.views() for name in _sections_of(view)}

    def nodes(self) -> set[str]:
        """List the nodes that were looked at."""
        return {view.node for view in self._view.nodes.views()}


def _told(view: ClusterView, now: ClusterState | None) -> Iterator[Told]:
    bodies = now.bodies if now is not None else {}
    yield from _existence("bodies", "", view.bodies, bodies)
    nodes = now.nodes if now is not None else {}
    other_bodies = view.within.differs(bodies)
    if view.nodes.section() is nodes and not other_bodies:
        return
    yield from _existence("nodes", "", view.nodes, nodes)
    yield from _as_one(view.nodes.asked, "", None, nodes if now is not None else None, bodies)
    for node in view.nodes.views():
        there = nodes.get(node.node)
        if now is None or there is not None:
            yield from _of_node(node, there, bodies, other_bodies)


def _of_node(
    view: NodeView, now: NodeState | None, bodies: Mapping[bytes, Any], other_bodies: bool
) -> Iterator[Told]:
    if now is not None and view.was() is now and not other_bodies:
        return
    for field, was in view.fields.items():
        yield Read(field, view.node, None, None), was, getattr(now, field, None)
    yield from _as_one(view.asked, view.node, None, now, bodies)
    netns = now.netns if now is not None else {}
    if view.netns.section() is netns and not other_bodies:
        return
    yield from _existence("namespaces", view.node, view.netns, netns)
    yield from _of_indexes("namespaces", view.node, None, view.netns, netns)
    for space in view.netns.views():
        there = netns.get(space.key)
        if now is None or there is not None:
            yield from _of_netns(space, there, bodies, other_bodies)


def _of_netns(
    view: NetnsView, now: NetnsState | None, bodies: Mapping[bytes, Any], other_bodies: bool
) -> Iterator[Told]:
    node, key = view.key.node, view.key
    if (record := vars(view).get("netns")) is not None:
        there = now.netns if now is not None else None
        for field, was in record.fields.items():
            yield Read(f"netns.{field}", node, key, None), was, getattr(there, field, None)
        yield from _as_one(record.asked, node, key, there, bodies)
    for name, section in vars(view).items():
        if isinstance(section, SectionView):
            records = getattr(now, name, {})
            if section.section() is not records:
                yield from _of_mapping(name, node, key, section, records)
                yield from _of_indexes(name, node, key, section, records)
    asked = view.asked
    if now is not None:
        differing = {take for take, were in view.looked_at.items() if not are_those(were, take(now))}
        asked = {
            one: was
            for one, was in asked.items()
            if one[0].looked_at in differing or (other_bodies and one[0].with_bodies)
        }
    yield from _as_one(asked, node, key, now, bodies)


def _of_mapping(
    kind: str, node: str, netns: NetnsKey | None, view: Lookups, now: Mapping[Any, Any]
) -> Iterator[Told]:
    for key, was in dict.items(view):
        if key is WHOLE:
            yield Read(kind, node, netns, key), was, now
        elif key is FILLED:
            yield Read(kind, node, netns, key), was, bool(now)
        elif isinstance(key, Index):
            yield Read(f"{kind}.{key.name}", node, netns, None), was, _built(key, now)
        else:
            yield Read(kind, node, netns, key), was, now.get(key, ABSENT)
    for key in view.absent or ():
        yield Read(kind, node, netns, key), ABSENT, now.get(key, ABSENT)


def _existence(kind: str, node: str, view: Lookups, now: Mapping[Any, Any]) -> Iterator[Told]:
    """List what was asked of a mapping of which only matters what it has."""
    for key, was in dict.items(view):
        if key is WHOLE:
            yield Read(kind, node, None, key), was.keys(), now.keys()
        elif key is FILLED:
            yield Read(kind, node, None, key), was, bool(now)
        elif isinstance(key, Index):
            yield Read(f"{kind}.{key.name}", node, None, None), was, _built(key, now)
        else:
            yield Read(kind, node, None, key), True, key in now
    for key in view.absent or ():
        yield Read(kind, node, None, key), False, key in now


def _of_indexes(
    kind: str, node: str, netns: NetnsKey | None, view: SectionView, now: Mapping[Any, Any]
) -> Iterator[Told]:
    for index, made in getattr(view, "indexes", {}).items():
        name = f"{kind}.{index.name}"
        there = _built(index, now)
        if isinstance(made, IndexView):
            for field, part in made.parts.items():
                yield from _of_part(f"{name}.{field}", node, netns, part, getattr(there, field, None))
        else:
            yield from _of_part(name, node, netns, made, there)


def _of_sections(
    view: NetnsView, now: NetnsState, bodies: Mapping[bytes, Any], sections: tuple[str, ...]
) -> Iterator[Told]:
    for name, section in vars(view).items():
        if isinstance(section, SectionView) and name in sections:
            yield from _of_mapping(name, view.key.node, view.key, section, getattr(now, name))
            yield from _of_indexes(name, view.key.node, view.key, section, getattr(now, name))
    asked = {one: was for one, was in view.asked.items() if not set(one[0].sections).isdisjoint(sections)}
    yield from _as_one(asked, view.key.node, view.key, now, bodies)


def _without_handles(answer: Any) -> Any:
    """An answer as it would be in any kernel."""
    if isinstance(answer, list | tuple):
        return [_without_handles(one) for one in answer]
    if isinstance(answer, dict):
        return {key: _without_handles(one) for key, one in answer.items()}
    fields = getattr(answer, "__struct_fields__", ())
    blank = {name: empty for name, empty in HANDLES.items() if name in fields}
    return msgspec.structs.replace(answer, **blank) if blank else answer


def _built(index: Index[Any, Any], now: Mapping[Any, Any]) -> Any:
    """Make an index of a section; None where there is no such section, or it is too damaged."""
    try:
        return index(now) if isinstance(now, Section) else None
    except BAD_STATE as err:
        return Raised(type(err), err.args)


def _of_part(kind: str, node: str, netns: NetnsKey | None, was: Any, now: Any) -> Iterator[Told]:
    if isinstance(was, Lookups):
        yield from _of_mapping(kind, node, netns, was, now if isinstance(now, dict) else {})
    elif isinstance(was, PLAIN):
        yield Read(kind, node, netns, None), was, now


def _as_one(
    asked: Asked, node: str, netns: NetnsKey | None, now: Any, bodies: Mapping[bytes, Any]
) -> Iterator[Told]:
    for (question, args), was in asked.items():
        found = put(question, args, now, bodies) if now is not None else None
        read = Read(question.__name__, node, netns, args)
        if question.comparable is None or isinstance(was, Raised) or isinstance(found, Raised):
            yield read, was, found
        else:
            yield read, question.comparable(was), question.comparable(found) if now is not None else None


def _alike(was: Any, now: Any) -> bool:
    return bool(was is now or was == now)


def _sections_of(view: NodeView) -> set[str]:
    """List the sections of a node that were read, in whichever namespace."""
    found = {name for question, _ in view.asked for name in question.sections}
    found.update(name for index in getattr(view.netns, "indexes", ()) for name in index.sections)
    for space in view.netns.views():
        found.update(name for question, _ in space.asked for name in question.sections)
        found.update(
            name
            for name, section in vars(space).items()
            if isinstance(section, SectionView) and (dict.__len__(section) or hasattr(section, "indexes"))
        )
    return found & set(SECTIONS)


__all__ = ["ABSENT", "Extent", "Read", "Reads", "Recording"]

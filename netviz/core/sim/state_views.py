"""Views of a cluster's state that write down what is asked of it.

They are read as the state itself is, by whatever works on one: the walk, the search for a flow's ends, the words.
There is one for each part of the state that is looked at:

    mapping of nodes -> node -> mapping of namespaces -> namespace -> section -> record

A view answers with what the state has, and keeps the question and the answer, "nothing" too. A section keeps which keys
it was asked for; an index of a section, which keys of the index; a function marked by `one_read` is one question,
whatever it looks at. Whoever looks through a section in any other way has asked for all of it: so nothing is read
unrecorded, only sometimes recorded too coarsely.

Each question is put to the state once; after that the view answers by itself. Once sealed, views hold the answers and
have let go of the state (`reads.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast
from weakref import ref

from netviz.core.model.netns import Netns
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.one_read import OneRead
from netviz.core.sim.section_views import (
    ABSENT,
    GONE,
    UNASKED,
    WHOLE,
    Lookups,
    Raised,
    Sealed,
    SectionView,
    put_in,
)
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState
from netviz.core.state.section import Section

Asked = dict[tuple[OneRead, tuple[Any, ...]], Any]


class RecordView:
    """A record that stands alone (a namespace's own): each of its fields is a question."""

    def __init__(self, record: Netns) -> None:
        self._record = record
        self.key = record.key
        self.fields: dict[str, Any] = {}
        self.asked: Asked = {}

    def __getattr__(self, name: str) -> Any:
        found = self.fields[name] = getattr(self._record, name)
        setattr(self, name, found)
        return found

    def read_as_one(self, question: OneRead, args: tuple[Any, ...]) -> Any:
        """Answer a question that counts as one."""
        return answer(self.asked, question, args, self._record, None)

    def seal(self) -> None:
        """Let go of the state."""
        self._record = GONE


class _OfSection:
    """The attribute of a namespace's view that is a section: made when somebody looks at it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, view: NetnsView, _kind: type) -> SectionView:
        made = view.__dict__[self._name] = SectionView(getattr(view.ns, self._name))
        return made


class NetnsView:
    """A namespace. `asked` has the questions to it that count as one."""

    gaps = NetnsState.gaps

    def __init__(self, ns: NetnsState, bodies: BodiesView) -> None:
        self.ns = ns
        self.bodies = bodies
        self.key = ns.key
        self.asked: Asked = {}
        self.looked_at: dict[Callable[[Any], Any], list[ref[Any]]] = {}

    @cached_property
    def netns(self) -> RecordView:
        """The namespace's own record."""
        return RecordView(self.ns.netns)

    def read_as_one(self, question: OneRead, args: tuple[Any, ...]) -> Any:
        """Answer a question that counts as one."""
        return answer(self.asked, question, args, self.ns, self.bodies)

    def seal(self) -> None:
        """Let go of the state; remember which parts of it the questions that count as one have looked at."""
        for take in {question.looked_at for question, _ in self.asked}:
            if take is not None:
                self.looked_at[take] = _refs_to(take(self.ns))
        for part in vars(self).values():
            if type(part) in _PARTS:
                part.seal()
        self.ns = GONE


def _refs_to(taken: Any) -> list[ref[Any]]:
    """Refer weakly to one section, or to each of several, as `attrgetter` returns them."""
    return [ref(taken)] if isinstance(taken, Section) else [*map(ref, taken)]


def are_those(refs: list[ref[Any]], taken: Any) -> bool:
    """Tell whether these are the very sections that are referred to."""
    return all(one is other for one, other in zip(refs, _refs_to(taken), strict=True))


_PARTS = (SectionView, RecordView)
for _name in SECTIONS:
    setattr(NetnsView, _name, _OfSection(_name))


class _Container(SectionView):
    """A mapping whose values are views. Of the mapping itself only matters what it has."""

    __slots__ = ("bodies",)

    def __init__(self, of: Section[Any, Any], bodies: BodiesView) -> None:
        super().__init__(of)
        self.bodies = bodies

    def all(self) -> Mapping[Any, Any]:
        found = dict.get(self, WHOLE)
        if found is None:
            found = dict.fromkeys(self.of.keys())
            put_in(self, WHOLE, found)
        return cast("Mapping[Any, Any]", found)

    def values(self) -> Any:
        return [self[key] for key in self.all()]

    def items(self) -> Any:
        return [(key, self[key]) for key in self.all()]

    def views(self) -> list[Any]:
        """List the views of what was looked at."""
        return [view for view in dict.values(self) if type(view) in _VIEWS]

    def seal(self) -> None:
        super().seal()
        for view in self.views():
            view.seal()


class NamespacesView(_Container):
    """A node's namespaces."""

    __slots__ = ()

    def look_up(self, key: Any) -> Any:
        found = super().look_up(key)
        if found is not ABSENT:
            found = NetnsView(found, self.bodies)
            put_in(self, key, found)
        return found


class NodeView:
    """A node. `fields` are what was asked of the node itself, `asked` the questions that count as one."""

    link = NodeState.link
    root = NodeState.root
    complete = NodeState.complete
    gaps = NodeState.gaps

    def __init__(self, node: NodeState, bodies: BodiesView) -> None:
        self._node = node
        self.bodies = bodies
        self.was = ref(node)
        self.node = node.node
        self.netns = NamespacesView(cast("Section[Any, NetnsState]", node.netns), bodies)
        self.fields: dict[str, Any] = {}
        self.asked: Asked = {}

    def __getattr__(self, name: str) -> Any:
        if name not in NodeState.__struct_fields__:
            raise AttributeError(name)
        found = self.fields[name] = getattr(self._node, name)
        setattr(self, name, found)
        return found

    def read_as_one(self, question: OneRead, args: tuple[Any, ...]) -> Any:
        """Answer a question that counts as one."""
        return answer(self.asked, question, args, self._node, self.bodies)

    def seal(self) -> None:
        """Let go of the state."""
        self._node = GONE
        self.netns.seal()


_VIEWS = (NetnsView, NodeView)


class NodesView(_Container):
    """The mapping of nodes, and the questions to all of it that count as one."""

    __slots__ = ("asked",)

    def __init__(self, nodes: Section[str, NodeState], bodies: BodiesView) -> None:
        super().__init__(nodes, bodies)
        self.asked: Asked = {}

    def look_up(self, key: Any) -> Any:
        found = super().look_up(key)
        if found is not ABSENT:
            found = NodeView(found, self.bodies)
            put_in(self, key, found)
        return found

    def read_as_one(self, question: OneRead, args: tuple[Any, ...]) -> Any:
        """Answer a question that counts as one."""
        return answer(self.asked, question, args, self.of, self.bodies)


class BodiesView(Lookups):
    """The netfilter bodies. What a digest stands for never changes, so only matters whether it is there."""

    __slots__ = ()

    def seal(self) -> None:
        super().seal()
        for key in dict.keys(self):
            put_in(self, key, None)

    def differs(self, bodies: Mapping[bytes, Any]) -> bool:
        """Tell whether one that was looked for has come or gone."""
        came = any(key in bodies for key in self.absent or ())
        return came or not all(key in bodies for key in dict.keys(self))


class ClusterView:
    """A cluster's state as what works on one reads it.

    `within` has the bodies that questions that count as one have looked for: whether those are there is no question by
    itself, but where that has changed such a question has to be put again.
    """

    def __init__(self, cluster: ClusterState) -> None:
        self.bodies = BodiesView(cluster.bodies)
        self.within = BodiesView(cluster.bodies)
        self.nodes = NodesView(cast("Section[str, NodeState]", cluster.nodes), self.within)
        # For words alone: what the API says changes nothing of where packets go, and isn't recorded.
        self.clusters: Mapping[str, NodeState] = cluster.clusters

    def seal(self) -> None:
        """Let go of the state."""
        self.clusters = {}
        self.nodes.seal()
        self.bodies.seal()
        self.within.seal()


def answer(
    asked: Asked, question: OneRead, args: tuple[Any, ...], subject: Any, bodies: Mapping[bytes, Any] | None
) -> Any:
    """Answer a question that counts as one, once; what a damaged state raises is its answer too."""
    key = (question, args)
    found = asked.get(key, UNASKED)
    if found is UNASKED:
        if subject is GONE:
            raise Sealed("the state isn't here any more")
        found = asked[key] = put(question, args, subject, bodies)
    if type(found) is Raised:
        raise found.kind(*found.args)
    return found


def put(question: OneRead, args: tuple[Any, ...], subject: Any, bodies: Mapping[bytes, Any] | None) -> Any:
    """Put a question to a part of the state; returns the answer, or what a damaged state raises."""
    try:
        return (
            question.function(subject, *args, bodies=bodies)
            if question.with_bodies
            else question.function(subject, *args)
        )
    except BAD_STATE as err:
        return Raised(type(err), err.args)

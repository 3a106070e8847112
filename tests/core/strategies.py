"""Hypothesis strategies for state: every record type, drawn from its own annotations.

Values come from small pools, so that keys meet often and a change of one field is likely.
"""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from netviz.core.model.check import wrong_records
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Netns
from netviz.core.state.delta import NetnsDelta, ObjectsDelta
from netviz.core.state.node import SECTIONS, NetnsState, NodeState, SectionStatus
from netviz.core.state.objects import OBJECT_SECTIONS, Objects, cluster_source
from netviz.core.state.section import EMPTY

NODE, CLUSTER = "n1", cluster_source("c1")
MAX_OPTIONAL = 6
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.sampled_from([0, 1, 2, 10, 255, 70_000]),
    float: st.sampled_from([0.0, 1.5]),
    bool: st.booleans(),
    str: st.sampled_from(["", "a", "eth0", "masq", "mount", "process"]),
    bytes: st.sampled_from([b"", b"\x0a\x01\x00\x01", b"\xfd" + bytes(15), b"\x02" + bytes(5)]),
    Any: st.one_of(st.integers(0, 3), st.text("ab", max_size=2), st.binary(max_size=3), st.booleans()),
}
KEYS = [NetnsKey(NODE, 4, ino, gen) for ino in (1, 2, 3) for gen in (0, 1)]


def within(drawn: Any, metadata: tuple[Any, ...]) -> bool:
    """Tell whether a value keeps to the bounds that its type is annotated with."""
    for meta in metadata:
        extra = meta.extra or {}
        if (meta.ge is not None and drawn < meta.ge) or (meta.le is not None and drawn > meta.le):
            return False
        if meta.max_length is not None and not (meta.min_length or 0) <= len(drawn) <= meta.max_length:
            return False
        if drawn not in extra.get("one_of", (drawn,)):
            return False
        if "lengths" in extra and len(drawn) not in extra["lengths"]:
            return False
    return True


@cache
def value(kind: Any) -> st.SearchStrategy[Any]:
    """Draw a value of an annotated type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__metadata__"):
        closed = next(
            (meta.extra["one_of"] for meta in kind.__metadata__ if "one_of" in (meta.extra or {})), None
        )
        if closed is not None:
            return st.sampled_from(closed)
        return value(kind.__origin__).filter(lambda drawn: within(drawn, kind.__metadata__))
    if kind is NetnsKey:
        return st.sampled_from(KEYS)
    if kind in _LEAVES:
        return _LEAVES[kind]
    if kind is type(None):
        return st.none()
    if origin in (typing.Union, types.UnionType):
        return st.one_of([value(arg) for arg in args])
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(value(args[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(value, args))
    if origin is dict:
        return st.dictionaries(value(args[0]), value(args[1]), max_size=2)
    assert issubclass(kind, msgspec.Struct), kind
    return struct(kind)


@cache
def struct(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Draw a struct: required fields always, of the others a few: a link has dozens."""
    hints = typing.get_type_hints(kind, include_extras=True)
    required, optional = {}, {}
    for field in msgspec.structs.fields(kind):
        strategy = st.deferred(lambda hint=hints[field.name]: value(hint))
        (required if field.required else optional)[field.name] = strategy
    names = (
        st.lists(st.sampled_from(sorted(optional)), max_size=MAX_OPTIONAL, unique=True)
        if optional
        else st.just([])
    )
    return (
        names.flatmap(
            lambda chosen: st.fixed_dictionaries({**required, **{name: optional[name] for name in chosen}})
        )
        .map(lambda fields: kind(**fields))
        .filter(lambda record: not [*wrong_records((record,))])
    )


def record_types() -> dict[str, type[Any]]:
    """Every section's record type, read from the delta's annotations."""
    return kinds_of(NetnsDelta, SECTIONS)


def object_types() -> dict[str, type[Any]]:
    """The same of a cluster's objects."""
    return kinds_of(ObjectsDelta, OBJECT_SECTIONS)


def kinds_of(delta: type[Any], sections: tuple[str, ...]) -> dict[str, type[Any]]:
    """The record type of each section's change."""
    hints = typing.get_type_hints(delta)
    return {name: typing.get_args(typing.get_args(hints[name])[0])[0] for name in sections}


def section(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Draw a section: records by their keys."""
    return st.lists(struct(kind), max_size=3).map(lambda rs: {r.key: r for r in rs} or EMPTY)


@st.composite
def netns_states(draw: st.DrawFn, key: NetnsKey) -> NetnsState:
    """Draw a namespace's state with some sections filled."""
    record = msgspec.structs.replace(draw(struct(Netns)), key=key)
    kinds = record_types()
    names = draw(st.lists(st.sampled_from(SECTIONS), max_size=4, unique=True))
    return NetnsState(record, **{name: draw(section(kinds[name])) for name in names})


@st.composite
def node_states(draw: st.DrawFn, status: tuple[str, ...] = ("links", "routes")) -> NodeState:
    """Draw a node's state; each status named is there, so that any two states can be compared."""
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))
    return NodeState(
        NODE,
        kernel=draw(st.sampled_from(["", "6.18"])),
        boot_id=draw(st.sampled_from(["", "b"])),
        netns={key: draw(netns_states(key)) for key in keys} or EMPTY,
        status={name: draw(struct(SectionStatus)) for name in status},
    )


@st.composite
def cluster_sources(draw: st.DrawFn) -> NodeState:
    """Draw the state of a source that speaks for a cluster."""
    kinds = object_types()
    names = draw(st.lists(st.sampled_from(OBJECT_SECTIONS), max_size=4, unique=True))
    objects = Objects(**{name: draw(section(kinds[name])) for name in names})
    return NodeState(CLUSTER, status={"services": draw(struct(SectionStatus))}, objects=objects)


__all__ = [
    "CLUSTER",
    "KEYS",
    "NODE",
    "cluster_sources",
    "node_states",
    "object_types",
    "record_types",
    "section",
    "struct",
    "value",
]

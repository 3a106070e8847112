"""Indexes: what is worth finding out once about a section or a netfilter body, and is asked for again and again.

State is immutable and shares what did not change, so an index that was made stays right. It is kept by what it is an
index of, and ends with it. Sections that are equal share their indexes, whoever made them: the namespaces of a
cluster are alike. No index refers to its owner, so nothing waits for the garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from netviz.core.state.section import Section

S = TypeVar("S")
T = TypeVar("T")

MAX_FEW = 8
MAX_COMPARED = 64  # larger sections are their namespace's own


class Indexes(dict["Index[Any, Any]", Any]):
    """All indexes of equal content."""


_alike: WeakValueDictionary[tuple[Any, ...], Indexes] = WeakValueDictionary()


class Index(Generic[S, T]):
    """A function of a section or a body, whose result is kept by what it was made of.

    Where that is a node's mapping of namespaces, `sections` are those that it looks at in them.
    """

    def __init__(self, build: Callable[[S], T], sections: tuple[str, ...] = ()) -> None:
        self._build = build
        self.name = build.__name__.removeprefix("build_").lstrip("_")
        self.sections = sections

    def __call__(self, owner: S) -> T:
        """Return the index of `owner`, building it at the first call. Raises: TypeError for what can't hold one."""
        try:
            return owner.indexes[self]  # type: ignore[attr-defined, no-any-return]
        except (AttributeError, KeyError):
            return self._make(owner)

    def of_few(self, owner: S) -> T:
        """Return the index of `owner`; of a small section that has none yet, without keeping it.

        To look through few records takes less than to find out whether another section has the same.
        """
        few = isinstance(owner, Section) and len(owner) <= MAX_FEW and not hasattr(owner, "indexes")
        return self._build(owner) if few else self(owner)

    def _make(self, owner: S) -> T:
        view = getattr(owner, "view_index", None)
        if view is not None:
            return view(self)  # type: ignore[no-any-return]
        held = getattr(owner, "indexes", None)
        if held is None:
            held = _of_section(owner) if isinstance(owner, Section) else vars(owner).setdefault("indexes", {})
        if self not in held:
            held[self] = self._build(owner)
        return held[self]  # type: ignore[no-any-return]


def _of_section(owner: Section[Any, Any]) -> Indexes:
    held = Indexes()
    if len(owner) <= MAX_COMPARED:
        with suppress(TypeError):  # some records have no hash
            held = _alike.setdefault(tuple(owner.values()), held)
    owner.indexes = held
    return held

"""Views of sections, and of other mappings of the state, that write down what is asked of them (`state_views.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, cast
from weakref import ref

import msgspec

from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.index import Index
from netviz.core.state.section import Section

# What of an index is compared as it is; of anything else there is no telling, so all of the section was asked for.
PLAIN = (list, frozenset, bool, int, str, bytes, type(None))
_NONE: dict[Any, Any] = {}
_get, put_in = dict.get, dict.__setitem__


class Extent:
    """The key of a question that isn't about one key of a mapping."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


WHOLE, FILLED = Extent("all of it"), Extent("whether there is anything")
ABSENT: Any = Extent("nothing")  # an answer
UNASKED: Any = Extent("not asked")  # no answer


class Sealed(RuntimeError):
    """Something was asked of a view that had been sealed."""


class Raised(NamedTuple):
    """What is raised in place of an answer: the state is damaged."""

    kind: type[Exception]
    args: tuple[Any, ...]


class _Gone:
    """Stands where the state was, once a view is sealed."""

    def __getattr__(self, _name: str) -> NoReturn:
        raise Sealed("the state isn't here any more")


GONE: Any = _Gone()


class Lookups(dict[Any, Any]):
    """A mapping of the state that keeps what it was asked: key -> answer. `of` is that mapping, until it is sealed."""

    __slots__ = ("absent", "of")

    def __init__(self, of: Mapping[Any, Any]) -> None:
        self.of = of
        self.absent: set[Any] | None = None

    def look_up(self, key: Any) -> Any:
        """Put a question to the state."""
        if self.absent is not None and key in self.absent:
            return ABSENT
        found = self.of.get(key, ABSENT)
        if found is not ABSENT:
            put_in(self, key, found)
        elif self.absent is None:
            self.absent = {key}
        else:
            self.absent.add(key)
        return found

    def __missing__(self, key: Any) -> Any:
        found = self.look_up(key)
        if found is ABSENT:
            raise KeyError(key)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        found = _get(self, key, UNASKED)
        if found is not UNASKED:
            return found
        found = self.look_up(key)
        return default if found is ABSENT else found

    def __contains__(self, key: object) -> bool:
        return self.get(key, ABSENT) is not ABSENT

    def __bool__(self) -> bool:
        found = _get(self, FILLED)
        if found is None:
            found = bool(self.of.__len__())
            put_in(self, FILLED, found)
        return bool(found)

    def all(self) -> Mapping[Any, Any]:
        """Return the mapping itself: all of it has been asked for."""
        found = _get(self, WHOLE)
        if found is None:
            found = self.of
            if found is GONE:
                raise Sealed("the state isn't here any more")
            put_in(self, WHOLE, found)
        return cast("Mapping[Any, Any]", found)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def __eq__(self, other: object) -> bool:
        return self.all() == (other.all() if isinstance(other, Lookups) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def keys(self) -> Any:
        return self.all().keys()

    def values(self) -> Any:
        return self.all().values()

    def items(self) -> Any:
        return self.all().items()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a view of the state is only read")

    __setitem__ = __delitem__ = __ior__ = __or__ = __ror__ = __reversed__ = _refuse
    update = pop = popitem = clear = setdefault = copy = _refuse
    __hash__ = None

    def seal(self) -> None:
        """Let go of the state."""
        self.of = GONE


class SectionView(Lookups):
    """A section, and the views of its indexes: an index's mappings keep what they were asked in turn."""

    __slots__ = ("indexes", "section")

    indexes: dict[Index[Any, Any], Any]  # set by the first

    def __init__(self, section: Section[Any, Any]) -> None:
        self.of = section
        self.absent = None
        self.section = ref(section)

    def view_index(self, index: Index[Any, Any]) -> Any:
        """Return an index of the section, as a view. What is raised instead, of a damaged state, is kept too."""
        try:
            made = index(cast("Section[Any, Any]", self.of))
        except BAD_STATE as err:
            put_in(self, index, Raised(type(err), err.args))
            raise
        view = IndexView(self, made) if isinstance(made, msgspec.Struct) else self.part(made)
        try:
            self.indexes[index] = view
        except AttributeError:
            self.indexes = {index: view}
        return view

    def part(self, made: Any) -> Any:
        """Return a part of an index: a mapping as a view, what can be compared as it is."""
        if isinstance(made, dict):
            return Lookups(made)
        if not isinstance(made, PLAIN):
            self.all()
        return made

    def seal(self) -> None:
        self.of = GONE
        for view in getattr(self, "indexes", _NONE).values():
            if type(view) in _OF_INDEX:
                view.seal()


class IndexView:
    """An index of several fields, each of which is a part of its own once somebody looks at it."""

    def __init__(self, section: SectionView, made: msgspec.Struct) -> None:
        self._section, self._made = section, made
        self.parts: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        view = self.parts[name] = self._section.part(getattr(self._made, name))
        setattr(self, name, view)
        return view

    def seal(self) -> None:
        """Let go of the state."""
        self._section = self._made = GONE
        for view in self.parts.values():
            if isinstance(view, Lookups):
                view.seal()


_OF_INDEX = (Lookups, IndexView)

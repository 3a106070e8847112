"""Tell records that keep to what `bounds` says from those that don't.

What msgspec checks while it decodes isn't checked again: here are lengths, closed lists and `Check`s.
A whole list of records is looked at by column, at the speed of `map`, and each kind of value once: so a
list of right records costs about 0.1 us a field and record. A list with a wrong record is halved until that
one stands alone.
"""

from __future__ import annotations

import types
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

from netviz.core.model.bounds import Check

# What values may come to within one record: they are nested, and what holds of one holds of all inside it.
_Values = Callable[[Sequence[Any]], Iterable[Any]]


MAX_SHAPES = 4096


def wrong_records(records: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Yield each record that breaks a bound, and how. All are of one class."""
    if not records or (checker := checker_of(type(records[0]))).nothing:
        return
    if not (words := checker.problem(records)):
        return
    if len(records) == 1:
        yield records[0], words
        return
    middle = len(records) // 2
    yield from wrong_records(records[:middle])
    yield from wrong_records(records[middle:])


def decoder_words(err: Exception) -> str:
    """What a decoder complains of, as people read it: the place first, without its marks."""
    words, _, place = (str(err) or type(err).__name__).partition(" - at `$")
    words = (
        words.replace("`", "").replace("Expected", "expected", 1).replace("Object missing", "lacks the", 1)
    )
    place = place.strip("`.")
    return f"{place}: {words}" if place else words


_Look = Callable[[Any], Any] | None
_Test = Callable[[Sequence[Any]], str]


class _Checker:
    """What is checked of one class.

    Everything that is looked at of a record's own fields makes its *shape*: lengths, and values that are
    in closed lists or ranges that depend on each other. There are few shapes, so one that was found
    right is known, and a record costs no more than the making of its shape. `tests` look at the parts of records.
    """

    def __init__(self, kind: type[Any]) -> None:
        self._columns: dict[tuple[str, _Look], Callable[[Sequence[Any]], Iterable[Any]]] = {}
        self._rules: list[tuple[tuple[int, ...], Callable[..., str]]] = []
        self._right: set[tuple[Any, ...]] = set()
        self._tests: list[_Test] = []
        hints = typing.get_type_hints(kind, include_extras=True)
        for check in getattr(kind, "checks", ()):
            self._add_rule(check)
        for name in kind.__struct_fields__:
            self._add_field(name, hints[name])

    @property
    def nothing(self) -> bool:
        """There is nothing to check."""
        return not self._rules and not self._tests

    def problem(self, records: Sequence[Any]) -> str:
        """Say what is wrong with some of the records, or "" when all keep to their bounds."""
        if self._rules:
            shapes = set(zip(*(look(records) for look in self._columns.values()), strict=True))
            for shape in shapes - self._right:
                for places, problem in self._rules:
                    if words := problem(*(shape[place] for place in places)):
                        return words
            if len(self._right) > MAX_SHAPES:
                self._right.clear()
            self._right |= shapes
        return next((words for test in self._tests if (words := test(records))), "")

    def _add_rule(self, check: Check) -> None:
        self._rules.append((tuple(self._column(*one) for one in check.columns), check.problem))

    def _column(self, field: str, look: _Look) -> int:
        """The place of a column in a shape."""
        get = attrgetter(field)
        if look is None:
            self._columns.setdefault((field, look), lambda records: map(get, records))
        else:
            self._columns.setdefault((field, look), lambda records: map(look, map(get, records)))
        return list(self._columns).index((field, look))

    def _add_field(self, name: str, hint: Any) -> None:
        get = attrgetter(name)
        for meta in getattr(hint, "__metadata__", (None,)):
            if (rule := _bound_rule(name, meta)) is not None:
                self._add_rule(rule)
            else:
                self._add_parts(name, hint, lambda records: map(get, records))

    def _add_parts(self, name: str, hint: Any, values: _Values) -> None:
        """Add tests of what a field holds; `values` gives that, over a list of records."""
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if hasattr(hint, "__metadata__"):
            for meta in hint.__metadata__:
                if (rule := _bound_rule(name, meta)) is not None:
                    self._tests.append(_value_test(rule, values))
                elif (problem := _extra(meta).get("problem_of_all")) is not None:
                    self._tests.append(
                        lambda records: f"{name}: {words}" if (words := problem(values(records))) else ""
                    )
        elif origin is tuple and args[-1] is Ellipsis:
            self._add_parts(name, args[0], lambda records: chain.from_iterable(values(records)))
        elif origin in (typing.Union, types.UnionType):
            kinds = [one for one in args if one is not type(None)]
            if len(kinds) == 1:
                self._add_parts(name, kinds[0], lambda records: (v for v in values(records) if v is not None))
            else:
                self._tests.append(_any_struct_test(name, values))
        elif (
            isinstance(hint, type)
            and issubclass(hint, msgspec.Struct)
            and not (checker := checker_of(hint)).nothing
        ):
            self._tests.append(_struct_test(name, checker, values))


_checkers: dict[type[Any], _Checker] = {}


def checker_of(kind: type[Any]) -> _Checker:
    """Return what checks records of a class; made once."""
    known = _checkers.get(kind)
    if known is None:
        known = _checkers[kind] = _Checker(kind)
    return known


def _extra(meta: Any) -> dict[str, Any]:
    return meta.extra if isinstance(meta, msgspec.Meta) and meta.extra else {}


def _bound_rule(name: str, meta: Any) -> Check | None:
    extra = _extra(meta)
    if (lengths := extra.get("lengths")) is not None:
        return Check(
            ((name, len),),
            lambda length: "" if length in lengths else f"{name}: {length} bytes, not {_either(lengths)}",
        )
    if (closed := extra.get("one_of")) is not None:
        return Check(
            ((name, None),),
            lambda value: "" if value in closed else f"{name}: {value!r:.40}, not {_either(closed)}",
        )
    return None


def _value_test(rule: Check, values: _Values) -> _Test:
    ((_, look),) = rule.columns

    def test(records: Sequence[Any]) -> str:
        found = values(records)
        seen = set(found) if look is None else set(map(look, found))
        return next((words for value in seen if (words := rule.problem(value))), "")

    return test


def _either(values: Iterable[Any]) -> str:
    *most, last = (str(value) for value in values)
    return f"{', '.join(most)} or {last}"


def _struct_test(name: str, checker: _Checker, values: _Values) -> _Test:
    def test(records: Sequence[Any]) -> str:
        words = checker.problem(tuple(values(records)))
        return f"{name}.{words}" if words else ""

    return test


def _any_struct_test(name: str, values: _Values) -> _Test:
    def test(records: Sequence[Any]) -> str:
        parts: dict[type[Any], list[Any]] = defaultdict(list)
        for part in values(records):
            if isinstance(part, msgspec.Struct):
                parts[type(part)].append(part)
        for kind, found in parts.items():
            if not (checker := checker_of(kind)).nothing and (words := checker.problem(found)):
                return f"{name}.{words}"
        return ""

    return test

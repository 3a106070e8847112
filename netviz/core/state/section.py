"""A section: record key -> record, never changed once it is made.

A section carries the indexes that were made of it (core/sim/index.py), so that they live exactly as long as it does:
a state that nobody holds any more takes all of its indexes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Section(dict[K, V]):
    """An immutable mapping that can hold indexes of itself."""

    __slots__ = ("__weakref__", "indexes")

    indexes: dict[Any, Any]

    @classmethod
    def of(cls, records: Mapping[K, V]) -> Section[K, V]:
        """Return a mapping as a section: itself, if it is one."""
        return records if isinstance(records, cls) else cls(records)

    def changed(self, drop: Iterable[K], put: Mapping[K, V]) -> Section[K, V]:
        """Return a copy without some keys and with other entries; EMPTY if nothing is left."""
        made = Section(self)
        for key in drop:
            dict.pop(made, key, None)
        dict.update(made, put)
        return made if made else EMPTY

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a section is never changed: make another one")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = pop = popitem = clear = setdefault = _refuse


EMPTY: Section[Any, Any] = Section()

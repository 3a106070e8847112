"""Indexes over sections, built once for each section object and found again by its identity.

State is immutable and shares what did not change, so an unchanged section is the same object in the
next state: an index made for it stays right. An index is kept together with its section, so an
identity cannot be reused while its index lives. The caches are bounded: past the bound, the oldest
half goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

CACHE_SIZE = 16384


class ByIdentity(Generic[S, T]):
    """A function of a section that remembers its result for as long as the section is in use."""

    def __init__(self, build: Callable[[S], T], size: int = CACHE_SIZE) -> None:
        self._build = build
        self._size = size
        self._hits: dict[int, tuple[S, T]] = {}

    def __call__(self, section: S) -> T:
        """Return the index of `section`, building it at the first call."""
        hit = self._hits.get(id(section))
        if hit is not None and hit[0] is section:
            return hit[1]
        if len(self._hits) >= self._size:
            for key in list(self._hits)[: self._size // 2]:
                self._hits.pop(key, None)
        built = self._build(section)
        self._hits[id(section)] = (section, built)
        return built

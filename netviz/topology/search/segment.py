"""A bounded part of what can be found, as one text to search through.

Each entry is a line of fields in lower case, each field behind FIELD. So one `str.find` looks through thousands of
entries, and a needle behind FIELD finds those whose field begins with it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

FIELD, END = "\x1f", "\n"


class Entry(NamedTuple):
    """Something to be found. `key` is what its type is known by (docs/api.md); `node` is where it is, "" of no one node.

    `of` is what several nodes may have (tables.py), None of what is in one place.
    """

    type: str
    key: str
    name: str
    where: str
    node: str
    fields: tuple[str, ...]
    of: Any = None


class Segment:
    """Some entries."""

    __slots__ = ("_starts", "entries", "text")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        starts, lines, at = array("L"), [], 0
        for entry in self.entries:
            line = FIELD + FIELD.join((entry.name, *entry.fields)).lower().replace(END, " ") + END
            starts.append(at)
            lines.append(line)
            at += len(line)
        self._starts, self.text = starts, "".join(lines)

    def find(self, needle: str, at: int) -> Iterator[Entry]:
        """Yield the entries whose line has a needle, which is at `at` first."""
        text = self.text
        while at >= 0:
            number = bisect_right(self._starts, at) - 1
            yield self.entries[number]
            if number + 1 == len(self.entries):
                return
            at = text.find(needle, self._starts[number + 1])

"""Which of the ranges that tables and rules compare with an address lies in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable

from netviz.core.check.paths.rulesets import Range


class Spans:
    """Labelled ranges of addresses; for an address, the labels of all that it lies in."""

    def __init__(self, ranges: Iterable[tuple[Range, Hashable]]) -> None:
        starts: dict[int, list[tuple[bytes, int, Hashable]]] = {4: [], 16: []}
        singles: dict[bytes, set[Hashable]] = {}
        for (low, high), label in ranges:
            if low == high:
                singles.setdefault(low, set()).add(label)
            elif len(low) in starts and low < high:
                starts[len(low)] += [(low, 1, label), (_next(high), -1, label)]
        self._singles = {addr: frozenset(labels) for addr, labels in singles.items()}
        self._bounds: dict[int, list[bytes]] = {}
        self._labels: dict[int, list[frozenset[Hashable]]] = {}
        for width, events in starts.items():
            self._sweep(width, events)

    def _sweep(self, width: int, events: list[tuple[bytes, int, Hashable]]) -> None:
        bounds: list[bytes] = [bytes(width)]
        labels: list[frozenset[Hashable]] = [frozenset()]
        open_: dict[Hashable, int] = {}
        for at, change, label in sorted(events, key=lambda event: event[0]):
            open_[label] = open_.get(label, 0) + change
            now = frozenset(one for one, count in open_.items() if count)
            if at == bounds[-1]:
                labels[-1] = now
            else:
                bounds.append(at)
                labels.append(now)
        self._bounds[width], self._labels[width] = bounds, labels

    def of(self, addr: bytes) -> frozenset[Hashable]:
        """Return the labels of the ranges that an address lies in."""
        width = len(addr)
        found = self._labels[width][bisect_right(self._bounds[width], addr) - 1]
        single = self._singles.get(addr)
        return found | single if single else found


def _next(addr: bytes) -> bytes:
    """Return the address after one; the last stays, with one byte more, so that it is past all."""
    number = int.from_bytes(addr, "big") + 1
    return number.to_bytes(len(addr), "big") if number < 1 << len(addr) * 8 else addr + b"\0"

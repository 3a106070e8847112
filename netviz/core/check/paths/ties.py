"""What nodes know of one another: for each node, what its tables say of every other, most of it the same.

A `unit` is the pods of one node that no other node's table tells apart. `tie(X, unit)` is the set of the forms of X's
facts about it. Nearly all ties of a node are equal: that is its `default`; the others are listed. Tables are compared
with the last ones seen, so a table that thousands share is looked through once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from netviz.core.check.paths.local import Fact, Interner
from netviz.core.check.paths.names import Names, Prefix
from netviz.core.model.ids import NetnsKey

KEPT_BASES = 4
Unit = int


class Ties(msgspec.Struct):
    """A node's ties: what it knows of most units, and of those of which that isn't so."""

    default: int
    others: dict[Unit, int]

    def of(self, unit: Unit) -> int:
        """Return the tie with a unit."""
        return self.others.get(unit, self.default)


class Units:
    """Which pods no other node's table tells apart, and which facts are about them."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.of_pod: dict[NetnsKey, Unit] = {}
        self.node_of: list[str] = []
        self.of_node: dict[str, list[Unit]] = {}
        self.zones: list[frozenset[Prefix]] = []
        self._known: dict[tuple[str, frozenset[Prefix]], Unit] = {}
        self._prefixes: dict[str, set[Prefix]] = {}

    def build(self, facts: Iterable[Fact]) -> None:
        """Find all units, given all facts that some node holds."""
        self.__init__(self._names)  # type: ignore[misc]
        self._prefixes = defaultdict(set)
        for fact in facts:
            if fact.prefix is not None:
                self._prefixes[fact.owner].add(fact.prefix)
        for node in self._names.nodes:
            self.place(node)

    def grows(self, facts: Iterable[Fact]) -> bool:
        """Tell whether facts speak of prefixes that no node's table had."""
        return any(f.prefix is not None and f.prefix not in self._prefixes.get(f.owner, ()) for f in facts)

    def place(self, node: str) -> bool:
        """Put a node's pods into units; tells whether a unit came into being."""
        names = self._names.nodes.get(node)
        before = len(self.zones)
        zones: dict[NetnsKey, set[Prefix]] = {key: set() for key in names.pods} if names is not None else {}
        for prefix in self._prefixes.get(node, ()):
            for addr in self._names.in_prefix(prefix):
                key = names.addrs.get(addr) if names is not None else None
                if key in zones:
                    zones[key].add(prefix)
        units: dict[Unit, None] = {}
        for key, zone in zones.items():
            unit = self._unit(node, frozenset(zone))
            units[unit] = None
            self.of_pod[key] = unit
        self.of_node[node] = list(units)
        return len(self.zones) > before

    def _unit(self, node: str, zone: frozenset[Prefix]) -> Unit:
        found = self._known.setdefault((node, zone), len(self.zones))
        if found == len(self.zones):
            self.zones.append(zone)
            self.node_of.append(node)
        return found

    def about(self, fact: Fact) -> list[Unit]:
        """List the units that a fact is about: those in its prefix; all of the node where it is of the node's links."""
        units = self.of_node.get(fact.owner, ())
        if fact.prefix is None:
            return list(units)
        inside = [unit for unit in units if fact.prefix in self.zones[unit]]
        return inside or list(units)


class Held(msgspec.Struct, frozen=True):
    """The facts that a node holds, as they differ from a table seen before."""

    base: frozenset[int]
    more: frozenset[int]
    less: frozenset[int]


class Bases:
    """Tables seen before, that others are compared with: thousands of nodes hold nearly the same."""

    def __init__(self) -> None:
        self._bases: list[frozenset[int]] = []

    def held(self, facts: frozenset[int]) -> Held:
        """Return facts as they differ from a known table, which this one becomes where none is like it."""
        most = max(64, len(facts) // 8)
        for at, base in enumerate(self._bases):
            if abs(len(base) - len(facts)) > most:
                continue
            more = facts - base
            if len(more) <= most:
                if at:
                    self._bases.insert(0, self._bases.pop(at))
                return Held(base, more, base - facts)
        self._bases = [facts, *self._bases[: KEPT_BASES - 1]]
        return Held(facts, frozenset(), frozenset())


class _Base(msgspec.Struct):
    """The ties of a table seen before."""

    default: int
    others: dict[Unit, int]


class Table:
    """Makes nodes' ties of the facts that they hold."""

    def __init__(self, units: Units, facts: list[Fact], intern: Interner) -> None:
        self._units = units
        self._facts = facts
        self._intern = intern
        self._about: dict[int, list[Unit]] = {}
        self._by_unit: dict[Unit, set[int]] = defaultdict(set)
        self._known: dict[int, tuple[frozenset[int], _Base]] = {}

    def _units_of(self, number: int) -> list[Unit]:
        found = self._about.get(number)
        if found is None:
            found = self._about[number] = self._units.about(self._facts[number])
            for unit in found:
                self._by_unit[unit].add(number)
        return found

    def _tie(self, facts: Iterable[int]) -> int:
        return self._intern(("tie", frozenset([self._facts[number].form for number in facts])))

    def ties(self, node: str, held: Held) -> Ties:
        """Return a node's ties."""
        base = self._base(held.base)
        others = dict(base.others)
        for unit in {unit for number in (*held.more, *held.less) for unit in self._units_of(number)}:
            about = self._by_unit[unit]
            tie = self._tie(((held.base & about) - held.less) | (held.more & about))
            if tie == base.default:
                others.pop(unit, None)
            else:
                others[unit] = tie
        for unit in self._units.of_node.get(node, ()):
            others.pop(unit, None)
        return Ties(base.default, others)

    def _base(self, facts: frozenset[int]) -> _Base:
        known = self._known.get(id(facts))
        if known is not None:
            return known[1]
        by_unit: dict[Unit, list[int]] = {
            unit: [] for units in self._units.of_node.values() for unit in units
        }
        for number in facts:
            for unit in self._units_of(number):
                by_unit.setdefault(unit, []).append(number)
        ties = {unit: self._tie(numbers) for unit, numbers in by_unit.items()}
        counts = Counter(ties.values())
        default = counts.most_common(1)[0][0] if counts else self._tie(())
        made = _Base(default, {unit: tie for unit, tie in ties.items() if tie != default})
        if len(self._known) >= 4 * KEPT_BASES:
            self._known.clear()
        self._known[id(facts)] = (facts, made)
        return made

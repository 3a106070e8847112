"""What a check of state is made of.

A `Fact` demands something of every node, and looks at one node at a time (`find`); what it has to know of the others it
asks of a `Table`. A table holds what every node has of one sort (addresses, MACs, ends of tunnels) by a key. It is
built of one node alone, so it follows the cluster by differences, and who asked for a key is asked again when
what stands there changes. Where it is the entries under one key that must agree, `across` judges them together, once for
each key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from netviz.core.check.problem import NodeHealth, Problem
from netviz.core.check.wiring import Wiring
from netviz.core.model.netfilter import Body
from netviz.core.state.node import NetnsState

V = TypeVar("V")
Held = Mapping[Any, V]  # what one node has: key -> value


class Table(Generic[V]):
    """What each node has of one sort. `sections` are those that `build` reads."""

    def __init__(self, name: str, sections: Iterable[str], build: Callable[[Wiring], Held[V]]) -> None:
        self.name = name
        self.sections = frozenset(sections)
        self.build = build

    def __repr__(self) -> str:
        return f"Table({self.name})"


Asked = dict[Table[Any], set[Hashable]]  # what a look asked: table -> keys


class Gathered(Generic[V]):
    """A table over all nodes: what each has, and who has a key."""

    def __init__(self) -> None:
        self._held: dict[str, Held[V]] = {}
        self._nodes: dict[Hashable, str | dict[str, None]] = {}  # a set where it isn't one

    def put(self, node: str, held: Held[V]) -> set[Hashable]:
        """Take what a node has now; return the keys under which something changed."""
        old: Held[V] = self._held.get(node, {})
        gone = {key for key in old if key not in held}
        came = {key for key in held if key not in old}
        moved = {key for key in held if key in old and old[key] != held[key]}
        for key in gone:
            names = self._nodes[key]
            if isinstance(names, str):
                del self._nodes[key]
            else:
                del names[node]
                if len(names) == 1:
                    (self._nodes[key],) = names
        for key in came:
            known = self._nodes.get(key)
            if known is None:
                self._nodes[key] = node
            elif isinstance(known, str):
                self._nodes[key] = {known: None, node: None}
            else:
                known[node] = None
        if held:
            self._held[node] = held
        else:
            self._held.pop(node, None)
        return gone | came | moved

    def get(self, key: Hashable) -> list[tuple[str, V]]:
        """List (node, what it has) of a key, by node."""
        names = self._nodes.get(key)
        if names is None:
            return []
        if isinstance(names, str):
            return [(names, self._held[names][key])]
        return [(name, self._held[name][key]) for name in sorted(names)]


class Api(msgspec.Struct, frozen=True):
    """How what the Kubernetes API says is known: by which sources, and why it may not be so now, or ""."""

    sources: tuple[str, ...] = ()
    doubt: str = ""


NO_API = Api()


class Look:
    """One node, as a check looks at it. `memory` is what the check left there when it looked last, or None.

    `shared` is for what a check works out once for all nodes: content -> what it found there. With `only`, nothing but
    the answers to these questions is new since then, and `memory`, `asked` and `judged` are as they were left.
    """

    def __init__(
        self,
        fact: Fact,
        wiring: Wiring,
        gathered: Mapping[Table[Any], Gathered[Any]],
        bodies: Mapping[bytes, Body],
        health: NodeHealth,
        api: Api = NO_API,
    ) -> None:
        self.wiring, self.bodies, self.health, self.api = wiring, bodies, health, api
        self.memory: Any = None
        self.shared: dict[Any, Any] = {}
        self.only: frozenset[Hashable] | None = None
        self.node = wiring.node
        self.judged = 0
        self.asked: Asked = {}
        self.unknown: dict[str, None] = {}  # reasons, beside sections that aren't whole
        self._gathered = gathered
        self._needs = fact.needs

    def find(self, table: Table[V], key: Hashable) -> list[tuple[str, V]]:
        """List (node, what it has) of a key, by node; the check looks at this node again when that changes."""
        asked = self.asked.get(table)
        if asked is None:
            asked = self.asked[table] = set()
        asked.add(key)
        return self._gathered[table].get(key)

    def recall(self) -> dict[Hashable, list[Problem]]:
        """What was found last, by the question that it hangs on, but for what is to be looked at now.

        What is put in is remembered.
        """
        kept = self.memory if self.only is not None else {}
        self.memory = {key: found for key, found in kept.items() if not self.asks_again(key)}
        found: dict[Hashable, list[Problem]] = self.memory
        return found

    def asks_again(self, key: Hashable) -> bool:
        """Tell whether what hangs on a question is to be looked at now."""
        return self.only is None or key in self.only

    def lacks_second_reading(self, section: str) -> None:
        """Say that what rose isn't known: the section's counters were read once, and when they are read again."""
        status = self.node.status.get(section)
        within = f", the second comes within {status.max_age_s:.0f} s" if status and status.max_age_s else ""
        self.unknown[f"{self.node.node}: two readings of its counters are compared{within}"] = None

    @property
    def blind(self) -> bool:
        """Something that the check needs isn't known of any namespace of the node."""
        return not self.wiring.missing.keys().isdisjoint(self._needs)

    def whole(self, ns: NetnsState) -> bool:
        """Tell whether all that the check needs of a namespace is here."""
        if not ns.netns.gaps and not ns.refused:
            return True
        return all(gap.section not in self._needs for gap in ns.gaps)

    @property
    def root(self) -> NetnsState | None:
        """The node's own namespace, if that is known well enough."""
        root = self.wiring.root
        return root if root is not None and self.whole(root) else None

    @property
    def pods(self) -> list[NetnsState]:
        """The pods' namespaces that are known well enough."""
        return [ns for ns in self.wiring.pods if self.whole(ns)]

    def rests_on(self, *others: str) -> tuple[tuple[str, str], ...]:
        """What a problem of this node, and of other ones, is judged from."""
        return rests_on((self.node.node, *others), self._needs)


class Fact(msgspec.Struct, frozen=True, eq=False):
    """One check of state.

    `demands` is the sentence that it holds the cluster to, `unit` what it counts, `kinds` the kinds of problems that it
    finds (docs/problems.md). `needs` are the sections without which it can't judge, `reads` those that it looks at
    besides. `asks` are the tables that `find` asks, and `table` the one whose entries `across` judges together.
    `by_key` is a table of which `find` can look at single answers again (`Look.only`). `lazy`: it reads what is large and changes all the time, so it looks when there is time. `compares`: what it finds
    is between successive states, so one alone says nothing. `watches_health`: it looks at the collectors too.
    """

    name: str
    demands: str
    unit: str
    kinds: tuple[str, ...]
    needs: tuple[str, ...]
    find: Callable[[Look], Iterable[Problem]]
    reads: tuple[str, ...] = ()
    asks: tuple[Table[Any], ...] = ()
    table: Table[Any] | None = None
    across: Callable[[Hashable, list[tuple[str, Any]]], Iterable[Problem]] | None = None
    watches_health: bool = False
    by_key: Table[Any] | None = None
    lazy: bool = False
    compares: bool = False


def rests_on(nodes: Iterable[str], sections: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pair nodes with sections."""
    return tuple((node, section) for node in dict.fromkeys(nodes) for section in sections)

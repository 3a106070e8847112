"""Which flows stand for all: a key for every pair of pods that differ in nothing but names, and one pair of each.

    far    on two nodes: the two pods' kinds, and what the two nodes know of each other's pods
    near   on one node
    self   a pod and itself
    home   a pod and its node, both ways
    net    a pod and the internet

Where kinds multiply, pairs of rare kinds are not traced: what becomes of a packet is decided on this side of the wire and
on that, so each is held to the commonest kind, and a pair is as good as its two halves. What a rule makes of two pods isn't
decided by halves (a policy lets some in, and not others): so one pair is traced for each two sorts that rules tell apart.
Pairs that name each other are traced all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from netviz.core.check.paths.world import World
from netviz.core.model.ids import NetnsKey

Key = tuple[str, int, int, int, int]
# As many classes are traced each with each, on the whole and on one node.
ALL_WITH_ALL = 16
ALL_ON_NODE = 4
MAX_FILTERED = 64
SEARCHED = 200


class Pair(NamedTuple):
    """A key, and the two pods that stand for it; a pod alone is its own target."""

    key: Key
    source: NetnsKey
    target: NetnsKey


class Pairs:
    """The pairs of a world, as it is now."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.classes: list[int] = []
        self.star = -1
        self.undecided = False  # whether there are more sorts than are traced with each other
        self._rank: dict[int, int] = {}
        self.between: dict[tuple[str, int, int], Key] = {}  # what two sorts that rules tell apart come to
        self.rank(lambda _key: True)

    def rank(self, is_good: Callable[[Key], bool]) -> None:
        """Put the classes in order: those first whose pods reach their node, the commonest of them first."""
        members = self.world.members
        good = {cls: is_good(self._alone("home", cls).key) for cls in members}
        self.classes = sorted(members, key=lambda cls: (not good[cls], -len(members[cls]), cls))
        self.star = self.classes[0] if self.classes else -1
        self._rank = {cls: at for at, cls in enumerate(self.classes)}

    def commonest(self, classes: Iterable[int]) -> int:
        """Return the class of some that the others are held to."""
        return min(classes, key=self._rank.__getitem__)

    def _alone(self, what: str, cls: int) -> Pair:
        pod, kind = next(iter(self.world.members[cls].items()))
        return Pair((what, kind, kind, 0, 0), pod, pod)

    def alone(self) -> Iterator[Pair]:
        """List what is asked of each pod by itself."""
        for cls in self.classes:
            for what in ("home", "self", "net"):
                yield self._alone(what, cls)

    def together(self) -> Iterator[Pair]:
        """List the pairs of two pods that have to be traced."""
        yield from self._near()
        yield from self._far()
        yield from self._odd()
        yield from self._filtered()

    def _near(self) -> Iterator[Pair]:
        seen: set[Key] = set()
        for mix, nodes in self.world.mixes.items():
            entry = self.world.nodes[next(iter(nodes))]
            there: dict[int, list[NetnsKey]] = {}
            for key, pod in entry.pods.items():
                there.setdefault(pod.cls, []).append(key)
            classes = sorted(
                ((self._rank[cls], several, there[cls]) for cls, several in mix), key=lambda c: c[0]
            )
            for at, (_, several, sources) in enumerate(classes):
                for number, (_, _, targets) in enumerate(classes):
                    if at == number and not several:
                        continue
                    pair = self._pair("near", sources[0], targets[-1])
                    common = min(at, number) == 0 or max(at, number) < ALL_ON_NODE or at == number
                    if pair.key not in seen and (common or not self._is_filtered_alike("near", pair)):
                        seen.add(pair.key)
                        yield pair

    def _is_filtered_alike(self, what: str, pair: Pair) -> bool:
        """Tell whether two sorts that rules tell apart have been met already; note them."""
        one, other = self.world.pod(pair.source).filtered, self.world.pod(pair.target).filtered
        return self.between.setdefault((what, one, other), pair.key) != pair.key

    def _far(self) -> Iterator[Pair]:
        every = len(self.classes) <= ALL_WITH_ALL
        for one in self.classes:
            others = self.classes if every or one == self.star else self._held_to(one)
            for other in others:
                found = self._two(one, other)
                if found is not None:
                    yield self._pair("far", *found)

    def _held_to(self, cls: int) -> list[int]:
        """List the classes that a rare one is traced with: the commonest, itself, and those that it names."""
        marks = self._marks(cls)
        named = [o for o in self.classes if o not in (cls, self.star) and marks and marks & self._marks(o)]
        return [self.star, cls, *named]

    def _marks(self, cls: int) -> frozenset[bytes]:
        """Return the names of others that stand in a class's form, and its own that stand in others'."""
        key = next(iter(self.world.members[cls]))
        return self.world.marks_of(key)

    def _two(self, one: int, other: int) -> tuple[NetnsKey, NetnsKey] | None:
        """Find pods of two classes on different nodes that know of each other what they know of most."""
        for source in islice(self.world.members[one], SEARCHED):
            for target in islice(self.world.members[other], SEARCHED):
                if source.node != target.node and self.is_usual(source, target):
                    return source, target
            if one == other and len(self.world.members[one]) == 1:
                break
        return None

    def is_usual(self, source: NetnsKey, target: NetnsKey) -> bool:
        """Tell whether two nodes know of each other's pods what they know of most."""
        world = self.world
        return (
            world.units.of_pod[target] not in world.nodes[source.node].ties.others
            and world.units.of_pod[source] not in world.nodes[target.node].ties.others
        )

    def _odd(self) -> Iterator[Pair]:
        """List one pair of each key of nodes of which one knows the other otherwise than most."""
        seen: set[Key] = set()
        for pair in self.odd():
            if pair.key not in seen:
                seen.add(pair.key)
                yield pair

    def odd(self) -> Iterator[Pair]:
        """List pairs of all nodes of which one knows the other otherwise than most, both ways."""
        for name, others in self.world.odd_ties():
            mine = self._by_unit(name)
            for unit, there in others:
                theirs = self._by_unit(there).get(unit, ())
                for source in (key for sources in mine.values() for key in sources):
                    for target in theirs:
                        yield self._pair("far", source, target)
                        yield self._pair("far", target, source)

    def _filtered(self) -> Iterator[Pair]:
        """List a pair for each two sorts of pods that rules tell apart, where not all classes are traced with all."""
        if len(self.classes) <= ALL_WITH_ALL:
            return
        sorts: dict[int, int] = {}
        for cls in self.classes:
            key = next(iter(self.world.members[cls]))
            sorts.setdefault(self.world.pod(key).filtered, cls)
        self.undecided = len(sorts) > MAX_FILTERED
        if self.undecided:
            return
        for one, cls in sorts.items():
            for other, there in sorts.items():
                found = self._two(cls, there)
                if found is not None:
                    pair = self._pair("far", *found)
                    self.between["far", one, other] = pair.key
                    yield pair

    def _by_unit(self, name: str) -> dict[int, list[NetnsKey]]:
        """Return of each of a node's units a pod of each kind, the commonest first; where there are many, one alone."""
        found: dict[int, dict[int, NetnsKey]] = {}
        world = self.world
        for key, pod in world.nodes[name].pods.items():
            found.setdefault(world.units.of_pod[key], {}).setdefault(pod.cls, key)
        most = ALL_ON_NODE if len(self.classes) <= ALL_WITH_ALL else 1
        return {
            unit: sorted(kinds.values(), key=lambda key: self._rank[world.pod(key).cls])[:most]
            for unit, kinds in found.items()
        }

    def _pair(self, what: str, source: NetnsKey, target: NetnsKey) -> Pair:
        return Pair(self.key(what, source, target), source, target)

    def key(self, what: str, source: NetnsKey, target: NetnsKey) -> Key:
        """Return the key of a pair."""
        world = self.world
        kinds = (world.pod(source).kind, world.pod(target).kind)
        if what != "far":
            return (what, *kinds, 0, 0)
        forward = world.nodes[source.node].ties.of(world.units.of_pod[target])
        back = world.nodes[target.node].ties.of(world.units.of_pod[source])
        return (what, *kinds, forward, back)

    def key_of(self, source: NetnsKey, target: NetnsKey) -> Key:
        """Return the key of any two pods."""
        what = "self" if source == target else "near" if source.node == target.node else "far"
        return self.key(what, source, target)

    def halves(self, source: NetnsKey, target: NetnsKey) -> list[Key] | None:
        """Return the keys of the pairs by which a pair is judged that isn't traced itself; None where they don't tell."""
        world = self.world
        near = source.node == target.node
        found: list[Key | None] = []
        if near:
            entry = world.nodes[source.node]
            usual = self.commonest(cls for cls, _ in entry.mix)
            common = next(key for key, pod in entry.pods.items() if pod.cls == usual)
            pairs = ((source, common), (common, target))
            found += [self.key("near", one, other) for one, other in pairs if one != other]
        else:
            found += [self._half(source, True), self._half(target, False)]
            common = next(iter(world.members[self.star]))
            if not self.is_usual(source, target):
                mine = self._by_unit(source.node)[world.units.of_pod[source]][0]
                theirs = self._by_unit(target.node)[world.units.of_pod[target]][0]
                found.append(self.key("far", mine, theirs))
        one, other = world.pod(source).filtered, world.pod(target).filtered
        sorts = self.between.get(("near" if near else "far", one, other))
        if sorts is None and world.pod(common).filtered not in (one, other):
            return None
        return [key for key in (*found, sorts) if key is not None]

    def _half(self, pod: NetnsKey, sends: bool) -> Key | None:
        cls = self.world.pod(pod).cls
        found = self._two(cls, self.star) if sends else self._two(self.star, cls)
        return self.key("far", *found) if found is not None else None

"""How many pairs policies deny, and how many the check doesn't decide: counted by classes, as pairs are judged.

Pods of nodes of which one knows the other otherwise than most are counted by themselves, up to MAX_ODD pairs of such
units; those beyond are counted as their classes' others are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import NamedTuple

from netviz.core.check.paths.audit import Said
from netviz.core.check.paths.contract import DENIED, UNDECIDED, worst
from netviz.core.check.paths.judge import Judged
from netviz.core.check.paths.pairs import MAX_FILTERED, Key, Pairs
from netviz.core.check.problem import Judgement
from netviz.core.check.text import counted
from netviz.core.model.ids import NetnsKey

PAIR_MS = 0.003
MAX_ODD = 50_000
COUNTED = (DENIED, UNDECIDED, None)
ByClass = dict[int, list[NetnsKey]]


class Tally(NamedTuple):
    """Ordered pairs of pods: denied by policy; not decided; not decided as their traces would take too long.

    `alone` are the pods of which that is so on the way to their node or the internet.
    """

    denied: int = 0
    undecided: int = 0
    too_long: int = 0
    alone: int = 0

    def words(self, many_sorts: bool) -> list[str]:
        """Say what isn't decided, and why; `many_sorts`: rules tell more of them apart than are traced."""
        found = []
        if self.undecided:
            pairs = counted(self.undecided, "pair")
            why = "as not each class of pods is traced with each other"
            sorts = f" and rules tell more than {MAX_FILTERED} sorts of pods apart"
            found.append(f"{pairs}, {why}{sorts if many_sorts else ''}")
        if self.too_long:
            found.append(f"{counted(self.too_long, 'pair')}, for which there are too many possible courses")
        if self.alone:
            found.append(
                f"{counted(self.alone, 'pod')} with its node or the internet, for which there are too many possible courses"
            )
        return found


def tally(pairs: Pairs, known: Mapping[Key, Judged], said: Said) -> Generator[float, None, Tally]:
    """Count; the generator yields what that costs in ms, and returns a Tally."""
    counting = _Counting(pairs, known)
    yield from counting.run()
    yield from counting.correct(said)
    counts = counting.counts
    return Tally(counts[DENIED], counts[None], counts[UNDECIDED], counting.alone)


class _Counting:
    """`counts` is whole for what is COUNTED only; None is not decided."""

    def __init__(self, pairs: Pairs, known: Mapping[Key, Judged]) -> None:
        self.alone = 0
        self._pairs = pairs
        self._known = known
        self.counts: Counter[Judgement | None] = Counter()
        world = pairs.world
        self._members = world.members
        firsts = {cls: next(iter(members)) for cls, members in world.members.items()}
        self._kind = {cls: world.pod(key).kind for cls, key in firsts.items()}
        self._sort = {cls: world.pod(key).filtered for cls, key in firsts.items()}
        self._tie = {cls: world.nodes[key.node].ties.default for cls, key in firsts.items()}
        self._per_node = {cls: Counter(key.node for key in members) for cls, members in world.members.items()}

    def run(self) -> Iterator[float]:
        for cls in self._members:
            self.counts[self._of(("self", self._kind[cls], self._kind[cls], 0, 0))] += len(self._members[cls])
            kind = self._kind[cls]
            if any(self._of((what, kind, kind, 0, 0)) == UNDECIDED for what in ("home", "net")):
                self.alone += len(self._members[cls])
            self._far(cls)
            yield PAIR_MS * len(self._members)
        for mix, nodes in self._pairs.world.mixes.items():
            self._near([cls for cls, _ in mix], list(nodes))
            yield PAIR_MS * len(mix) ** 2

    def correct(self, said: Said) -> Iterator[float]:
        """Count the pairs of units that know each other otherwise than most, instead of as most."""
        world = self._pairs.world
        done: set[tuple[int, int]] = set()
        for name, others in world.odd_ties():
            units = self._units(name)
            for unit, there in others:
                theirs = self._units(there).get(unit, {})
                for mine, pods in units.items():
                    if len(done) < MAX_ODD and not {(mine, unit), (unit, mine)} & done:
                        done.add((mine, unit))
                        self._correct(pods, theirs, said)
                        self._correct(theirs, pods, said)
                yield PAIR_MS * 10 * len(units)

    def _units(self, name: str) -> dict[int, ByClass]:
        """Return the pods of each of a node's units, by class."""
        found: dict[int, ByClass] = {}
        for key, pod in self._pairs.world.nodes[name].pods.items():
            unit = self._pairs.world.units.of_pod[key]
            found.setdefault(unit, {}).setdefault(pod.cls, []).append(key)
        return found

    def _correct(self, sources: ByClass, targets: ByClass, said: Said) -> None:
        for one, mine in sources.items():
            for other, theirs in targets.items():
                count = len(mine) * len(theirs)
                self.counts[self._between("far", one, other, self._pairs.star)] -= count
                self.counts[said(mine[0], theirs[0])] += count

    def _of(self, key: Key) -> Judgement | None:
        found = self._known.get(key)
        return found.verdict if found is not None else None

    def _far(self, one: int) -> None:
        """Count the pairs of a class with all others on other nodes."""
        there: dict[Judgement | None, list[int]] = {}
        for other in self._members:
            there.setdefault(self._between("far", one, other, self._pairs.star), []).append(other)
        for verdict in COUNTED:
            for other in there.get(verdict, ()):
                here = self._per_node[other]
                near = sum(count * here[node] for node, count in self._per_node[one].items() if node in here)
                self.counts[verdict] += len(self._members[one]) * len(self._members[other]) - near

    def _near(self, classes: list[int], nodes: list[str]) -> None:
        if not classes:
            return
        usual = self._pairs.commonest(classes)
        for one in classes:
            for other in classes:
                verdict = self._between("near", one, other, usual)
                if verdict in COUNTED:
                    mine, theirs = self._per_node[one], self._per_node[other]
                    self.counts[verdict] += sum(mine[n] * (theirs[n] - (one == other)) for n in nodes)

    def _between(self, what: str, one: int, other: int, common: int) -> Judgement | None:
        """Say what is judged of two classes, as `PathsCheck.said` does of two pods."""
        found = self._of(self._key(what, one, other))
        if found is not None:
            return found
        halves = [self._of(self._key(what, one, common)), self._of(self._key(what, common, other))]
        sorts = self._pairs.between.get((what, self._sort[one], self._sort[other]))
        if sorts is not None:
            halves.append(self._of(sorts))
        elif self._sort[common] not in (self._sort[one], self._sort[other]):
            return None
        if None in halves:
            return None
        return worst(half for half in halves if half is not None)

    def _key(self, what: str, one: int, other: int) -> Key:
        ties = (self._tie[one], self._tie[other]) if what == "far" else (0, 0)
        return (what, self._kind[one], self._kind[other], *ties)

"""One cause is one problem: what the state shows by itself, and what traces show to follow from it, are put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from netviz.core.check.long import Ends, LongCheck
from netviz.core.check.problem import Affects, Between, Problem
from netviz.core.check.text import affects

V = TypeVar("V")
Reach = Mapping[Ends, int]
MAX_BETWEEN = 50
NOBODY: Reach = {}


class Told(NamedTuple):
    """A problem, and the pairs that it affects, as groups -> how many."""

    problem: Problem
    reach: Reach = NOBODY


def put_together(facts: Iterable[Problem], checks: Iterable[LongCheck]) -> list[Problem]:
    """Return all problems; what traces found that follows from a fact which breaks traffic is told by that fact.

    It follows if it is gone in the state with the fact repaired, or if it is at the same place. The fact's problem has
    then the trace, and all that it affects. What one cause does in both families is one problem.
    """
    every = [Told(one) for one in facts]
    rest = []
    merging = _Merging(every)
    for check in checks:
        for problem in check.problems():
            one = Told(problem, check.reach(problem))
            at, also = merging.explains(problem, check)
            if at is None:
                rest.append(one)
            else:
                every[at] = _with(every[at], one, also)
    return [
        msgspec.structs.replace(problem, repair=()) if problem.repair else problem
        for problem in _over_families([*every, *rest])
    ]


class _Merging:
    """Finds the fact that a traced problem follows from."""

    def __init__(self, facts: list[Told]) -> None:
        self._facts = [told.problem for told in facts]
        every = list(enumerate(self._facts))
        self._keys = {one.key: n for n, one in every}
        self._repairs = [n for n, one in every if one.repair and _breaks(one)]
        self._places = {
            (one.where.node, one.where.dev): n for n, one in every if one.where.dev and _explains(one)
        }
        self._pods = {
            one.affects.pods[0]: n for n, one in every if len(one.affects.pods) == 1 and _breaks(one)
        }

    def explains(self, problem: Problem, check: LongCheck) -> tuple[int | None, tuple[str, ...]]:
        """Return a fact's number, and what else would have to change; None: no fact explains the problem."""
        at = self._keys.get(problem.key)
        if at is None:
            for number in self._repairs:
                also = check.follows(problem, self._facts[number])
                if also is not None:
                    return number, also
            where = problem.where
            at = self._places.get((where.node, where.dev), self._pods.get(where.netns))
        if at is None or not (_breaks(self._facts[at]) or problem.harm == "not known"):
            return None, ()
        return at, problem.also


def _with(fact: Told, traced: Told, also: tuple[str, ...]) -> Told:
    reach = {**fact.reach, **traced.reach}
    merged = msgspec.structs.replace(
        fact.problem,
        affects=_both(fact.problem.affects, traced.problem.affects, reach),
        flow=fact.problem.flow or traced.problem.flow,
        also=_unique((fact.problem.also, also)),
    )
    return Told(merged, reach)


def _over_families(every: Iterable[Told]) -> Iterator[Problem]:
    """Tell problems that have the same cause in both families as one."""
    groups: dict[str, list[Told]] = {}
    for one in every:
        problem = one.problem
        if problem.both:
            problem = msgspec.structs.replace(problem, cause=problem.both)
        groups.setdefault(problem.key, []).append(Told(problem, one.reach))
    return map(_as_one, groups.values())


def _as_one(group: list[Told]) -> Problem:
    """Put problems of one cause together: the worst one's words, the others' headlines, what all affect, every command."""
    problems = [told.problem for told in group]
    first, *others = sorted(problems, key=_first)
    families = {one.family for one in problems}
    if len(families) == 1 and first.family:
        said = f"Over {first.family}, {first.consequence[:1].lower()}{first.consequence[1:]}"
        first = msgspec.structs.replace(first, consequence=said)
    reach = {key: count for told in group for key, count in told.reach.items()}
    between = _between(reach)
    if not others:
        return msgspec.structs.replace(first, affects=msgspec.structs.replace(first.affects, between=between))
    affected = first.affects
    for one in others:
        affected = _both(affected, one.affects, reach)
    all_of = (first, *others)
    headlines = [one.headline for one in others]
    return msgspec.structs.replace(
        first,
        affects=msgspec.structs.replace(affected, between=between),
        also_at=tuple(
            one
            for one in _unique((*[one.also_at for one in all_of], [one.where for one in others]))
            if one != first.where
        ),
        family=first.family if len(families) == 1 else "",
        check=_unique(one.check for one in all_of),
        fix=_unique(one.fix for one in all_of),
        also=_unique([*[one.also for one in all_of], headlines]),
        flow=next((one.flow for one in all_of if one.flow is not None), None),
        rests_on=_unique(one.rests_on for one in all_of),
        doubts=_unique(one.doubts for one in all_of),
        grace_s=min(one.grace_s for one in all_of),
    )


def _first(problem: Problem) -> tuple[bool, bool, int, str]:
    """The order of problems of one cause: the worst first, then IPv4's, whose devices have the shorter names."""
    unsure = problem.certainty != "certain"
    return problem.severity != "error", unsure, len(problem.where.dev), problem.headline


def _unique(rows: Iterable[Iterable[V]]) -> tuple[V, ...]:
    return tuple(dict.fromkeys(one for row in rows for one in row))


def _both(one: Affects, other: Affects, reach: Reach) -> Affects:
    """Put together whom two affect; their pairs are counted by `reach` where that knows of more."""
    named = affects((*one.pods, *other.pods), max(one.pairs, other.pairs, sum(reach.values())))
    return msgspec.structs.replace(named, more=max(named.more, one.more, other.more))


def _between(reach: Reach) -> tuple[Between, ...]:
    """Write from whom to whom pairs are affected: those from pods of one node to pods of one are told together."""
    groups: dict[tuple[str, str], list[tuple[Ends, int]]] = {}
    for ends, count in reach.items():
        source = (ends.source_node or ends.source, ends.target_node or ends.target)
        groups.setdefault(source, []).append((ends, count))
    found = [
        Between(
            _pods({(one.source_node, one.source) for one, _ in group}),
            _pods({(one.target_node, one.target) for one, _ in group}),
            sum(count for _, count in group),
        )
        for group in groups.values()
    ]
    return tuple(sorted(found, key=lambda one: (-one.pairs, one.source, one.target))[:MAX_BETWEEN])


def _pods(pods: set[tuple[str, str]]) -> str:
    node, name = next(iter(pods))
    return name if len(pods) == 1 else f"{node}, {len(pods)} pods"


def _breaks(problem: Problem) -> bool:
    return problem.harm == "breaks traffic"


def _explains(problem: Problem) -> bool:
    """Tell whether a fact at a device is why traces fail there, or why nobody knows whether they do."""
    return _breaks(problem) or problem.harm == "not known"

"""One cause is one problem: what the state shows by itself, and what traces show to follow from it, are put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from netviz.core.check.problem import Affects, Problem
from netviz.core.check.text import affects

V = TypeVar("V")


def put_together(facts: Iterable[Problem], traced: Iterable[Problem]) -> list[Problem]:
    """Return all problems; one that traces found at the place of a fact that breaks traffic is told by that fact.

    The fact's problem has then the trace, and all that it affects. What one cause does in both families is one problem.
    """
    every = list(facts)
    keys = {one.key: n for n, one in enumerate(every)}
    places = {
        (one.where.node, one.where.dev): n for n, one in enumerate(every) if one.where.dev and _explains(one)
    }
    pods = {
        one.affects.pods[0]: n for n, one in enumerate(every) if len(one.affects.pods) == 1 and _breaks(one)
    }
    rest = []
    for problem in traced:
        where = problem.where
        at = keys.get(problem.key, places.get((where.node, where.dev), pods.get(where.netns)))
        if at is None or not (_breaks(every[at]) or problem.harm == "not known"):
            rest.append(problem)
            continue
        fact = every[at]
        every[at] = msgspec.structs.replace(
            fact,
            affects=_both(fact.affects, problem.affects),
            flow=fact.flow or problem.flow,
            also=tuple(dict.fromkeys((*fact.also, *problem.also))),
        )
    return _over_families([*every, *rest])


def _over_families(problems: Iterable[Problem]) -> list[Problem]:
    """Tell problems that have the same cause in both families as one."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.both:
            problem = msgspec.structs.replace(problem, cause=problem.both)
        groups.setdefault(problem.key, []).append(problem)
    return [_as_one(group) for group in groups.values()]


def _as_one(group: list[Problem]) -> Problem:
    """Put problems of one cause together: the worst one's words, the others' headlines, what all affect, every command."""
    if len(group) == 1:
        return group[0]
    first, *others = sorted(group, key=lambda one: (_rank(one), one.headline))
    affected = first.affects
    for one in others:
        affected = _both(affected, one.affects)
    return msgspec.structs.replace(
        first,
        affects=affected,
        check=_unique(one.check for one in (first, *others)),
        fix=_unique(one.fix for one in (first, *others)),
        also=_unique([*[one.also for one in (first, *others)], [one.headline for one in others]]),
        flow=next((one.flow for one in (first, *others) if one.flow is not None), None),
        rests_on=_unique(one.rests_on for one in (first, *others)),
        doubts=_unique(one.doubts for one in (first, *others)),
        grace_s=min(one.grace_s for one in group),
    )


def _rank(problem: Problem) -> tuple[bool, bool]:
    return problem.severity != "error", problem.certainty != "certain"


def _unique(rows: Iterable[Iterable[V]]) -> tuple[V, ...]:
    return tuple(dict.fromkeys(one for row in rows for one in row))


def _both(one: Affects, other: Affects) -> Affects:
    named = affects((*one.pods, *other.pods), max(one.pairs, other.pairs))
    return msgspec.structs.replace(named, more=max(named.more, one.more, other.more))


def _breaks(problem: Problem) -> bool:
    return problem.harm == "breaks traffic"


def _explains(problem: Problem) -> bool:
    """Tell whether a fact at a device is why traces fail there, or why nobody knows whether they do."""
    return _breaks(problem) or problem.harm == "not known"

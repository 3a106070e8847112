"""One cause is one problem: what the state shows by itself, and what traces show to follow from it, are put together."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netviz.core.check.problem import Affects, Problem
from netviz.core.check.text import affects


def put_together(facts: Iterable[Problem], traced: Iterable[Problem]) -> list[Problem]:
    """Return all problems; one that traces found at the place of a fact that breaks traffic is told by that fact.

    The fact's problem has then the trace, and all that it affects.
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
    return [*every, *rest]


def _both(one: Affects, other: Affects) -> Affects:
    named = affects((*one.pods, *other.pods), max(one.pairs, other.pairs))
    return msgspec.structs.replace(named, more=max(named.more, one.more, other.more))


def _breaks(problem: Problem) -> bool:
    return problem.harm == "breaks traffic"


def _explains(problem: Problem) -> bool:
    """Tell whether a fact at a device is why traces fail there, or why nobody knows whether they do."""
    return _breaks(problem) or problem.harm == "not known"

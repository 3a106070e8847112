"""One cause is one problem: what the state shows by itself, and what traces show to follow from it, are put together."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netviz.core.check.problem import Problem


def put_together(facts: Iterable[Problem], traced: Iterable[Problem]) -> list[Problem]:
    """Return all problems; one that traces found at the place of a fact that breaks traffic is told by that fact.

    The fact's problem has then the trace, and all that it affects.
    """
    every = list(facts)
    at_place = {
        (one.where.key, one.where.dev): n for n, one in enumerate(every) if one.where.dev and _breaks(one)
    }
    of_pod = {
        one.affects.pods[0]: n for n, one in enumerate(every) if _breaks(one) and len(one.affects.pods) == 1
    }
    rest = []
    for problem in traced:
        at = at_place.get((problem.where.key, problem.where.dev), of_pod.get(problem.where.netns))
        if at is None:
            rest.append(problem)
            continue
        fact = every[at]
        every[at] = msgspec.structs.replace(
            fact,
            affects=max(fact.affects, problem.affects, key=lambda one: (one.pairs, len(one.pods))),
            flow=fact.flow or problem.flow,
            also=tuple(dict.fromkeys((*fact.also, *problem.also))),
        )
    return [*every, *rest]


def _breaks(problem: Problem) -> bool:
    return problem.harm == "breaks traffic"

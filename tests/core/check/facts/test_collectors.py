"""What is said of nodes' collectors beside what they tell."""

from __future__ import annotations

import pytest

from netviz.core.check.problem import NodeHealth
from tests.core.check.judging import judge, proper
from tests.core.sim.build import textbook


@pytest.mark.parametrize(
    ("clock_s", "words", "certainty"),
    [(35, "some 35 s ahead of", "certain"), (-3600, "some 60 min behind", "likely")],
)
def test_a_clock_that_differs_is_a_problem_and_leaves_all_else_as_sure_as_it_was(
    clock_s: int, words: str, certainty: str
) -> None:
    report = judge(textbook()[0], {"node-1": NodeHealth(clock_s=clock_s)})
    (problem,) = report.problems
    proper(problem)
    assert (problem.kind, problem.certainty, problem.where.node) == ("clock-skew", certainty, "node-1")
    assert words in problem.headline
    others = {one.name: one.result for one in report.results if one.name != "collectors"}
    sound = {one.name: one.result for one in judge(textbook()[0]).results if one.name != "collectors"}
    assert others == sound

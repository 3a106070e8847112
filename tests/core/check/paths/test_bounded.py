"""What has very many possible courses is given up, is counted, and is no problem.

The state is of a random network whose check took minutes: tunnels, through which nodes ask for neighbours that nobody knows.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import UNDECIDED
from netviz.core.sim.run import Work
from netviz.core.sim.walk import TOO_LONG
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz

DATA = Path(__file__).resolve().parents[3] / "data/states/random-107"
MOST = 300


@pytest.fixture(scope="module")
def cluster() -> ClusterState:
    return join_captures(load_nvz(path.read_bytes()) for path in sorted(DATA.glob("*.nvz")))


def test_the_work_of_each_trace_is_bounded_and_what_that_leaves_undecided_is_told(
    cluster: ClusterState, monkeypatch: pytest.MonkeyPatch
) -> None:
    works: list[Work] = []
    most_of_a_course = 400

    def made(most: int | None = None) -> Work:
        works.append(Work(most))
        return works[-1]

    monkeypatch.setattr("netviz.core.sim.walk.Work", made)
    monkeypatch.setattr("netviz.core.check.paths.judge.MAX_MOVES", MOST)
    monkeypatch.setattr("netviz.core.check.paths.telling.MAX_MOVES", MOST)
    monkeypatch.setattr("netviz.core.check.paths.consequences.MAX_MOVES", MOST)
    check = PathsCheck()
    check.follow(cluster)
    check.finish()
    assert max(work.spent for work in works) < MOST + most_of_a_course

    pods = [key for members in check.world.members.values() for key in members]
    undecided = [(a, b) for a in pods for b in pods if check.said(a, b) in (UNDECIDED, None)]
    result = check.result()
    assert undecided
    assert f"{len(undecided)} pairs, for which there are too many possible courses" in result.reason
    assert result.judged == len(pods) ** 2 - len(undecided)
    assert result.result != "pass"
    assert check.problems()
    assert not any(TOO_LONG in problem.headline + problem.cause for problem in check.problems())

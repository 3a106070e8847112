"""What one course of a flow has found out beside its path is right for the others that meet the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest

from netviz.core.sim.render import trace_json
from netviz.core.sim.run import Run
from netviz.core.sim.walk import simulate
from tests.live.oracle.cases import load_cases
from tests.live.oracle.frozen import read_frozen
from tests.live.oracle.predict import flow_of


def test_findings_that_are_used_again_change_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    remembers = Run.once
    done = {"asked": 0, "worked": 0}

    def counted(run: Run, question: Hashable, work: Callable[[], Any]) -> Any:
        def worked() -> Any:
            done["worked"] += 1
            return work()

        done["asked"] += 1
        return remembers(run, question, worked)

    for name in load_cases():
        observed = read_frozen(name).observed()
        flow = flow_of(observed.state, observed.results[0].probe)
        monkeypatch.setattr(Run, "once", counted)
        remembered = trace_json(simulate(observed.state, flow))
        monkeypatch.setattr(Run, "once", lambda _run, _question, work: work())
        assert trace_json(simulate(observed.state, flow)) == remembered, name
    assert done["worked"] < done["asked"]

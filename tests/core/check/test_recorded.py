"""The checks of state are silent on a real cluster, as it was recorded: two of its three nodes, flannel, kube-router."""

from __future__ import annotations

from pathlib import Path

from netviz.core.check.checker import Checker
from netviz.core.check.facts import FACTS
from netviz.core.wire.nvz import join_captures, load_nvz
from tests.core.check.judging import finished

COMPARING = {fact.name for fact in FACTS if fact.compares}  # one state alone says nothing to them
DATA = Path(__file__).resolve().parents[2] / "data/states/kubernetes"


def test_nothing_is_wrong_and_nothing_undecided() -> None:
    cluster = join_captures(load_nvz(path.read_bytes()) for path in sorted(DATA.glob("*.nvz")))
    report = finished(Checker(), cluster)
    assert [problem.headline for problem in report.problems] == []
    left = {one.name: one.result for one in report.results if one.result != "pass"}
    left = {name: result for name, result in left.items() if name not in COMPARING}
    assert left == dict.fromkeys(("forwarding entries", "leftovers", "presence"), "nothing")
    assert report.pods > 0

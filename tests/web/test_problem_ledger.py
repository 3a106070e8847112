"""From report to report: what is found, what is the same as before, what is over, and what can't be seen."""

from __future__ import annotations

import pytest

from netviz.core.check.problem import Affects, Problem, Where
from netviz.problems.ledger import (
    COLLECTORS_RETURN_S,
    GRACE_S,
    LONGEST_GRACE_S,
    SETTLE_S,
    Kept,
    Ledger,
    Sight,
)


def problem(cause: str = "node1", **fields: object) -> Problem:
    values: dict[str, object] = {
        "kind": "route-missing",
        "cause": cause,
        "severity": "error",
        "harm": "breaks traffic",
        "headline": f"{cause} has no route to node2's pods",
        "consequence": "Packets are lost.",
        "where": Where(cause),
        "rests_on": ((cause, "routes"),),
    }
    return Problem(**{**values, **fields})  # type: ignore[arg-type]


A = problem()
SEEN = Sight()


def settled(ledger: Ledger, one: Problem, at_s: float, sight: Sight = SEEN) -> Kept:
    """Let a report stand until it is believed."""
    ledger.fold([one], sight, at_s)
    ledger.fold([one], Sight(sight.away, sight.gaps), at_s + SETTLE_S)
    return ledger.kept[one.key]


def words(steps: object) -> list[str]:
    return [step.what for step in steps]  # type: ignore[attr-defined]


def test_what_is_true_for_a_moment_is_no_problem() -> None:
    ledger = Ledger()
    assert ledger.fold([A], SEEN, 100.0) == []
    assert ledger.due_s() == 100.0 + SETTLE_S
    assert ledger.fold([], SEEN, 100.1) == []
    assert ledger.due_s() is None
    assert ledger.fold([A], SEEN, 100.0 + SETTLE_S) == []
    assert words(ledger.fold([A], SEEN, 101.0 + SETTLE_S)) == ["found"]


def test_it_began_when_the_state_began_to_say_so() -> None:
    ledger = Ledger()
    assert settled(ledger, A, 100.0).began_s == 100.0


def test_what_comes_into_sight_with_its_node_has_no_known_beginning() -> None:
    ledger = Ledger()
    kept = settled(ledger, A, 100.0, Sight(fresh={"node1"}))
    assert kept.began_s is None
    assert kept.found_s == 100.0


def test_an_end_is_believed_after_a_grace_and_dates_from_when_it_went() -> None:
    ledger = Ledger()
    kept = settled(ledger, A, 100.0)
    assert words(ledger.fold([], SEEN, 200.0)) == ["gone"]
    assert ledger.due_s() == 200.0 + GRACE_S
    assert ledger.fold([], SEEN, 199.9 + GRACE_S) == []
    (step,) = ledger.fold([], SEEN, 200.0 + GRACE_S)
    assert (step.what, step.kept, step.kept.gone_s) == ("ended", kept, 200.0)
    assert ledger.kept == {}


def test_a_problem_that_flaps_is_one_and_must_stay_away_longer_each_time() -> None:
    ledger = Ledger()
    kept = settled(ledger, A, 100.0)
    now_s, graces = 200.0, []
    for _ in range(8):
        ledger.fold([], SEEN, now_s)
        graces.append(kept.grace_s)
        assert words(ledger.fold([A], SEEN, now_s + kept.grace_s - 1)) == ["returned"]
        assert ledger.kept[A.key] is kept
        assert kept.gone_s is None
        now_s += 1000
    assert graces[:3] == [GRACE_S, 2 * GRACE_S, 4 * GRACE_S]
    assert graces[-1] == LONGEST_GRACE_S
    assert (kept.returns, kept.found_s) == (8, 100.0)


def test_what_takes_long_to_judge_dates_from_the_state_that_was_judged() -> None:
    ledger = Ledger()
    assert ledger.fold([A], SEEN, 130.0, lambda one: 100.0) == []
    (step,) = ledger.fold([A], SEEN, 131.0, lambda one: 100.0 + SETTLE_S)
    assert step.kept.began_s == 100.0
    (step,) = ledger.fold([], SEEN, 170.0, lambda one: 140.0)
    assert (step.what, step.kept.gone_s) == ("gone", 140.0)


def test_one_state_that_takes_long_to_judge_is_still_one_moment() -> None:
    ledger = Ledger()
    assert ledger.fold([A], SEEN, 130.0, lambda one: 100.0) == []
    assert ledger.fold([A], SEEN, 150.0, lambda one: 100.0) == []
    assert ledger.fold([], SEEN, 151.0, lambda one: 120.0) == []


def test_the_same_cause_with_another_reach_is_the_same_problem() -> None:
    ledger = Ledger()
    kept = settled(ledger, A, 100.0)
    assert ledger.fold([A], SEEN, 200.0) == []
    (step,) = ledger.fold([problem(affects=Affects(7, ("default/web-1",)))], SEEN, 201.0)
    assert (step.what, step.kept) == ("changed", kept)
    assert kept.found.affects.pairs == 7


@pytest.mark.parametrize(
    "unseen",
    [
        Sight(away={"node1": "node1's collector is lost"}),
        Sight(gaps={("node1", "routes"): "node1's collector is lost"}),
    ],
)
def test_what_cannot_be_seen_is_not_over(unseen: Sight) -> None:
    ledger = Ledger()
    kept = settled(ledger, A, 100.0)
    assert words(ledger.fold([], unseen, 200.0)) == ["changed"]
    assert kept.unverified == "node1's collector is lost"
    assert ledger.fold([], unseen, 900.0) == []
    assert ledger.due_s() is None
    assert words(ledger.fold([], SEEN, 1000.0)) == ["gone"]
    assert kept.unverified == ""


def test_a_gap_in_another_section_hides_nothing() -> None:
    ledger = Ledger()
    settled(ledger, A, 100.0)
    assert words(ledger.fold([], Sight(gaps={("node1", "conntrack"): "too many"}), 200.0)) == ["gone"]


def test_a_problem_that_goes_out_of_sight_during_its_grace_is_not_over() -> None:
    ledger = Ledger()
    kept = settled(ledger, A, 100.0)
    ledger.fold([], SEEN, 200.0)
    assert words(ledger.fold([], Sight(away={"node1": "lost"}), 201.0)) == ["changed"]
    assert kept.gone_s is None
    assert ledger.fold([], Sight(away={"node1": "lost"}), 900.0) == []


def test_what_rests_on_no_state_is_never_out_of_sight() -> None:
    lost = problem(kind="collector-lost", rests_on=())
    ledger = Ledger()
    kept = settled(ledger, lost, 100.0, Sight(away={"node1": "lost"}))
    assert kept.unverified == ""
    assert words(ledger.fold([], Sight(away={"node1": "lost"}), 200.0)) == ["gone"]


def test_a_check_may_ask_for_patience() -> None:
    ledger, patient = Ledger(), problem(grace_s=3.0)
    ledger.fold([patient], SEEN, 100.0)
    assert ledger.fold([patient], SEEN, 102.9) == []
    assert words(ledger.fold([patient], SEEN, 103.0)) == ["found"]


def test_collectors_have_time_to_return_after_a_restart() -> None:
    ledger, lost = Ledger(), problem(kind="collector-lost", rests_on=())
    silent = Sight(away={"node1": "lost"}, silent={"node1"})
    ledger.fold([lost], silent, 100.0)
    assert ledger.fold([lost], silent, 99.0 + COLLECTORS_RETURN_S) == []
    (step,) = ledger.fold([lost], silent, 100.0 + COLLECTORS_RETURN_S)
    assert (step.what, step.kept.began_s) == ("found", None)


def test_what_is_not_judged_yet_is_not_over() -> None:
    ledger = Ledger()
    settled(ledger, A, 100.0)
    assert ledger.fold([], Sight(judged={"collector-lost"}), 200.0) == []
    assert words(ledger.fold([], Sight(judged={A.kind}), 201.0)) == ["gone"]


def test_a_problem_is_the_same_after_a_restart() -> None:
    ledger = Ledger([Kept(A, 50.0, 49.0, row=7)])
    assert ledger.fold([], Sight(away={"node1": "not heard yet"}), 100.0)[0].what == "changed"
    assert words(ledger.fold([A], Sight(fresh={"node1"}), 101.0)) == ["changed"]
    kept = ledger.kept[A.key]
    assert (kept.row, kept.began_s, kept.unverified) == (7, 49.0, "")


def test_what_a_later_state_is_proved_to_have_is_told_before_that_is_judged() -> None:
    """Judging takes a minute here: the state of 100 is judged, the ones after it aren't yet."""
    ledger = Ledger()
    asked: list[str] = []

    def lasts(one: Problem) -> bool:
        asked.append(one.cause)
        return True

    assert ledger.fold([A], SEEN, 100.0 + SETTLE_S / 2, lambda one: 100.0, lasts) == []
    assert asked == [], "it has not stood for long enough, whoever has it"
    (step,) = ledger.fold([A], SEEN, 100.0 + SETTLE_S, lambda one: 100.0, lasts)
    assert (step.what, step.kept.began_s, asked) == ("found", 100.0, ["node1"])


def test_what_is_not_proved_of_a_later_state_waits_for_one_that_is_judged() -> None:
    ledger = Ledger()
    for now_s in (101.0, 110.0, 150.0):
        assert ledger.fold([A], SEEN, now_s, lambda one: 100.0, lambda one: False) == []
    (step,) = ledger.fold([A], SEEN, 150.0, lambda one: 120.0, lambda one: False)
    assert step.kept.began_s == 100.0

"""Problems in the database: by one leader alone, with the same id after a restart, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db.models.functions import Now
from django.utils import timezone

from netviz.core.check.problem import Affects, Difference, NodeHealth, Report
from netviz.core.check.problem import Problem as Found
from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.trace import Flow
from netviz.core.state.node import ClusterState
from netviz.ingest.memory_store import MemoryStore
from netviz.inventory.models import Cluster, Collector, Node
from netviz.inventory.service import enrol
from netviz.problems import keeping
from netviz.problems.judging import Judging
from netviz.problems.leadership import LEASE_S, Leadership, LostLead, release
from netviz.problems.ledger import MOST_POINTS, SETTLE_S, Kept, Ledger, Sight
from netviz.problems.models import Checking, Problem, Remark
from netviz.problems.sight import Looker
from tests.web.states import pod_network, show
from tests.web.test_problem_ledger import problem

pytestmark = pytest.mark.django_db


def lead(name: str = "one") -> Leadership:
    made = Leadership(name)
    assert made.take()
    return made


def found(ledger: Ledger, *problems: Found, at_s: float = 1000.0) -> list[Any]:
    """Let problems settle."""
    ledger.fold(problems, Sight(), at_s)
    return ledger.fold(problems, Sight(), at_s + SETTLE_S)


def test_one_leads_until_its_lease_lapses() -> None:
    one, other = lead("one"), Leadership("other")
    assert one.lasts
    assert not other.take()
    assert one.take(), "who leads may say so again"
    Checking.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert other.take()
    with pytest.raises(LostLead):
        one.write(pods=3)
    assert not one.lasts
    assert Checking.objects.get().pods == 0


def test_a_lease_that_lapsed_is_renewed_as_long_as_nobody_has_taken_it() -> None:
    one = lead()
    Checking.objects.update(lease_until=Now() - timedelta(seconds=1))
    one.write(pods=3)
    assert not Leadership("other").take()
    assert Checking.objects.get().pods == 3


def test_a_dead_process_leads_no_more() -> None:
    lead("one")
    release("another")
    assert not Leadership("other").take()
    release("one")
    assert Leadership("other").take()
    assert LEASE_S > 0


def test_a_problem_has_one_row_from_beginning_to_end() -> None:
    ledger, leader = Ledger(), lead()
    keeping.write(leader, found(ledger, problem()))
    row = Problem.objects.get()
    assert (row.began_at, row.ended_at) == (datetime.fromtimestamp(1000.0, UTC), None)

    again = Ledger(keeping.load())
    assert again.fold([problem()], Sight(), 1100.0) == []
    keeping.write(leader, again.fold([], Sight(), 1200.0))
    assert Problem.objects.get().gone_at == datetime.fromtimestamp(1200.0, UTC)
    keeping.write(leader, Ledger(keeping.load()).fold([], Sight(), 1300.0))
    over = Problem.objects.get()
    assert (over.pk, over.ended_at) == (row.pk, datetime.fromtimestamp(1200.0, UTC))
    assert list(Remark.objects.values_list("kind", flat=True)) == ["found", "gone", "ended"]
    assert keeping.load() == []


def test_how_many_pairs_it_affects_is_kept_from_its_beginning_to_its_end() -> None:
    ledger, leader = Ledger(), lead()

    def at(pairs: int) -> Found:
        return msgspec.structs.replace(problem(), affects=Affects(pairs))

    keeping.write(leader, found(ledger, at(4)))
    ledger = Ledger(keeping.load())
    keeping.write(leader, ledger.fold([at(4)], Sight(), 1100.0))
    keeping.write(leader, ledger.fold([at(9)], Sight(), 1200.0))
    keeping.write(leader, ledger.fold([], Sight(), 1e10))
    curve = Problem.objects.get().curve
    assert [pairs for _, pairs in curve] == [4, 9, 0]
    assert curve[0][0] == 1000.0
    assert curve[-1][0] == 1e10
    assert [at_s for at_s, _ in curve] == sorted(at_s for at_s, _ in curve)


def test_a_long_curve_keeps_its_beginning_and_its_end() -> None:
    kept = Kept(problem(), 0.0, 0.0)
    for number in range(1000):
        kept.found = msgspec.structs.replace(kept.found, affects=Affects(number))
        kept.plot(float(number))
    assert len(kept.curve) <= MOST_POINTS
    assert (kept.curve[0], kept.curve[-1]) == ((0.0, 0), (999.0, 999))


def test_what_another_leader_may_have_written_is_left_alone() -> None:
    ledger, one = Ledger(), lead("one")
    steps = found(ledger, problem())
    Checking.objects.update(lease_until=Now() - timedelta(seconds=1))
    lead("other")
    with pytest.raises(LostLead):
        keeping.write(one, steps)
    assert not Problem.objects.exists()
    assert steps[0].kept.row is None


def test_long_keys_stay_apart() -> None:
    one, other = problem("n" * 300 + "1"), problem("n" * 300 + "2")
    keys = {keeping.key_of(one), keeping.key_of(other)}
    assert len(keys) == 2
    assert all(len(key) <= 200 for key in keys)
    keeping.write(lead(), found(Ledger(), one, other))
    assert Problem.objects.count() == 2


def test_what_another_version_kept_is_ended_and_takes_nothing_with_it() -> None:
    keeping.write(lead(), found(Ledger(), problem("node1"), problem("node2")))
    Problem.objects.filter(node="node1").update(body='{"of": "the future"}')
    assert [kept.found.cause for kept in keeping.load()] == ["node2"]
    assert Problem.objects.get(node="node1").ended_at is not None


def test_history_is_bounded_by_age_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEEP_ENDED", 3)
    keeping.write(lead(), found(Ledger(), *(problem(f"node{number}") for number in range(7))))
    now = timezone.now()
    for number in range(6):
        age = timedelta(days=31) if number == 0 else timedelta(minutes=number)
        Problem.objects.filter(node=f"node{number}").update(ended_at=now - age)
    keeping.delete_old()
    assert sorted(Problem.objects.values_list("node", flat=True)) == ["node1", "node2", "node3", "node6"]


class Wrong:
    """A check: it finds what it is told to, or fails."""

    def __init__(self) -> None:
        self.found: tuple[Found, ...] = ()
        self.fails = False
        self.left = False
        self.audited = 0
        self.certified = False
        self.differences: tuple[Difference, ...] = ()
        self.state: ClusterState | None = None
        self.finished: ClusterState | None = None
        self.judged: list[list[str]] = []

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth]) -> Report:
        self.judged.append(sorted(cluster.nodes))
        self.state = cluster
        if self.fails:
            raise ValueError("a bug of the check")
        return self.report()

    def work(self) -> bool:
        if not self.left:
            self.finished = self.state
        return self.left

    def audit(self, count: int) -> None:
        self.audited += count

    def found_in(self, problem: Found) -> ClusterState | None:
        return None

    def lasts(self, problem: Found, later: ClusterState) -> bool:
        return self.certified

    @property
    def done(self) -> tuple[ClusterState | None, ...]:
        return (self.finished,)

    def report(self) -> Report:
        return Report(self.found, pods=2, pairs=4, classes=1, differences=self.differences)


@pytest.fixture
def judging(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> tuple[Judging, Wrong]:
    """A loop whose turns are taken by hand, on a store with one node."""
    monkeypatch.setattr("netviz.problems.ledger.SETTLE_S", 0.0)
    monkeypatch.setattr("netviz.problems.judging.COALESCE_S", 0.0)
    monkeypatch.setattr("netviz.problems.judging.WORK_S", 0.0)
    monkeypatch.setattr(Judging, "_wait_s", lambda self: 0.0)
    node = Node.objects.create(cluster=Cluster.objects.create(name="c"), name="a")
    Collector.objects.create(node=node, token_hash="x", status=Collector.Status.APPROVED)
    show(store, pod_network())
    checks = Wrong()
    return Judging(lambda: store, lambda: checks, "one"), checks


def test_a_state_is_judged_once_and_a_change_again(
    judging: tuple[Judging, Wrong], store: MemoryStore
) -> None:
    loop, checks = judging
    for _ in range(3):
        loop._turn()
    assert checks.judged == [["a"]]
    show(store, pod_network(3))
    loop._turn()
    assert checks.judged == [["a"], ["a"]]
    row = Checking.objects.get()
    assert (row.pods, row.pairs, row.expected, row.away) == (2, 4, 1, [])


def test_pairs_go_on_being_audited_and_a_fault_of_the_check_is_logged_once(
    judging: tuple[Judging, Wrong], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, checks = judging
    loop._turn()
    monkeypatch.setattr("netviz.problems.judging.AUDIT_EVERY_S", 0.0)
    monkeypatch.setattr("netviz.problems.judging.AUDIT_SHARE", 1e9)
    loop._audit_s = 0.0
    loop._turn()
    loop._turn()
    assert checks.audited == 8
    assert checks.judged == [["a"]]
    checks.differences = (
        Difference("d/x", "d/y", "good", "broken", ("icmp from a:4:10:0 to 10.0.0.2: broken",)),
    )
    loop._turn()
    loop._turn()
    faults = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert faults == [
        "the check of all pairs is at fault: d/x to d/y is broken in a full trace, and was judged good;"
        " traced: icmp from a:4:10:0 to 10.0.0.2: broken"
    ]


def test_the_audit_takes_no_more_than_its_share_of_a_core(judging: tuple[Judging, Wrong]) -> None:
    loop, _ = judging
    now_s = time.monotonic()
    for spent_s in (0.1, 0.1):
        loop._rest_from_audit(spent_s)
    assert 10.0 <= loop._audit_s - now_s < 11.0
    loop._rest_from_audit(5.0)
    assert loop._audit_s - now_s < 31.0, "a large cluster's pairs are audited too"


def test_checks_that_fail_end_no_problem_and_say_so(
    judging: tuple[Judging, Wrong], store: MemoryStore
) -> None:
    loop, checks = judging
    checks.found = (problem("a"),)
    loop._turn()
    loop._turn()
    assert Problem.objects.get().gone_at is None
    checks.found, checks.fails = (), True
    show(store, pod_network(3))
    loop._turn()
    assert "a bug of the check" in Checking.objects.get().error
    assert Problem.objects.get().gone_at is None
    checks.fails = False
    show(store, pod_network())
    loop._turn()
    assert Checking.objects.get().error == ""
    assert Problem.objects.get().gone_at is not None


def test_a_problem_is_told_without_a_second_state_that_is_judged_where_its_trace_proves_it(
    judging: tuple[Judging, Wrong], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first state is judged, and the ones after it never are."""
    loop, checks = judging
    monkeypatch.setattr("netviz.problems.ledger.SETTLE_S", 0.02)
    checks.found = (problem("a"),)
    loop._turn()
    checks.left = True
    show(store, pod_network(3))
    time.sleep(0.03)
    loop._turn()
    assert Problem.objects.count() == 0, "nothing proves that it has lasted"
    checks.certified = True
    loop._turn()
    assert Problem.objects.get().began_at is None


def test_the_flow_that_fails_is_traced_as_evidence(judging: tuple[Judging, Wrong]) -> None:
    loop, checks = judging
    flow = Flow(NetnsKey("a", 4, 10), pack_ip("10.1.1.2"), pack_ip("10.1.1.3"), 1, 7)
    checks.found = (problem("a", flow=flow),)
    loop._turn()
    loop._turn()
    trace = Problem.objects.get().trace
    assert trace is not None
    assert trace["flow"]["from"]["pod"] == "default/web-0"
    assert msgspec.json.decode(Problem.objects.get().body)["flow"] is not None


def test_a_node_that_leaves_the_sight_keeps_its_problems(
    judging: tuple[Judging, Wrong], store: MemoryStore
) -> None:
    loop, checks = judging
    checks.found = (problem("a"),)
    loop._turn()
    loop._turn()
    store.set_connected("a", False, time.time())
    checks.found = ()
    show(store, pod_network(3), connected=False)
    loop._turn()
    row = Problem.objects.get(kind="route-missing")
    assert (row.gone_at, row.unverified) == (None, "a's collector is not connected")


def test_a_state_counts_as_judged_when_nothing_is_left_to_do(judging: tuple[Judging, Wrong]) -> None:
    loop, checks = judging
    checks.found, checks.left = (problem("a"),), True
    loop._turn()
    loop._turn()
    row = Checking.objects.get()
    assert (row.judged_at, row.judging_since is None) == (None, False)
    assert Problem.objects.get().gone_at is None, "what is found meanwhile is told"
    checks.found = ()
    loop._turn()
    assert Problem.objects.get().gone_at is None, "it may be found again by what is left to do"
    checks.left = False
    loop._turn()
    row = Checking.objects.get()
    assert (row.judged_at is None, row.judging_since) == (False, None)
    assert Problem.objects.get().gone_at is not None


@pytest.mark.parametrize(
    ("clock_s", "said"), [(None, 0), (-4.9, 0), (4.9, 0), (7.1, 5), (-42.0, -40), (-3700.0, -3720)]
)
def test_a_nodes_clock_is_told_roughly_and_only_where_no_network_explains_it(
    judging: tuple[Judging, Wrong], store: MemoryStore, clock_s: float | None, said: int
) -> None:
    Collector.objects.update(clock_s=clock_s)
    assert Looker(store).look().health["a"].clock_s == said
    store.set_connected("a", False, time.time())
    assert Looker(store).look().health["a"].clock_s == 0


def test_a_collector_that_never_connected_is_waited_for_and_one_that_did_is_lost(
    judging: tuple[Judging, Wrong], store: MemoryStore
) -> None:
    collector, _ = enrol("new", approve=True)
    seen = Looker(store).look()
    assert (seen.health["new"].awaited, seen.health["a"].awaited) == (True, False)
    sentence = "new has been enrolled, but its collector has not connected yet: nothing there is checked"
    assert seen.sight.away == {"new": sentence}
    Collector.objects.filter(pk=collector.pk).update(last_seen_at=timezone.now())
    seen = Looker(store).look()
    assert not seen.health["new"].awaited
    assert seen.sight.away == {"new": "new's collector is not connected"}


def test_since_when_a_state_waits_is_not_since_the_last_round(judging: tuple[Judging, Wrong]) -> None:
    loop, checks = judging
    checks.left = True  # it is never done
    loop._turn()
    first = Checking.objects.get().judging_since
    loop._turn()
    assert first is not None
    assert Checking.objects.get().judging_since == first
    assert loop._since(0.0) == first
    assert abs((loop._since(3600.0) - timezone.now()).total_seconds() + 3600) < 60

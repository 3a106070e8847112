"""Every accepted trace ends once: claims and their leases, lost workers, lost tasks, and what is too old."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.utils import OperationalError
from django.test import Client
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisGone

from lab.stack import wait_until
from netviz import lease
from netviz.ingest.memory_store import MemoryStore
from netviz.inventory.models import Collector
from netviz.inventory.service import enrol
from netviz.tracing import claims, execution, tasks, tending
from netviz.tracing.claims import take
from netviz.tracing.models import TraceRun
from tests.core.sim.build import textbook
from tests.web.states import show

pytestmark = pytest.mark.django_db

REQUEST = {"from": "pod-1-1", "to": "pod-2-1"}
ENDS = {"done", "failed"}


@pytest.fixture
def cluster(store: MemoryStore) -> MemoryStore:
    """The textbook cluster in the live state."""
    for node in textbook()[0].cluster().nodes.values():
        show(store, node)
    return store


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tasks that were sent, instead of a queue."""
    sent: list[int] = []
    monkeypatch.setattr(tasks, "send", lambda pk, *at_least: sent.append(pk))
    return sent


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The traces whose watchers were told of a change."""
    announced: list[int] = []
    for module in (execution, tending):
        monkeypatch.setattr(module, "announce", announced.append)
    return announced


def accepted(**fields: Any) -> TraceRun:
    """A run that was accepted and whose task was sent just now, as far as `fields` don't say otherwise."""
    age = fields.pop("age", timedelta())
    fields = {"status": "queued", "sent_at": timezone.now(), **fields}
    run = TraceRun.objects.create(request=REQUEST, source="a", target="b", proto="tcp", **fields)
    TraceRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - age)
    return run


def now(run: TraceRun) -> TraceRun:
    return TraceRun.objects.get(pk=run.pk)


def lapse(run: TraceRun) -> None:
    """Let the lease of a run's claim lapse, as it does when its worker is dead or stopped."""
    TraceRun.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_only_one_worker_gets_a_claim() -> None:
    run = accepted()
    assert take(run.pk) is not None
    assert take(run.pk) is None
    assert (now(run).status, now(run).attempts) == ("running", 1)


def test_a_dead_workers_run_is_queued_again_run_by_another_and_ends_once(
    cluster: MemoryStore, queue: list[int], told: list[int]
) -> None:
    run = accepted()
    assert take(run.pk) is not None  # and its worker dies
    assert tending.tend() == 0
    assert (now(run).status, queue) == ("running", [])
    lapse(run)
    assert tending.tend() == 0
    assert (now(run).status, queue, told) == ("queued", [run.pk], [run.pk])
    execution.execute(run.pk, {})
    assert (now(run).status, now(run).attempts, now(run).lease_until) == ("done", 2, None)


def test_what_ended_two_workers_ends_with_an_error_that_says_what_to_do(
    queue: list[int], told: list[int]
) -> None:
    run = accepted()
    for _ in range(2):
        assert take(run.pk) is not None
        lapse(run)
        tending.tend()
    assert now(run).status == "failed"
    assert "trace again" in now(run).error
    assert told == [run.pk] * 2
    assert queue == [run.pk]
    assert take(run.pk) is None
    tending.tend()
    assert told == [run.pk] * 2


def test_a_worker_that_was_stopped_for_a_while_writes_nothing_over_anothers_result(
    cluster: MemoryStore, queue: list[int]
) -> None:
    run = accepted()
    stopped = take(run.pk)
    assert stopped is not None
    lapse(run)
    tending.tend()
    execution.execute(run.pk, {})
    done = now(run)
    assert not stopped.finish(status="failed", error="late")
    assert not stopped.give_back()
    assert (now(run).status, now(run).finished_at) == ("done", done.finished_at)


def test_a_worker_that_nobody_replaced_meanwhile_may_still_finish(queue: list[int]) -> None:
    run = accepted()
    slow = take(run.pk)
    assert slow is not None
    lapse(run)
    tending.tend()
    assert now(run).status == "queued"
    assert slow.finish(status="done")
    assert take(run.pk) is None


@pytest.mark.parametrize("sent", [None, timedelta(seconds=11)])
def test_a_lost_task_is_sent_again(queue: list[int], sent: timedelta | None) -> None:
    lost = accepted(sent_at=sent and timezone.now() - sent)
    accepted()  # its task was sent just now
    for _ in range(2):
        tending.tend()
    assert queue == [lost.pk]


def test_what_no_worker_takes_is_ended(queue: list[int], told: list[int]) -> None:
    old, fresh = accepted(age=timedelta(minutes=7)), accepted(age=timedelta(minutes=5))
    assert tending.tend() == 1
    assert (now(old).status, now(fresh).status, told) == ("failed", "queued", [old.pk])
    assert now(old).finished_at is not None
    assert "see that a worker runs" in now(old).error


def test_a_run_of_an_earlier_version_that_hangs_is_ended(queue: list[int]) -> None:
    """Such a run has no lease."""
    run = accepted(status="running", sent_at=None, age=timedelta(minutes=10))
    fresh = accepted(status="running", sent_at=None)
    tending.tend()
    assert (now(run).status, now(fresh).status, queue) == ("failed", "queued", [fresh.pk])


def test_old_runs_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(status="done", age=timedelta(days=31))
    unfinished, done, newest = accepted(), accepted(status="done"), accepted(status="failed")
    assert tending.delete_old() == 1
    assert TraceRun.objects.count() == 3
    monkeypatch.setattr(tending, "KEEP_RUNS", 1)
    tending.delete_old()
    assert set(TraceRun.objects.values_list("pk", flat=True)) == {unfinished.pk, newest.pk}
    assert not TraceRun.objects.filter(pk=done.pk).exists()


def test_a_run_whose_worker_finds_redis_away_is_given_back(
    cluster: MemoryStore, queue: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise RedisGone("no Redis")

    run = accepted()
    with monkeypatch.context() as patch:
        patch.setattr(execution, "live", gone)
        execution.execute(run.pk, {})
    assert (now(run).status, now(run).attempts, now(run).error) == ("queued", 0, "")
    execution.execute(run.pk, {})
    assert now(run).status == "done"


def test_a_result_waits_for_a_database_that_is_away(
    queue: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = accepted()
    claim = take(run.pk)
    assert claim is not None
    mine, failures = claim.mine, iter([OperationalError("locked"), OperationalError("full")])

    class Failing:
        def update(self, **fields: Any) -> int:
            if (failure := next(failures, None)) is not None:
                raise failure
            return mine.update(**fields)

    monkeypatch.setattr(lease, "RETRY_S", 0.01)
    monkeypatch.setattr(lease, "connection", type("Kept", (), {"close": lambda: None}))
    monkeypatch.setattr(claim, "mine", Failing())
    assert claim.finish(status="done")
    assert now(run).status == "done"


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_renewed_while_its_worker_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    run = accepted()
    claim = take(run.pk)
    assert claim is not None
    lapse(run)
    with claim:
        wait_until(lambda: now(run).lease_until > timezone.now(), 300, "the lease is renewed")
        # A tender that saw the lapsed lease has queued it again: it is running all the same.
        TraceRun.objects.filter(pk=run.pk).update(status="queued")
        wait_until(lambda: now(run).status == "running", 300, "the run is taken back")


@pytest.mark.django_db(transaction=True)
def test_a_run_that_takes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    monkeypatch.setattr(claims, "LONGEST_S", 0.1)
    run = accepted()
    claim = take(run.pk)
    assert claim is not None
    with claim:
        wait_until(lambda: now(run).status == "failed", 300, "it is ended")
    assert "did not finish within" in now(run).error
    assert not claim.finish(status="done")


@pytest.mark.django_db(transaction=True)
def test_a_start_goes_on_with_what_an_earlier_server_left(
    queue: list[int], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "TEND_EVERY_S", 0.02)
    for node in ("node-1", "node-2", "gone"):
        collector = enrol(node, approve=True)[0]
        age = timedelta(days=1 if node == "gone" else 0)
        Collector.objects.filter(pk=collector.pk).update(last_seen_at=timezone.now() - age)
    runs = [accepted(status=status, sent_at=None) for status in ("queued", "running", "done")]
    tender = tending.Tender()
    tender.start()
    try:
        nodes = textbook()[0].cluster().nodes
        show(store, nodes["node-1"])
        # One of the two nodes that were there lately is missing: a trace would not know its way.
        assert tender._thread is not None
        tender._thread.join(0.3)
        assert queue == []
        show(store, nodes["node-2"])
        wait_until(lambda: queue == [runs[0].pk, runs[1].pk], 300, "both are queued again")
    finally:
        tender.stop()


@pytest.mark.django_db(transaction=True)
def test_a_trace_that_collectors_could_not_know_yet_is_asked_for_again(
    queue: list[int], store: MemoryStore, token: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has just started knows nothing; that isn't the request's fault."""
    secret = token("operator")
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    enrol("node-1", approve=True)
    Collector.objects.update(last_seen_at=timezone.now())
    tending.tender.start()
    try:
        answer = program.post("/api/traces", data=json.dumps(REQUEST), content_type="application/json")
        assert (answer.status_code, answer["Retry-After"]) == (503, "2")
        for node in textbook()[0].cluster().nodes.values():
            show(store, node)
        wait_until(lambda: not tending.tender.awaits_collectors, 300, "the collectors are back")
    finally:
        tending.tender.stop()
    assert (
        program.post(
            "/api/traces", data=json.dumps({**REQUEST, "from": "x"}), content_type="application/json"
        ).status_code
        == 400
    )
    assert queue == []


@pytest.mark.django_db(transaction=True)
def test_collectors_that_do_not_come_back_are_not_waited_for_long(
    queue: list[int], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "TEND_EVERY_S", 0.02)
    monkeypatch.setattr(tending, "COLLECTORS_RETURN_S", 0.2)
    enrol("gone", approve=True)
    Collector.objects.update(last_seen_at=timezone.now())
    run = accepted(sent_at=None)
    tender = tending.Tender()
    tender.start()
    try:
        wait_until(lambda: queue == [run.pk], 300, "it is queued again")
    finally:
        tender.stop()


@pytest.mark.django_db(transaction=True)
def test_a_tender_goes_on_when_the_database_is_back(
    queue: list[int], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, away = tending.tend, threading.Event()

    def tend() -> int:
        if away.is_set():
            raise OperationalError("gone")
        return real()

    monkeypatch.setattr(tending, "TEND_EVERY_S", 0.02)
    monkeypatch.setattr(tending, "tend", tend)
    away.set()
    tender = tending.Tender()
    tender.start()
    try:
        wait_until(lambda: "cannot look after the traces" in caplog.text, 300, "it says so")
        run = accepted(sent_at=None)
        away.clear()
        wait_until(lambda: queue == [run.pk], 300, "it goes on")
    finally:
        tender.stop()
    assert caplog.text.count("cannot look after the traces") == 1

"""POST /api/traces and what comes of it: validation, the run, lists, overload, retention."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from netviz.core.wire.messages import AgentStatus
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import CollectorReport
from netviz.tracing import execution, predict, service, tasks
from netviz.tracing.models import TraceRun
from tests.core.sim.build import textbook
from tests.web.states import show

pytestmark = pytest.mark.django_db


@pytest.fixture
def cluster(store: MemoryStore) -> MemoryStore:
    """The textbook cluster in the live state."""
    for node in textbook()[0].cluster().nodes.values():
        show(store, node)
    return store


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tasks that were sent, instead of a queue: the server has no hand free to trace at once."""
    monkeypatch.setattr(service, "at_once", threading.Semaphore(0))
    sent: list[int] = []
    monkeypatch.setattr(tasks, "send", lambda pk, *at_least: sent.append(pk))
    return sent


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


def post(client: Client, **request: Any) -> Any:
    return client.post("/api/traces", data=json.dumps(request), content_type="application/json")


def test_a_trace_is_queued_run_and_read(cluster: MemoryStore, queue: list[int], operator: Client) -> None:
    request = {"from": "pod-1-1", "to": "pod-2-1", "proto": "tcp", "dport": 80}
    answer = post(operator, **request, color="blue")
    assert answer.status_code == 202
    trace_id = answer.json()["id"]
    assert queue == [int(trace_id)]
    queued = operator.get(f"/api/traces/{trace_id}").json()
    assert (queued["status"], queued["trace"], queued["user"]) == ("queued", None, "a-operator")
    execution.execute(int(trace_id), {})
    done = operator.get(f"/api/traces/{trace_id}").json()
    assert (done["status"], done["error"], done["disposition"]) == ("done", None, "DELIVERED")
    assert done["request"] == request
    trace = done["trace"]
    assert (trace["version"], trace["disposition"], trace["certainty"]) == (1, "DELIVERED", "certain")
    assert (done["outcome"], done["headline"]) == (trace["outcome"], trace["headline"])
    assert done["outcome"] == "good"
    assert [entry["node"] for entry in trace["state"]] == ["node-1", "node-2"]
    assert TraceRun.objects.get().inputs == {"node-1": 1, "node-2": 1}
    (listed,) = operator.get("/api/traces?limit=20").json()["traces"]
    assert listed["id"] == trace_id
    assert "trace" not in listed


def test_the_answer_is_there_at_once(
    cluster: MemoryStore, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No queue, no worker: the ends are found once, and the run is written once, done."""
    monkeypatch.setattr(tasks, "send", lambda *_: pytest.fail("queued"))
    answer = post(operator, **{"from": "pod-1-1", "to": "pod-2-1"})
    run = answer.json()
    assert (answer.status_code, run["status"], run["disposition"]) == (202, "done", "DELIVERED")
    assert operator.get(f"/api/traces/{run['id']}").json() == run
    kept = TraceRun.objects.get()
    assert kept.inputs == {"node-1": 1, "node-2": 1}
    assert kept.took_s is not None
    assert service.at_once.acquire(blocking=False), "the next one finds a hand free"
    service.at_once.release()


def test_a_simulator_that_fails_at_once_fails_the_run_and_frees_its_place(
    cluster: MemoryStore, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(resolved: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(execution, "predict", broken)
    for _ in range(settings.TRACES_AT_ONCE + 1):
        run = post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}).json()
        assert (run["status"], run["trace"]) == ("failed", None)
        assert "the simulator failed" in run["error"]


@pytest.mark.parametrize(
    ("listens", "proto", "dport"),
    [
        ((("tcp", 8080), ("tcp", 443), ("udp", 53)), "tcp", 443),
        ((("udp", 53),), "udp", 53),
        ((), "icmp", None),
    ],
)
def test_auto_goes_to_what_the_target_listens_to(
    store: MemoryStore, operator: Client, listens: tuple[tuple[str, int], ...], proto: str, dport: int | None
) -> None:
    net, parts = textbook()
    parts["pod-2-1"].lists["sockets"] = []
    parts["pod-2-1"].listen("tcp", 22, "127.0.0.1")
    for what, port in listens:
        parts["pod-2-1"].listen(what, port)
    for node in net.cluster().nodes.values():
        show(store, node)
    run = post(operator, **{"from": "pod-1-1", "to": "pod-2-1", "proto": "auto"}).json()
    assert (run["trace"]["flow"]["proto"], run["trace"]["flow"]["dport"]) == (proto, dport)
    assert run["disposition"] == "DELIVERED"
    assert run["request"]["proto"] == "auto"


def test_a_task_that_comes_twice_runs_once(cluster: MemoryStore, queue: list[int], operator: Client) -> None:
    run = TraceRun.objects.get(pk=post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}).json()["id"])
    execution.execute(run.pk, {})
    first = TraceRun.objects.get(pk=run.pk).finished_at
    execution.execute(run.pk, {})
    assert TraceRun.objects.get(pk=run.pk).finished_at == first


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"from": "nobody", "to": "pod-2-1"}, "no pod, namespace or node is called 'nobody'"),
        ({"from": "pod-1-1", "to": "pod-2-1", "mode": "observe"}, "not available in this version"),
        ({"from": "pod-1-1", "to": "pod-2-1", "mode": "both"}, "not available in this version"),
        ({"from": "pod-1-1", "to": "pod-2-1", "dport": 70000}, "read: dport: expected int <= 65535"),
        ({"from": "pod-1-1", "to": "pod-2-1", "dport": "80"}, "dport: expected int | null, got str"),
        ({"from": "pod-1-1", "to": "pod-2-1", "proto": "sctp"}, "proto: "),
        ({"from": "pod-1-1"}, "read: lacks the required field to"),
        ({"from": "", "to": "pod-2-1"}, "from: expected str of length >= 1"),
        ({"from": "pod-1-1", "to": "pod-2-1", "len": 10}, "len: expected int >= 20"),
    ],
)
def test_bad_requests_are_told_in_a_sentence(
    cluster: MemoryStore, queue: list[int], operator: Client, request_: dict[str, Any], words: str
) -> None:
    answer = post(operator, **request_)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert queue == []
    assert not TraceRun.objects.exists()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'"x"'])
def test_what_is_no_request_is_refused(cluster: MemoryStore, operator: Client, body: bytes) -> None:
    answer = operator.post("/api/traces", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_what_is_too_large_is_refused_in_one_line_of_the_log(
    operator: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("ERROR"):
        answer = operator.post("/api/traces", data=b" " * (3 << 20), content_type="application/json")
        strange = operator.get("/api/traces", headers={"host": "[elsewhere"})
    assert (answer.status_code, answer.json()) == (413, {"error": "the request is over 2.5 MiB"})
    assert strange.status_code == 400
    told = [one for one in caplog.records if one.name.startswith("django.security")]
    assert len(told) == 2
    assert not any(one.exc_info for one in told)


def test_without_any_state_a_trace_is_refused(store: MemoryStore, operator: Client) -> None:
    assert "no collector" in post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}).json()["error"]


def test_a_pod_that_went_away_meanwhile_fails_the_run(
    cluster: MemoryStore, queue: list[int], operator: Client
) -> None:
    trace_id = post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}).json()["id"]
    cluster.forget("node-1")
    execution.execute(int(trace_id), {})
    failed = operator.get(f"/api/traces/{trace_id}").json()
    assert (failed["status"], failed["trace"]) == ("failed", None)
    assert "'pod-1-1'" in failed["error"]


def test_overload_is_refused_with_503(
    cluster: MemoryStore, queue: list[int], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 3)
    answers = [post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 503]
    assert "3 traces are waiting" in answers[-1].json()["error"]
    assert answers[-1]["Retry-After"] == "2"
    execution.execute(queue[0], {})
    assert post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}).status_code == 202


def test_a_queue_that_cannot_be_reached_is_said(
    cluster: MemoryStore, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(service, "at_once", threading.Semaphore(0))
    monkeypatch.setattr(tasks, "send", broken)
    answer = post(operator, **{"from": "pod-1-1", "to": "pod-2-1"})
    assert (answer.status_code, TraceRun.objects.get().status) == (503, "failed")


def test_a_failing_simulator_fails_the_run_not_the_worker(
    cluster: MemoryStore, queue: list[int], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(execution, "predict", broken)
    trace_id = post(operator, **{"from": "pod-1-1", "to": "pod-2-1"}).json()["id"]
    execution.execute(int(trace_id), {})
    assert "the simulator failed" in operator.get(f"/api/traces/{trace_id}").json()["error"]


@pytest.mark.parametrize("trace_id", ["0", "99999", "abc", "-1", "9" * 40, "²"])
def test_unknown_ids_are_not_found(operator: Client, trace_id: str) -> None:
    answer = operator.get(f"/api/traces/{trace_id}")
    assert answer.status_code == 404
    assert "there is no trace" in answer.json()["error"]


@pytest.mark.parametrize(("query", "status"), [("limit=0", 400), ("limit=x", 400), ("limit=200", 200)])
def test_the_lists_limit_is_checked(operator: Client, query: str, status: int) -> None:
    assert operator.get(f"/api/traces?{query}").status_code == status


def test_a_worker_waits_until_it_knows_what_the_asker_knew(
    cluster: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: revision.revision for name, revision in cluster.node_revisions().items()}
    assert predict.catch_up(known)
    node = textbook()[0].cluster().nodes["node-1"]
    later = threading.Timer(0.1, show, (cluster, node))
    later.start()
    assert predict.catch_up({"node-1": known["node-1"] + 1})
    later.join()
    monkeypatch.setattr(predict, "CATCH_UP_S", 0.05)
    assert not predict.catch_up({"node-1": 99})
    assert not predict.catch_up({"unheard-of": 1})


def test_only_what_changed_of_late_is_waited_for(store: MemoryStore) -> None:
    for node in textbook()[0].cluster().nodes.values():
        show(store, node, silent_s=60)
    assert predict.recent_revisions() == {}
    store.report("node-1", CollectorReport("1", AgentStatus()), time.time())
    assert predict.recent_revisions() == {"node-1": 1}

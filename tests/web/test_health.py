"""/healthz and /metrics: what probes and Prometheus read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.utils import OperationalError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from netviz import health
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import CollectorReport
from netviz.tracing.models import TraceRun
from tests.web.states import NOW_S, pod_network, show

pytestmark = pytest.mark.django_db


class Worker:
    """A worker that lives or not."""

    def __init__(self, alive: bool) -> None:
        self.alive = alive


@pytest.mark.parametrize(("alive", "status"), [(True, 200), (False, 503)])
def test_health_needs_the_worker(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, alive: bool, status: int
) -> None:
    monkeypatch.setattr(health, "in_process_worker", Worker(alive))
    show(store, pod_network())
    show(store, pod_network(node="b", third=2), connected=False)
    answer = Client().get("/healthz")
    assert answer.status_code == status
    body = answer.json()
    assert body["collectors"] == {"connected": 1, "known": 2}
    assert (body["database"], body["store"], body["journal"]) == ("ok", "ok", "ok")
    assert (body["status"] == "ok") is alive


def test_health_needs_the_database(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(health, "in_process_worker", Worker(True))
    monkeypatch.setattr(connection, "cursor", broken)
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()["database"]) == (503, "does not answer")


def samples(client: Client) -> dict[tuple[str, str], float]:
    text = client.get("/metrics").content.decode()
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_there_is(store: MemoryStore, browser: Callable[[str], Any]) -> None:
    show(store, pod_network())
    store.report("a", CollectorReport("1", AgentStatus(lag_s=0.5, lost_events=4)), NOW_S)
    now = timezone.now()
    TraceRun.objects.create(
        request={},
        source="a",
        target="b",
        proto="tcp",
        status="done",
        disposition="DROPPED",
        started_at=now,
        finished_at=now + timedelta(seconds=2),
    )
    found = samples(browser("viewer"))
    assert found["netviz_collectors_connected", "{}"] == 1
    assert found["netviz_changes_total", "{}"] == store.revision
    assert found["netviz_collector_lag_seconds", '{"node": "a"}'] == 0.5
    assert found["netviz_collector_lost_events_total", '{"node": "a"}'] == 4
    assert found["netviz_node_complete", '{"node": "a"}'] == 1
    assert found["netviz_browsers", "{}"] == 0
    assert found["netviz_traces", '{"status": "done"}'] == 1
    assert found["netviz_trace_duration_seconds_count", '{"disposition": "DROPPED"}'] == 1
    assert found["netviz_trace_duration_seconds_sum", '{"disposition": "DROPPED"}'] == 2
    assert found["netviz_trace_duration_seconds_count", '{"disposition": "LOOP"}'] == 0


def test_metrics_are_for_viewers_and_for_who_has_their_token(
    store: MemoryStore, settings: Any, browser: Callable[[str], Any]
) -> None:
    assert Client().get("/metrics").status_code == 401
    assert Client(headers={"Authorization": "Bearer "}).get("/metrics").status_code == 401
    assert browser("nobody").get("/metrics").status_code == 403
    settings.METRICS_TOKEN = "secret"
    assert Client().get("/metrics").status_code == 401
    assert Client(headers={"Authorization": "Bearer wrong"}).get("/metrics").status_code == 401
    assert Client(headers={"Authorization": "Bearer secret"}).get("/metrics").status_code == 200

"""What a trace weighs: kept packed, sent compressed, old ones deleted by their bytes.

pod-1-1 - node-1 ---- node-2 - pod-2-1 ... pod-2-20, which are the endpoints of the service 10.96.0.1
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from netviz.core.model.netfilter import SetElem
from netviz.core.state.node import ClusterState
from netviz.ingest.memory_store import MemoryStore
from netviz.tracing import execution, tasks
from netviz.tracing.models import TraceRun
from netviz.tracing.packed import pack, unpack
from netviz.tracing.tending import delete_old
from tests.core.sim.build import textbook
from tests.core.sim.nft import GOTO, PREROUTING, chain, daddr, dnat, e, elements
from tests.web.states import show

ENDPOINTS = 20
MOST_SENT_BYTES = 100_000
MOST_KEPT_BYTES = 40_000


def service_cluster() -> ClusterState:
    """Two nodes, and a service whose endpoints node-1 draws."""
    net, parts = textbook(2, ENDPOINTS)
    node = parts["node-1"]
    for number in range(ENDPOINTS):
        chain(node, f"ep{number}", dnat(f"10.1.2.{11 + number}", 80))
    picks = [SetElem(n.to_bytes(4, "little"), verdict=GOTO, chain=f"ep{n}") for n in range(ENDPOINTS)]
    elements(node, "eps", *picks)
    draw = (e("numgen", dreg=1, modulus=ENDPOINTS, type=1), e("lookup", set="eps", sreg=1, dreg=0))
    chain(node, "pre", (*daddr("10.96.0.1"), *draw), hook=PREROUTING, priority=-100, type="nat")
    node.route("10.96.0.0/12", "192.168.0.254")
    return net.cluster()


@pytest.fixture
def traced(
    store: MemoryStore, token: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, db: None
) -> tuple[Client, TraceRun]:
    """A client, and its trace to the service."""
    monkeypatch.setattr(tasks, "send", lambda *_: None)
    cluster = service_cluster()
    for node in cluster.nodes.values():
        show(store, node)
    store.put_bodies(cluster.bodies.values())
    client = Client(headers={"Authorization": f"Bearer {token('operator')}"})
    request = {"from": "pod-1-1", "to": "10.96.0.1", "dport": 80}
    answer = client.post("/api/traces", data=json.dumps(request), content_type="application/json")
    execution.execute(int(answer.json()["id"]), {})
    return client, TraceRun.objects.get()


def test_a_service_of_many_endpoints_is_small_in_the_database_and_on_the_wire(
    traced: tuple[Client, TraceRun],
) -> None:
    client, run = traced
    whole = client.get(f"/api/traces/{run.pk}").json()
    assert len(whole["trace"]["branches"]) == ENDPOINTS
    assert run.packed_bytes == len(run.packed) <= MOST_KEPT_BYTES
    sent = client.get(f"/api/traces/{run.pk}", headers={"Accept-Encoding": "gzip"})
    assert sent["Content-Encoding"] == "gzip"
    assert len(sent.content) <= MOST_SENT_BYTES < len(json.dumps(whole)) / 5
    assert json.loads(gzip.decompress(sent.content)) == whole


def runs(*sizes: int) -> list[int]:
    return [
        TraceRun.objects.create(
            request={}, source="a", target="b", proto="tcp", status="done", packed=bytes(n), packed_bytes=n
        ).pk
        for n in sizes
    ]


@pytest.mark.django_db
def test_the_oldest_go_when_all_together_weigh_too_much(settings: Any) -> None:
    made = runs(500, 10, 400, 300, 290)
    waiting = TraceRun.objects.create(request={}, source="a", target="b", proto="tcp")
    settings.TRACES_MAX_BYTES = 1500
    assert delete_old() == 0
    settings.TRACES_MAX_BYTES = 1000
    assert delete_old() == 1
    assert list(TraceRun.objects.order_by("pk").values_list("pk", flat=True)) == [*made[1:], waiting.pk]
    settings.TRACES_MAX_BYTES = 0
    delete_old()
    assert TraceRun.objects.get() == waiting


@pytest.mark.django_db(transaction=True)
def test_traces_of_before_are_packed_and_read() -> None:
    result: dict[str, Any] = {"version": 1, "disposition": "DELIVERED", "branches": [], "odd": "ä\u2028"}
    before, now = ("tracing", "0002_claims"), MigrationExecutor(connection).loader.graph.leaf_nodes()
    try:
        executor = MigrationExecutor(connection)
        executor.migrate([before])
        old = executor.loader.project_state([before]).apps.get_model("tracing", "TraceRun")
        made = [
            old.objects.create(
                request={}, source="a", target="b", proto="tcp", status="done", result=result
            ).pk
            for _ in range(3)
        ]
        empty = old.objects.create(request={}, source="a", target="b", proto="tcp", status="failed").pk
    finally:
        MigrationExecutor(connection).migrate(now)
    assert [TraceRun.objects.get(pk=pk).result for pk in made] == [result] * 3
    assert TraceRun.objects.get(pk=empty).result is None


def test_packing_keeps_everything() -> None:
    result = {"a": [1, 2.5, None, True, "text"], "b": {"c": {}}}
    assert unpack(pack(result)) == result

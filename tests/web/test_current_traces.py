"""A trace that is kept says whether it is up to date: whether tracing again would come to the same."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from websockets.asyncio.client import connect

from netviz.ingest.memory_store import MemoryStore
from netviz.tracing import currency
from netviz.tracing.models import TraceRun
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import DROP, FORWARD, INPUT, chain, daddr, verdict
from tests.web.states import show

pytestmark = pytest.mark.django_db(transaction=True)

REQUEST = {"from": "pod-1-1", "to": "pod-2-1", "dport": 80}


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    currency._kept.clear()
    yield
    currency._kept.clear()


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


class Cluster:
    """The textbook cluster as the server's live state."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.net: Net
        self.parts: dict[str, Ns]
        self.net, self.parts = textbook(2, 3)
        self.show()

    def show(self) -> None:
        """Let the server see what was built."""
        for node in self.net.cluster().nodes.values():
            known = self.store.state(node.node)
            if known != node:
                show(self.store, node)
        self.store.put_bodies(self.net.bodies.values())


@pytest.fixture
def cluster(store: MemoryStore) -> Cluster:
    return Cluster(store)


def start(client: Client) -> str:
    answer = client.post("/api/traces", data=json.dumps(REQUEST), content_type="application/json").json()
    assert (answer["trace"]["disposition"], answer["current"]) == ("DELIVERED", True)
    assert (answer["outdated_since"], answer["current_note"]) == (None, None)
    trace_id: str = answer["id"]
    return trace_id


def said(client: Client, trace_id: str) -> tuple[bool | None, str | None]:
    found = client.get(f"/api/traces/{trace_id}").json()
    return found["current"], found["current_note"]


def test_it_is_out_of_date_from_the_change_on_and_up_to_date_again_once_that_is_undone(
    cluster: Cluster, operator: Client
) -> None:
    trace_id = start(operator)
    cluster.parts["node-1"].no_route("10.1.2.0/24")
    cluster.show()
    found = operator.get(f"/api/traces/{trace_id}").json()
    assert (found["current"], found["current_note"]) == (False, "The state that this trace read has changed.")
    assert abs(time.time() - datetime.fromisoformat(found["outdated_since"]).timestamp()) < 60
    assert found["trace"]["disposition"] == "DELIVERED", "what was found then is kept as it was"
    cluster.parts["node-1"].route("10.1.2.0/24", "192.168.0.2")
    cluster.show()
    assert said(operator, trace_id) == (True, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made["pod-1-3"].route("10.9.0.0/16", "10.1.1.1"),
        lambda made: made["node-1"].route("10.1.7.0/24", "192.168.0.7"),
        lambda made: made["pod-2-2"].listen("tcp", 81),
        lambda made: chain(made["node-2"], "late", (verdict(DROP),), hook=INPUT),
        lambda made: chain(made["node-2"], "f", (*daddr("10.9.9.9"), verdict(DROP)), hook=FORWARD, policy=1),
    ],
    ids=[
        "another pod's route",
        "a route to elsewhere",
        "another pod's socket",
        "a chain elsewhere",
        "a route's twin",
    ],
)
def test_what_makes_no_other_trace_of_it_is_no_news(
    cluster: Cluster, operator: Client, change: Callable[[dict[str, Ns]], object]
) -> None:
    cluster.parts["node-2"].sysctl("net.ipv4.conf.all.rp_filter", 0)
    for name in ("node-1", "node-2"):
        chain(cluster.parts[name], "first", hook=FORWARD)
    cluster.show()
    trace_id = start(operator)
    before = TraceRun.objects.get(pk=trace_id).result
    change(cluster.parts)
    cluster.show()
    again = operator.post("/api/traces", data=json.dumps(REQUEST), content_type="application/json").json()[
        "trace"
    ]
    is_same = before is not None and currency.essence_of(before) == currency.essence_of(again)
    assert said(operator, trace_id) == ((True, None) if is_same else (False, currency.CHANGED))
    assert is_same or change.__code__.co_names[-1] == "FORWARD", "only a chain that it passes is seen in it"


def test_a_pod_that_is_gone(cluster: Cluster, operator: Client) -> None:
    trace_id = start(operator)
    cluster.net.nodes["node-2"].remove(cluster.parts["pod-2-1"])
    cluster.show()
    current, note = said(operator, trace_id)
    assert current is False
    assert note == "Its ends aren't found any more: no pod is called 'pod-2-1', and it is not an address."


def test_where_a_collector_is_gone_nobody_knows(cluster: Cluster, operator: Client) -> None:
    trace_id = start(operator)
    cluster.store.set_connected("node-2", False, time.time())
    current, note = said(operator, trace_id)
    assert current is None
    assert note is not None
    assert note.startswith("node-2's collector is not connected: ")
    cluster.store.set_connected("node-2", True, time.time())
    assert said(operator, trace_id) == (True, None)


def test_what_was_not_certain_then_is_out_of_date_once_it_would_be(
    cluster: Cluster, operator: Client
) -> None:
    cluster.store.set_connected("node-2", False, time.time())
    posted = operator.post("/api/traces", data=json.dumps(REQUEST), content_type="application/json").json()
    assert (posted["trace"]["certainty"], posted["current"]) == ("unknown", None)
    cluster.store.set_connected("node-2", True, time.time())
    assert said(operator, posted["id"]) == (False, currency.FRESH_NOW)


def test_a_trace_of_another_process_is_compared_when_it_is_opened(cluster: Cluster, operator: Client) -> None:
    trace_id = start(operator)
    currency._kept.clear()
    assert said(operator, trace_id) == (True, None)
    currency._kept.clear()
    cluster.parts["node-1"].no_route("10.1.2.0/24")
    cluster.show()
    found = operator.get(f"/api/traces/{trace_id}").json()
    assert (found["current"], found["outdated_since"]) == (False, None), "since when isn't known"


def test_only_so_many_are_remembered(
    cluster: Cluster, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(currency, "MAX_KEPT", 3)
    started = [start(operator) for _ in range(5)]
    assert list(currency._kept) == [int(one) for one in started[2:]]
    assert said(operator, started[0]) == (True, None)


async def test_an_open_trace_hears_when_it_gets_out_of_date(
    served_here: str, cluster: Cluster, token: Callable[[str], str], operator: Client
) -> None:
    secret = await sync_to_async(token)("viewer")
    trace_id = await sync_to_async(start)(operator)
    headers = {"Authorization": f"Bearer {secret}"}
    async with connect(f"ws://{served_here}/ws/traces/{trace_id}", additional_headers=headers) as socket:

        async def hear() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 300))
            return found

        first = await hear()
        assert (first["status"], first["current"]) == ("done", True)
        assert first["trace"] is not None
        cluster.parts["pod-1-3"].route("10.9.0.0/16", "10.1.1.1")  # no news
        cluster.show()
        cluster.parts["pod-2-1"].lists["sockets"].clear()
        await sync_to_async(cluster.show)()
        news = await hear()
        assert (news["id"], news["current"], news["current_note"]) == (trace_id, False, currency.CHANGED)
        assert news["outdated_since"] is not None
        assert "trace" not in news
        cluster.parts["pod-2-1"].listen("tcp", 80)
        await sync_to_async(cluster.show)()
        assert (await hear())["current"] is True, "another socket, the same answer"


async def test_who_has_the_trace_already_hears_only_whether_it_is_up_to_date(
    served_here: str, cluster: Cluster, token: Callable[[str], str], operator: Client
) -> None:
    secret = await sync_to_async(token)("viewer")
    trace_id = await sync_to_async(start)(operator)
    headers = {"Authorization": f"Bearer {secret}"}

    async def first_of(query: str) -> dict[str, Any]:
        url = f"ws://{served_here}/ws/traces/{trace_id}{query}"
        async with connect(url, additional_headers=headers) as socket:
            found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 20))
            return found

    whole, known = await first_of(""), await first_of("?known=done")
    assert known == {name: value for name, value in whole.items() if name != "trace"}
    assert await first_of("?known=queued") == await first_of("?known=rubbish") == whole
    cluster.parts["pod-2-1"].lists["sockets"].clear()
    await sync_to_async(cluster.show)()
    assert (await first_of("?known=done"))["current"] is False


def test_what_is_not_done_is_neither(operator: Client) -> None:
    run = TraceRun.objects.create(request={}, source="a", target="b", proto="tcp")
    assert said(operator, str(run.pk)) == (None, None)

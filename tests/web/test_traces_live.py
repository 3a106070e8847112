"""A trace over real sockets: posted by HTTP, run by the worker in this process, followed by WebSocket."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from netviz.celery import in_process_worker
from netviz.ingest.memory_store import MemoryStore
from netviz.tracing import consumers
from netviz.tracing.models import TraceRun
from netviz.tracing.notify import announce
from tests.core.sim.build import textbook
from tests.web.states import show

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _worker() -> Iterator[None]:
    """The worker in this process; one for all."""
    in_process_worker.start()
    yield
    in_process_worker.stop()


@pytest.fixture
def address(served_here: str, store: MemoryStore) -> str:
    """host:port of a server that knows the textbook cluster."""
    for node in textbook()[0].cluster().nodes.values():
        show(store, node)
    return served_here


def post(address: str, token: str, request: dict[str, Any]) -> dict[str, Any]:
    call = urllib.request.Request(
        f"http://{address}/api/traces",
        data=json.dumps(request).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=300) as answer:
        assert answer.status == 202
        body: dict[str, Any] = json.load(answer)
        return body


async def follow(address: str, token: str, trace_id: str) -> list[dict[str, Any]]:
    """What the socket says of a trace, until its end."""
    said = []
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(f"ws://{address}/ws/traces/{trace_id}", additional_headers=headers) as trace:
        while not said or said[-1]["status"] not in ("done", "failed"):
            said.append(json.loads(await asyncio.wait_for(trace.recv(), 300)))
    return said


async def test_a_trace_is_followed_to_its_end(address: str, token: Callable[[str], str]) -> None:
    secret = await sync_to_async(token)("operator")
    request = {"from": "pod-1-1", "to": "pod-2-1", "dport": 80}
    posted = await asyncio.to_thread(post, address, secret, request)
    said = await follow(address, secret, posted["id"])
    assert (said[-1]["status"], said[-1]["trace"]["disposition"]) == ("done", "DELIVERED")
    again = await follow(address, secret, posted["id"])
    assert again == said[-1:]


async def test_many_at_once_all_end(address: str, token: Callable[[str], str]) -> None:
    secret = await sync_to_async(token)("operator")
    requests = [{"from": "pod-1-1", "to": f"pod-2-{1 + number % 2}"} for number in range(30)]
    posted = await asyncio.gather(*(asyncio.to_thread(post, address, secret, one) for one in requests))
    ends = await asyncio.gather(*(follow(address, secret, one["id"]) for one in posted))
    assert {end[-1]["status"] for end in ends} == {"done"}


async def test_a_watcher_hears_each_change(address: str, token: Callable[[str], str]) -> None:
    secret = await sync_to_async(token)("viewer")
    run = await TraceRun.objects.acreate(request={}, source="a", target="b", proto="tcp")
    headers = {"Authorization": f"Bearer {secret}"}
    async with connect(f"ws://{address}/ws/traces/{run.pk}", additional_headers=headers) as trace:
        assert json.loads(await asyncio.wait_for(trace.recv(), 300))["status"] == "queued"
        for status in ("running", "failed"):
            await TraceRun.objects.filter(pk=run.pk).aupdate(status=status)
            await asyncio.to_thread(announce, run.pk)
            assert json.loads(await asyncio.wait_for(trace.recv(), 300))["status"] == status


async def test_a_watcher_hears_of_changes_that_nobody_tells(
    address: str, token: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process made them, and Redis, which carries the word, was away."""
    monkeypatch.setattr(consumers, "LOOK_EVERY_S", 0.05)
    secret = await sync_to_async(token)("viewer")
    run = await TraceRun.objects.acreate(request={}, source="a", target="b", proto="tcp")
    headers = {"Authorization": f"Bearer {secret}"}
    async with connect(f"ws://{address}/ws/traces/{run.pk}", additional_headers=headers) as trace:
        for status in ("queued", "running", "done"):
            await TraceRun.objects.filter(pk=run.pk).aupdate(status=status)
            assert json.loads(await asyncio.wait_for(trace.recv(), 300))["status"] == status


async def test_unknown_traces_and_strangers_are_turned_away(
    address: str, token: Callable[[str], str]
) -> None:
    secret = await sync_to_async(token)("viewer")
    headers = {"Authorization": f"Bearer {secret}"}
    async with connect(f"ws://{address}/ws/traces/77", additional_headers=headers) as trace:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(trace.recv(), 300)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404
    with pytest.raises(InvalidStatus):
        await connect(f"ws://{address}/ws/traces/77")


async def test_the_map_goes_over_a_real_socket_too(address: str, token: Callable[[str], str]) -> None:
    secret = await sync_to_async(token)("viewer")
    headers = {"Authorization": f"Bearer {secret}"}
    async with connect(f"ws://{address}/ws/topology", additional_headers=headers) as pages:
        snapshot = json.loads(await asyncio.wait_for(pages.recv(), 300))
    assert {node["name"] for node in snapshot["nodes"]} == {"node-1", "node-2"}

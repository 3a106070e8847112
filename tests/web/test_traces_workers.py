"""Traces from a collector's state to the answer, with the worker in the server and with Celery's own on Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from lab.stack import ROOT, wait_until
from tests.core.sim.build import textbook
from tests.web.served import Collector, Served, eventually
from tests.web.services import redis_server

STATES = textbook()[0].cluster().nodes


@pytest.fixture(scope="module", params=["worker in the server", "worker on Redis"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with tokens for the textbook cluster's nodes, and a worker."""
    folder = tmp_path_factory.mktemp("traces")
    with ExitStack() as stack:
        env = {"NETVIZ_TRACES_AT_ONCE": "0"}
        if request.param == "worker on Redis":
            env["NETVIZ_REDIS_URL"] = stack.enter_context(redis_server(folder / "redis"))
        server = Served(folder / "var", **env)
        server.start()
        stack.callback(server.stop)
        server.api_token = server.provision(*STATES)["token"]
        if "NETVIZ_REDIS_URL" in env:
            assert health(server)["worker"] == "none answers"
            stack.enter_context(celery_worker(server))
        yield server


@contextmanager
def celery_worker(server: Served) -> Iterator[subprocess.Popen[bytes]]:
    """Run Celery's own worker process beside a server. A test may kill it."""
    command = [sys.executable, "-m", "celery", "-A", "netviz", "worker", "--concurrency", "1"]
    with (server.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=server.env, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: health(server)["worker"] == "ok", 40, f"the worker answers; its log: {log.name}"
            )
            yield process
        finally:
            process.terminate()
            process.wait(300)


def health(server: Served) -> dict[str, Any]:
    """What /healthz says, whatever its status."""
    try:
        body: dict[str, Any] = server.get("/healthz", "")
    except urllib.error.HTTPError as err:
        body = json.load(err)
    return body


def post(server: Served, request: dict[str, Any]) -> str:
    call = urllib.request.Request(
        f"{server.url}/api/traces",
        data=json.dumps(request).encode(),
        headers={"Authorization": f"Bearer {server.api_token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=300) as answer:
        return str(json.load(answer)["id"])


async def follow(server: Served, trace_id: str) -> dict[str, Any]:
    """What the socket says of a trace at its end."""
    url = server.url.replace("http", "ws") + f"/ws/traces/{trace_id}"
    async with connect(url, additional_headers={"Authorization": f"Bearer {server.api_token}"}) as trace:
        while True:
            said: dict[str, Any] = json.loads(await asyncio.wait_for(trace.recv(), 300))
            if said["status"] in ("done", "failed"):
                return said


async def test_collected_states_are_traced_and_the_answer_comes_by_socket(served: Served) -> None:
    collectors = [Collector(served, node) for node in STATES]
    async with AsyncExitStack() as stack:
        for collector in collectors:
            collector.source._state = STATES[collector.source.node]
            await stack.enter_async_context(collector)

        def known() -> bool:
            return {n["name"] for n in served.get("/api/topology", served.api_token)["nodes"]} == set(STATES)

        await eventually(lambda: all(collector.settled() for collector in collectors))
        await eventually(known)
        request = {"from": "pod-1-1", "to": "pod-2-1", "dport": 80}
        ids = [await asyncio.to_thread(post, served, request) for _ in range(5)]
        for run in await asyncio.gather(*(follow(served, trace_id) for trace_id in ids)):
            assert (run["status"], run["error"]) == ("done", None)
            assert run["trace"]["disposition"] == "DELIVERED"
            assert [entry["node"] for entry in run["trace"]["state"]] == ["node-1", "node-2"]
    assert health(served)["status"] == "ok"

"""A server, a worker and a collector with Redis or PostgreSQL killed or stopped: what everybody is told, and
that all goes on by itself when the part is back.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lab.stack import wait_until
from tests.core.sim.build import textbook
from tests.web.served import Collector, Served, eventually
from tests.web.services import Service, postgres_service, redis_service
from tests.web.test_traces_workers import celery_worker, post

STATES = textbook()[0].cluster().nodes
PAGES = ("/", "/login/", "/admin/", "/admin/tracing/tracerun/", "/nowhere")
FAILURES = "Internal Server Error|Traceback|without completing handshake"
JSON = (
    "/api/topology",
    "/api/nodes/node-1/state",
    "/api/netns/node-1:4:1:0",
    "/api/traces",
    "/api/traces/1",
    "/metrics",
)


class Site:
    """All the processes."""

    def __init__(
        self, server: Served, services: dict[str, Service], token: str, worker: subprocess.Popen[bytes]
    ) -> None:
        self.server, self.services, self.token, self.worker = server, services, token, worker

    def ask(self, path: str, **headers: str) -> tuple[int, Any, bytes]:
        """GET: status, headers, body."""
        request = urllib.request.Request(self.server.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as err:
            return err.code, err.headers, err.read()

    def api(self, path: str) -> tuple[int, Any, bytes]:
        return self.ask(path, Authorization=f"Bearer {self.token}")

    def health(self) -> dict[str, Any]:
        """What /healthz says to who sends a token along; it is 503 and says when to come again, or 200."""
        status, headers, body = self.api("/healthz")
        said: dict[str, Any] = json.loads(body)
        assert status == (200 if said["status"] == "ok" else 503), said
        assert ("Retry-After" in headers) == (status == 503)
        return said

    def socket(self, path: str) -> connect:
        url = self.server.url.replace("http", "ws") + path
        return connect(url, additional_headers={"Authorization": f"Bearer {self.token}"}, proxy=None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server and a worker on PostgreSQL and Redis, that know the textbook cluster's nodes."""
    folder = tmp_path_factory.mktemp("away")
    with ExitStack() as stack:
        services = {
            "redis": stack.enter_context(redis_service(folder / "redis")),
            "database": stack.enter_context(postgres_service()),
        }
        env = {
            "NETVIZ_REDIS_URL": services["redis"].url,
            "NETVIZ_TRACES_AT_ONCE": "0",
            "NETVIZ_DATABASE_URL": services["database"].url,
        }
        server = Served(folder / "var", **env)
        server.start()
        stack.callback(server.stop)
        server.api_token = server.provision(*STATES)["token"]
        worker = stack.enter_context(celery_worker(server))
        yield Site(server, services, server.api_token, worker)


def check_everybody_is_told(site: Site) -> None:
    """Pages, admin, login, API: 503 and when to come again, each in its own form; static files are there."""
    for path in (*PAGES, *JSON):
        status, headers, body = site.api(path)
        assert (path, status, headers["Retry-After"]) == (path, 503, "5")
        if path in JSON:
            assert "away or busy; try again" in json.loads(body)["error"]
        else:
            assert b"<main" in body
            assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert site.ask("/static/netviz/trace.css")[0] == 200


async def check_sockets_are_told(site: Site) -> None:
    for path in ("/ws/topology", "/ws/traces/1", "/ws/agents"):
        with pytest.raises(InvalidStatus) as refused:
            await site.socket(path)
        assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (
            503,
            "5",
        )


async def end_of(link: ClientConnection) -> int | None:
    """With which code a socket is closed."""
    try:
        while True:
            await asyncio.wait_for(link.recv(), 300)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


async def traced(site: Site) -> str:
    """Ask for a trace, and wait for its end as the API tells it."""
    trace_id = await asyncio.to_thread(post, site.server, {"from": "pod-1-1", "to": "pod-2-1"})

    def ended() -> Any:
        run = json.loads(site.api(f"/api/traces/{trace_id}")[2])
        return run if run["status"] in ("done", "failed") else None

    run = await asyncio.to_thread(wait_until, ended, 40, f"trace {trace_id} ends")
    return str(run["status"])


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("redis", signal.SIGKILL),
        ("database", signal.SIGSTOP),
        ("redis", signal.SIGSTOP),
        ("database", signal.SIGKILL),
    ],
)
async def test_a_part_goes_away_and_comes_back(site: Site, name: str, fault: signal.Signals) -> None:
    part = site.services[name]
    async with ExitStackOfCollectors(site) as collectors:
        await eventually(lambda: all(one.settled() for one in collectors))
        assert await traced(site) == "done"
        async with site.socket("/ws/topology") as page:
            part.kill() if fault == signal.SIGKILL else part.signal(fault)
            try:
                await eventually(lambda: site.health()[name] != "ok")
                others = {"redis", "database"} - {name}
                assert [site.health()[other] for other in others] == ["ok"]
                await asyncio.to_thread(check_everybody_is_told, site)
                await check_sockets_are_told(site)
                if (name, fault) == ("redis", signal.SIGKILL):
                    assert await end_of(page) == 1013
                collectors[0].change(7)
            finally:
                if fault == signal.SIGSTOP:
                    part.signal(signal.SIGCONT)
                else:
                    part.start()
            await eventually(lambda: site.health()["status"] == "ok")
        await eventually(lambda: all(one.settled() for one in collectors))
        assert site.api("/api/topology")[0] == 200
        assert await traced(site) == "done"
    assert not site.server.log_lines(FAILURES)


async def test_a_database_that_takes_no_writes_is_no_fault_of_the_request(site: Site) -> None:
    """As after a failover to a replica."""

    def read_only(value: str) -> None:
        with psycopg.connect(site.services["database"].url, autocommit=True) as other:
            other.execute("set default_transaction_read_only = off")
            other.execute(f"alter system set default_transaction_read_only = {value}")
            other.execute("select pg_reload_conf()")

    def refused() -> Any:
        try:
            post(site.server, {"from": "pod-1-1", "to": "pod-2-1"})
        except urllib.error.HTTPError as err:
            return err.code, err.headers["Retry-After"]
        return None

    async with ExitStackOfCollectors(site) as collectors:
        await eventually(lambda: all(one.settled() for one in collectors))
        read_only("on")
        try:
            assert await eventually(refused) == (503, "5")
        finally:
            read_only("off")
        await eventually(lambda: refused() is None)
    assert not site.server.log_lines(FAILURES)


async def test_accepted_traces_end_once_whatever_is_killed(site: Site) -> None:
    """A killed worker had some of them, and a restarted Redis forgot all of them."""
    async with ExitStackOfCollectors(site) as collectors:
        await eventually(lambda: all(one.settled() for one in collectors))
        pids = [site.worker.pid, *children(site.worker.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        request = {"from": "pod-1-1", "to": "pod-2-1"}
        accepted = [int(await asyncio.to_thread(post, site.server, request)) for _ in range(20)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        site.services["redis"].kill()
        site.services["redis"].start()
        query = f"select status, attempts from tracing_tracerun where id in ({str(accepted)[1:-1]})"
        with celery_worker(site.server):
            await eventually(lambda: {row[0] for row in site.server.rows(query)} == {"done"})
        assert max(row[1] for row in site.server.rows(query)) <= 2
        assert len(site.server.rows(query)) == len(accepted)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class ExitStackOfCollectors:
    """The collectors of all nodes."""

    def __init__(self, site: Site) -> None:
        self._all = [Collector(site.server, node) for node in STATES]
        for one in self._all:
            one.source._state = STATES[one.source.node]
            one.source.key = next(iter(one.source._state.netns))

    async def __aenter__(self) -> list[Collector]:
        for one in self._all:
            await one.__aenter__()
        return self._all

    async def __aexit__(self, *exc: object) -> None:
        for one in self._all:
            await one.__aexit__(*exc)

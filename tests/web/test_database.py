"""No request and no service leaves a connection to the database open, and no idle socket breaks."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from lab.stack import ROOT
from netviz.asgi import application
from netviz.lifespan import Lifespan
from netviz.tracing.tending import Tender

reached = threading.Event()
may_go_on = threading.Event()


def ask(request: HttpRequest) -> HttpResponse:
    """Use the database, then take as long as the test says."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    reached.set()
    may_go_on.wait(300)
    return HttpResponse(b"ok")


urlpatterns = [path("ask", ask)]
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "path": "/ask",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
}


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    """The connections that were opened during the test, as Django holds them."""
    found: list[Any] = []

    def note(connection: Any, **kwargs: Any) -> None:
        found.append(connection)

    reached.clear()
    may_go_on.clear()
    connection_created.connect(note)
    yield found
    connection_created.disconnect(note)
    may_go_on.set()


async def request(ending: str) -> None:
    """Make a request; once its view is at work, the client leaves, or the server ends."""
    messages = iter([{"type": "http.request", "body": b""}])

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is not None:
            return message
        await asyncio.to_thread(reached.wait, 10)
        if ending == "cancelled":
            task.cancel()
            asyncio.get_running_loop().call_later(0.05, may_go_on.set)
            await asyncio.Event().wait()
        may_go_on.set()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        """Nobody reads it."""

    task = asyncio.create_task(application(SCOPE, receive, send))
    await asyncio.gather(task, return_exceptions=True)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for one in left:
        one.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ["disconnect", "cancelled"])
@override_settings(ROOT_URLCONF=__name__)
async def test_a_request_closes_its_connection_however_it_ends(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    # Django leaves the file that holds a cancelled request's body to the garbage collector, too.
    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda **kwargs: io.BytesIO())
    await request(ending)
    assert opened
    assert [one for one in opened if one.connection is not None] == []


@pytest.mark.django_db(transaction=True)
async def test_what_starts_with_the_server_closes_its_connection(opened: list[Any]) -> None:
    async def receive() -> dict[str, Any]:
        return {}

    said = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message["type"])

    await Lifespan([Tender()])({}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert opened
    assert [one for one in opened if one.connection is not None] == []


def test_a_channel_layer_in_redis_may_be_silent_for_longer_than_it_waits() -> None:
    code = (
        "from channels.layers import get_channel_layer as layer; import django; django.setup();"
        "from channels_redis.utils import create_pool; l = layer();"
        "print(l.brpop_timeout, create_pool(l.hosts[0]).connection_kwargs['socket_timeout'])"
    )
    env = {
        **os.environ,
        "NETVIZ_REDIS_URL": "redis://127.0.0.1:1/0",
        "DJANGO_SETTINGS_MODULE": "netviz.settings",
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    waits_s, patience_s = map(float, done.stdout.split())
    assert patience_s >= 2 * waits_s

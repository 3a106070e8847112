"""Two servers, one judges: when it dies, the other one's process goes on with the same problems."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.web.served import Collector, Served, eventually
from tests.web.services import postgres_server, redis_server
from tests.web.test_problem_process import checker


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """Two servers on one PostgreSQL and one Redis."""
    with ExitStack() as stack:
        env = {
            "NETVIZ_DATABASE_URL": stack.enter_context(postgres_server()),
            "NETVIZ_REDIS_URL": stack.enter_context(redis_server(tmp_path / "redis")),
        }
        pair = Served(tmp_path / "one", **env), Served(tmp_path / "two", **env)
        try:
            yield pair
        finally:
            for server in pair:
                if server.running:
                    server.stop()


async def test_another_process_takes_over(servers: tuple[Served, Served]) -> None:
    one, two = servers
    made: dict[str, Any] = await asyncio.to_thread(one.provision, "n1", "n2")
    await asyncio.to_thread(one.start)
    await asyncio.to_thread(two.start)

    def ask(server: Served) -> dict[str, Any]:
        answer: dict[str, Any] = server.get("/api/problems", made["token"])
        return answer

    for node in ("n1", "n2"):
        two.keep_token(node, made["collectors"][node])
    # The collectors are the second server's, the process that judges the first one's.
    async with Collector(two, "n1"):
        async with Collector(two, "n2"):
            await eventually(
                lambda: (ask(two)["checked"]["expected"], ask(two)["checked"]["away"]) == (2, []),
                what="the first server's process follows the second one's collectors",
            )
        lost = (await eventually(lambda: ask(two)["problems"], what="a lost collector is a problem"))[0]
        assert (lost["kind"], lost["where"]["node"]) == ("collector-lost", "n2")
        assert [len(server.log_lines("this process judges")) for server in servers] == [1, 0]
        standing_by = await eventually(lambda: checker(two), what="the other one stands by")

        first = checker(one)
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await eventually(lambda: two.log_lines("this process judges"), what="the other one takes over")
        await eventually(lambda: ask(two)["checked"]["state"] == "current", what="it judges")
        os.kill(first, signal.SIGCONT)
        await eventually(
            lambda: one.log_lines("another process judges now"), what="the first one stands back"
        )
        assert [problem["id"] for problem in ask(one)["problems"]] == [lost["id"]]
        assert checker(two) == standing_by
        assert ask(one)["checked"]["state"] == "current"
    assert one.log_lines("Traceback") == two.log_lines("Traceback") == []

"""The checking process beside a real server: it finds, is missed when it dies, keeps ids, and ends with its server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.stack import wait_until
from tests.web.served import Collector, Served, eventually


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path / "var")
    yield server
    if server.running:
        server.stop()


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for path in found for word in path.read_text().split()]


def checker(served: Served) -> int | None:
    """The checking process's number."""
    assert served._process is not None
    for pid in children(served._process.pid):
        if b"judge" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


async def test_it_judges_is_missed_and_keeps_what_it_found(served: Served) -> None:
    provisioned: dict[str, Any] = {}

    def checked() -> dict[str, Any]:
        answer: dict[str, Any] = served.get("/api/problems", provisioned["token"])
        return answer

    def state() -> str:
        return str(checked()["checked"]["state"])

    def expected() -> tuple[int, list[str]]:
        return checked()["checked"]["expected"], checked()["checked"]["away"]

    provisioned = await asyncio.to_thread(served.provision, "n1", "n2")
    await asyncio.to_thread(served.start)
    await eventually(lambda: state() == "current", what="the first run is over")
    async with Collector(served, "n1"):
        async with Collector(served, "n2"):
            await eventually(lambda: expected() == (2, []), what="both collectors are known to it")
            assert [one for one in checked()["problems"] if one["kind"] == "collector-lost"] == []
        lost = await eventually(lambda: checked()["problems"], what="a lost collector is a problem")
        assert [(one["kind"], one["where"]["node"], one["state"]) for one in lost] == [
            ("collector-lost", "n2", "open")
        ]
        assert lost[0]["since"] is not None
        assert checked()["checked"]["away"] == ["n2's collector is not connected"]

        # It dies: that is said, and another one goes on with the same problem.
        first = await eventually(lambda: checker(served))
        os.kill(first, signal.SIGSTOP)
        await eventually(
            lambda: state() == "stopped", what="a process that stands still isn't taken for a live one"
        )
        os.kill(first, signal.SIGKILL)
        second = await eventually(lambda: (pid := checker(served)) not in (None, first) and pid)
        await eventually(lambda: state() == "current", what="the next process judges")
        assert [one["id"] for one in checked()["problems"]] == [lost[0]["id"]]

    # The server dies without a word: no process is left behind, and the next server knows the problem.
    served.kill()
    wait_until(lambda: not Path(f"/proc/{second}").exists(), 300, "the process ends with its server")
    await asyncio.to_thread(served.start)
    async with Collector(served, "n1"):
        await eventually(lambda: state() == "current", what="the next server's process judges")
        assert [one["id"] for one in checked()["problems"]] == [lost[0]["id"]]
        async with Collector(served, "n2"):
            await eventually(
                lambda: checked()["problems"][0]["gone"], what="it is gone when the collector is back"
            )
    third = checker(served)
    await asyncio.to_thread(served.stop)
    assert third is not None
    assert not Path(f"/proc/{third}").exists()
    assert served.log_lines("Traceback") == []

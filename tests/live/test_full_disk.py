"""A server whose disk is full: it says so, goes on, loses nothing that was acknowledged, and recovers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stack import ROOT
from tests.web.served import Collector, Served, eventually
from tests.web.test_collectors import check_journal

pytestmark = pytest.mark.live

DISK_BYTES = 4 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "nv-disk", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


async def test_a_full_disk_is_told_and_survived(disk: Path, tmp_path: Path) -> None:
    served = Served(disk / "var")
    served.log = tmp_path / "server.log"
    served.start()
    try:
        token = served.provision("n1")["token"]
        async with Collector(served, "n1") as collector:
            await eventually(collector.settled)
            ballast = fill(disk)
            for value in range(200):
                collector.change(value, f"net.setting_{value}")
            await eventually(lambda: served.log_lines("cannot write .* journal entries.* full"))
            health = await asyncio.to_thread(served.get, "/healthz", token)
            assert (health["status"], health["journal"]) == ("ok", "cannot be written")
            # Pages show the changes, and the collector keeps them.
            graph = await asyncio.to_thread(served.get, "/api/topology", token)
            assert graph["nodes"][0]["connected"]
            assert collector.transport.connected
            assert collector.acked < collector.last
            ballast.unlink()
            await eventually(collector.settled)
            check_journal(served, collector)
            assert collector.transport._session.resyncs == 0
        assert len(served.log_lines("cannot write .* journal entries")) == 1
        assert served.log_lines("the journal can be written again")
        assert not served.log_lines("Traceback|Warning:")
    finally:
        if served.running:
            served.stop()
    ballast = fill(disk)
    assert_a_start_is_refused(served)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert_a_start_is_refused(served)


def assert_a_start_is_refused(served: Served) -> None:
    """It ends with one sentence that says what cannot be used."""
    argv = [sys.executable, "manage.py", "serve", "--port", str(served.port)]
    refused = subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **served.env}, capture_output=True, timeout=300
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"CommandError: cannot use the database: ")
    assert refused.stderr.count(b"\n") == 1

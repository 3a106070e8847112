"""A real server process for tests, and a collector's transport with a made-up state."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dj_database_url
import psycopg

from agents.transport import Transport, TransportOptions
from lab.stack import ROOT, free_port, wait_until
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body, body_digest
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.wire.messages import AgentStatus
from tests.migrated import give_database


class Served:
    """One `manage.py serve`, its folder and its log."""

    def __init__(self, folder: Path, **env: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if "NETVIZ_DATABASE_URL" not in env:
            give_database(folder)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.env = {**os.environ, "NETVIZ_VAR_DIR": str(folder), "PYTHONUNBUFFERED": "1", **env}
        if "NETVIZ_REDIS_URL" in env:
            self.env.setdefault("NETVIZ_SECRET_KEY", "of all the processes of this test")
        self._process: subprocess.Popen[bytes] | None = None

    def manage(self, *words: str) -> str:
        """Run a management command and return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "default", "manage.py", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=self.env,
                stdout=out,
                stderr=out,
            )
        wait_until(self._answers, 300, f"the server answers; its log: {self.log}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/login/", timeout=300):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """Kill it as the kernel would under memory pressure."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it as a service manager would; returns its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(300)

    @property
    def running(self) -> bool:
        """It hasn't ended."""
        return self._process is not None and self._process.poll() is None

    def provision(self, *nodes: str) -> dict[str, Any]:
        """Make an administrator, and approved collectors' token files (`token-NODE`)."""
        made: dict[str, Any] = json.loads(self.manage("provision", "--user", "root", "--", *nodes))
        for node, token in made["collectors"].items():
            self.keep_token(node, token)
        return made

    def keep_token(self, node: str, token: str) -> None:
        """Write a node's token file, for nobody else to read."""
        self.token_file(node).touch(mode=0o600)
        self.token_file(node).write_text(token + "\n")

    def token_file(self, node: str) -> Path:
        """Where a node's token is kept."""
        return self.folder / f"token-{node.replace('/', '-')}"

    def post(self, path: str, body: dict[str, Any], token: str) -> Any:
        """Post JSON, and read the answer."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        call = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(call, timeout=300) as answer:
            return json.load(answer)

    def get(self, path: str, token: str) -> Any:
        """GET a JSON resource."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def log_lines(self, pattern: str) -> list[str]:
        """Lines of the log that match."""
        return [line for line in self.log.read_text().splitlines() if re.search(pattern, line)]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database, whichever it is, from outside."""
        if url := self.env.get("NETVIZ_DATABASE_URL"):
            name = dj_database_url.parse(url)["NAME"]
            with psycopg.connect(url, dbname=name) as connection:
                return connection.execute(query).fetchall()
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(self.folder / "netviz.sqlite3", timeout=300)) as connection:
            return connection.execute(query).fetchall()


class MadeUp:
    """A collector without a kernel: a state of its own, or of one namespace whose sysctls change."""

    def __init__(self, node: str, state: NodeState | None = None) -> None:
        self.node = node
        self.key = NetnsKey(node, 4, 1)
        first = NodeDelta(
            netns=(NetnsDelta(self.key, Netns(self.key, "root", True)),),
            status={"links": SectionStatus(1.0), "routes": SectionStatus(1.0)},
            kernel="6.18",
        )
        self._state = state or apply(NodeState(node), first)
        self.known: dict[bytes, Body] = {}
        self.asked: list[bytes] = []
        self.watched: tuple[Any, ...] = ()

    def state(self) -> NodeState:
        return self._state

    def bodies(self, digests: Any) -> list[Body]:
        self.asked.extend(digests)
        return [self.known[digest] for digest in digests if digest in self.known]

    def status(self) -> AgentStatus:
        return AgentStatus(rss_bytes=50 << 20, cpu=0.01, lost_events=3)

    def watch(self, watched: Any) -> None:
        self.watched = tuple(watched)

    def learn(self, body: Body) -> bytes:
        digest = body_digest(body)
        self.known[digest] = body
        return digest

    def apply(self, delta: NodeDelta) -> NodeDelta:
        self._state = apply(self._state, delta)
        return delta


class Collector:
    """A made-up node with the real transport, running."""

    def __init__(self, served: Served, node: str, state: NodeState | None = None, **options: Any) -> None:
        self.source = MadeUp(node, state)
        self.transport = Transport(
            TransportOptions(served.url, served.token_file(node), node, "9.9", **options), self.source
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Collector:
        self._task = asyncio.create_task(self.transport.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def change(self, value: int, name: str = "net.ipv4.ip_forward") -> None:
        """Change a sysctl and tell."""
        put = Change((Sysctl(name, value),), ())
        self.tell(NodeDelta(netns=(NetnsDelta(self.source.key, sysctls=put),)))

    def tell(self, delta: NodeDelta) -> None:
        """Change the state and tell."""
        self.transport.state_changed(self.source.apply(delta), time.time_ns())

    @property
    def epoch(self) -> int:
        return self.transport._epoch

    @property
    def acked(self) -> int:
        """The last number that the server acknowledged."""
        return self.transport._session._acked_seq

    @property
    def last(self) -> int:
        """The last number that was given out."""
        return self.transport._session._last_seq

    def settled(self) -> bool:
        """All that was told is acknowledged."""
        return self.transport.connected and self.last >= 0 and self.acked == self.last


async def eventually(condition: Callable[[], Any], timeout_s: float = 300, what: str = "") -> Any:
    """Wait for a condition without blocking the loop."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, what or condition
        await asyncio.sleep(0.02)
    return value

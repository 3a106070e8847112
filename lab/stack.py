"""A whole netviz as processes: a server, and a collector for each node of a cluster.

The demo, the whole-stack tests and the benchmarks start it this way, so all of them run what users
run: `manage.py serve`, `python -m agents run` and `python -m agents kubernetes`, over a real socket.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1
WATCHER = "watcher"
DEFAULT_CLUSTER = "default"  # whose objects a watcher tells that isn't told of which
Progress = Callable[[str], None]


class StackError(Exception):
    """A part didn't start or stopped; the message names it and its log."""


class Access(msgspec.Struct, frozen=True):
    """How to get in: the server's address, a login, and an API token."""

    url: str
    user: str
    password: str
    token: str


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


_reserved: list[socket.socket] = []


def free_port() -> int:
    """Reserve a TCP port of loopback for as long as this process lives.

    A socket that is bound and doesn't listen keeps the kernel from giving the port to anybody who asks for
    any port, and lets a server bind it that says SO_REUSEADDR, as servers do, also again after a restart.
    Source: net/ipv4/inet_connection_sock.c inet_csk_find_open_port(), inet_csk_bind_conflict().
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    _reserved.append(sock)
    return int(sock.getsockname()[1])


def wait_until(condition: Callable[[], Any], timeout_s: float, what: str, every_s: float = 0.05) -> Any:
    """Wait for a condition and return its value. Raises: StackError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise StackError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(every_s)
    return value


class Part:
    """One process of the stack, with its log. It ends when the process that started it ends."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str], fds: Sequence[int] = ()
    ) -> None:
        self.name, self.log = name, log
        self._out: IO[bytes] = log.open("ab")
        self.process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=fds,
            preexec_fn=_die_with_parent,
        )

    @property
    def running(self) -> bool:
        """The process hasn't ended."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raises: StackError with the log's end when the process has ended."""
        if not self.running:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise StackError(
                f"{self.name} ended with status {self.process.returncode}; its log ends:\n{tail}"
            )

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask the process to end, and make it after `timeout_s`."""
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._out.close()

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        self.process.kill()
        self.process.wait()
        self._out.close()


class Stack:
    """A server and collectors.

    `collectors` maps a node's name to the arguments that show it to a collector; `command` is what
    the collectors do: "run" on a live node, or "replay" a recording. `objects` is a folder of the Kubernetes API's
    lists that is kept up to date, for the cluster's watcher; without, there is none. `faults` is where the page has faults
    made and mended (`lab.faultdesk`); without, it can't.
    """

    def __init__(
        self,
        collectors: Mapping[str, Sequence[str]],
        data_dir: Path,
        port: int = 0,
        listen_fd: int | None = None,
        command: str = "run",
        objects: Path | None = None,
        faults: Path | None = None,
    ) -> None:
        self.command = command
        self.objects = objects
        self.faults = faults
        self.collector_args = dict(collectors)
        self.collector_url: str | None = None  # where collectors connect, when not to the server itself
        self.data_dir = data_dir
        self.port = port or free_port()
        self.listen_fd = listen_fd
        self.server: Part | None = None
        self.collectors: dict[str, Part] = {}
        self.access = Access(f"http://127.0.0.1:{self.port}", "", "", "")
        data_dir.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        """The environment of the parts: this process's, with the data's folder."""
        return {
            **os.environ,
            "NETVIZ_VAR_DIR": str(self.data_dir),
            "NETVIZ_OBSERVE": "1",
            "PYTHONUNBUFFERED": "1",
            **({} if self.faults is None else {"NETVIZ_LAB_SOCKET": str(self.faults)}),
        }

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it prints. Raises: StackError."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        if done.returncode:
            raise StackError(f"manage.py {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def provision(self, user: str = "admin") -> Access:
        """Make the database, a login with an API token, and a token for each collector."""
        also = ["--watcher"] if self.objects is not None else []
        made = json.loads(self.manage("provision", "--user", user, *also, *self.collector_args))
        watcher = {WATCHER: made["watcher"]} if also else {}
        for node, token in {**made["collectors"], **watcher}.items():
            path = self.token_file(node)
            path.touch(mode=0o600)
            path.write_text(token)
        self.access = Access(self.access.url, made["user"], made["password"], made["token"])
        return self.access

    def token_file(self, node: str) -> Path:
        """Where the collector of `node` finds its token."""
        return self.data_dir / f"{node}.token"

    def start_server(self) -> Part:
        """Start the server and wait until it answers."""
        argv = [sys.executable, "manage.py", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        fds = []
        if self.listen_fd is not None:
            argv += ["--fd", str(self.listen_fd)]
            fds = [self.listen_fd]
        server = Part("server", argv, self.data_dir / "server.log", self.env, fds)
        self.server = server

        def answers() -> bool:
            server.check()
            return self.get("/healthz")[0] in (200, 503)

        wait_until(answers, 300, "the server's first answer")
        return server

    def start_collector(self, node: str) -> Part:
        """Start the collector of one node."""
        argv = [self.command, *self.collector_args[node], "--node", node]
        if self.command == "run":
            argv.append("--allow-observe")
        return self._start_agent(node, f"collector of {node}", argv)

    def start_watcher(self) -> Part:
        """Start what tells the server of the cluster's objects."""
        return self._start_agent(WATCHER, WATCHER, ["kubernetes", "--objects", str(self.objects)])

    def _start_agent(self, key: str, name: str, argv: Sequence[str]) -> Part:
        server = ["--server", self.collector_url or self.access.url]
        argv = [sys.executable, "-m", "agents", *argv, *server, "--token-file", str(self.token_file(key))]
        self.collectors[key] = Part(name, argv, self.data_dir / f"{key}.log", self.env)
        return self.collectors[key]

    def lost_collectors(self) -> list[str]:
        """Name the nodes (or WATCHER) whose collectors ended since this was asked last."""
        lost = [node for node, part in self.collectors.items() if not part.running]
        for node in lost:
            self.collectors.pop(node).stop()
        return lost

    def start(self, progress: Progress = lambda _: None) -> Access:
        """Start everything and wait until every collector's state is whole at the server."""
        progress("database, login and tokens")
        self.provision()
        progress("server")
        self.start_server()
        progress(f"{len(self.collector_args)} collectors")
        for node in self.collector_args:
            self.start_collector(node)
        if self.objects is not None:
            self.start_watcher()
        self.wait_connected()
        return self.access

    def wait_connected(self, timeout_s: float = 300.0) -> None:
        """Wait until all nodes are connected and their state is whole."""

        def connected() -> bool:
            for part in (self.server, *self.collectors.values()):
                if part is not None:
                    part.check()
            graph = self.topology()
            known = {one["name"] for part in ("nodes", "clusters") for one in graph[part] if one["connected"]}
            return known >= {*self.collector_args, *([DEFAULT_CLUSTER] if self.objects is not None else [])}

        wait_until(connected, timeout_s, "the collectors' connection", every_s=0.1)

    def get(self, path: str) -> tuple[int, bytes]:
        """GET a path with the API token: (status, body); status 0 when nothing answers."""
        request = urllib.request.Request(self.access.url + path)
        if self.access.token:
            request.add_header("Authorization", f"Bearer {self.access.token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as err:
            return err.code, err.read()
        except OSError:
            return 0, b""

    def topology(self) -> dict[str, Any]:
        """The live graph. Raises: StackError when the server refuses."""
        status, body = self.get("/api/topology")
        if status != 200:
            raise StackError(f"GET /api/topology answered {status}: {body[:200]!r}")
        graph: dict[str, Any] = json.loads(body)
        return graph

    def stop(self) -> None:
        """Stop all parts: collectors first, so that the server hears them leave."""
        for part in self.collectors.values():
            part.stop()
        if self.server is not None:
            self.server.stop()

"""A netviz to be broken: a lab, collectors that are watched, one server on SQLite, or two on PostgreSQL and
Redis with a worker. Collectors, and what the servers share, are reached over links that can be cut.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg

from lab.cluster import Cluster, ClusterSpec
from lab.stack import Part, Stack, wait_until
from tests.chaos.judge import POSTGRES_TRIGGERS, SQLITE_TRIGGERS
from tests.chaos.witness import Record, read
from tests.live.flaky_link import FlakyLink
from tests.web.services import Service, postgres_service, redis_service

NODES, PODS = 2, 3
DISK_BYTES = 384 << 20
KEEP_ALL = str(64 << 30)


class Server(Stack):
    """A server with settings of its own."""

    def __init__(self, collectors: dict[str, list[str]], data_dir: Path, **env: str) -> None:
        super().__init__(collectors, data_dir)
        # Traces go by way of the queue, all of them.
        self._env = {**env, "NETVIZ_JOURNAL_MAX_BYTES": KEEP_ALL, "NETVIZ_TRACES_AT_ONCE": "0"}

    @property
    def env(self) -> dict[str, str]:
        """The environment of its processes."""
        return {**super().env, **self._env}

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.server is not None
        return self.server.process.pid

    def kill(self) -> None:
        """End it at once."""
        assert self.server is not None
        self.server.kill()


class Site:
    """Everything that a run breaks and looks at."""

    def __init__(self, cluster: Cluster, folder: Path, servers: list[Server]) -> None:
        self.cluster, self.folder, self.servers = cluster, folder, servers
        self.nodes = list(servers[0].collector_args)
        self.pods = sorted(cluster.pods)
        self.links: dict[str, FlakyLink] = {}
        self.collectors: dict[str, Part] = {}
        self.disk: Path | None = None
        self.services: dict[str, Service] = {}
        self.service_links: dict[str, FlakyLink] = {}
        self.worker: Part | None = None

    # -- collectors

    def start_collector(self, node: str) -> None:
        """Start a node's collector, which goes on writing its witness."""
        first = self.servers[0]
        argv = [sys.executable, "-m", "tests.chaos.witness", "run", *first.collector_args[node]]
        argv += ["--node", node, "--server", f"http://127.0.0.1:{self.links[node].port}"]
        argv += ["--token-file", str(self.folder / f"{node}.token")]
        env = {**os.environ, "NETVIZ_WITNESS": str(self.witness(node)), "PYTHONUNBUFFERED": "1"}
        self.collectors[node] = Part(f"collector of {node}", argv, self.folder / f"{node}.log", env)

    def witness(self, node: str) -> Path:
        """Where a node's collectors write down what they are told."""
        return self.folder / f"{node}.witness"

    def told(self, node: str) -> Iterator[Record]:
        """What a node's collectors sent and heard."""
        return read(self.witness(node))

    # -- worker

    def start_worker(self) -> None:
        """Start the worker that traces."""
        argv = [sys.executable, "-m", "celery", "-A", "netviz", "worker", "--concurrency", "2"]
        self.worker = Part("worker", argv, self.folder / "worker.log", self.servers[0].env)

    def worker_pids(self) -> list[int]:
        """The worker and its children."""
        assert self.worker is not None
        pid = self.worker.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    # -- database

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database from outside."""
        if "database" in self.services:
            with psycopg.connect(self.services["database"].url, connect_timeout=5) as connection:
                return connection.execute(query).fetchall()
        path = self.servers[0].data_dir / "netviz.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def install_triggers(self) -> None:
        """Have the database note each end of a trace."""
        if "database" in self.services:
            with psycopg.connect(self.services["database"].url) as connection:
                connection.execute(POSTGRES_TRIGGERS)
        else:
            path = self.servers[0].data_dir / "netviz.sqlite3"
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                connection.executescript(SQLITE_TRIGGERS)

    # -- all

    def start(self) -> None:
        """Start everything and wait until all nodes are known everywhere."""
        first = self.servers[0]
        first.provision()
        for node in self.nodes:
            token = self.folder / f"{node}.token"
            token.touch(mode=0o600)
            token.write_text(first.token_file(node).read_text())
        for other in self.servers[1:]:
            other.access = msgspec.structs.replace(first.access, url=other.access.url)
        self.install_triggers()
        for server in self.servers:
            server.start_server()
        if self.services:
            self.start_worker()
        for number, node in enumerate(self.nodes):
            self.links[node].target_port = self.servers[number % len(self.servers)].port
            self.start_collector(node)
        self.wait_settled()

    def wait_settled(self, timeout_s: float = 120.0) -> None:
        """Wait until every server is healthy and sees every node connected."""

        def settled() -> bool:
            for part in (*self.collectors.values(), self.worker, *(one.server for one in self.servers)):
                if part is not None:
                    part.check()
            return all(self._sees_all(server) for server in self.servers)

        wait_until(settled, timeout_s, "all servers healthy, all nodes connected", every_s=0.3)

    def _sees_all(self, server: Server) -> bool:
        if server.get("/healthz")[0] != 200 or server.get("/api/topology")[0] != 200:
            return False
        nodes = {node["name"]: node for node in server.topology()["nodes"]}
        return all(nodes.get(name, {}).get("connected") for name in self.nodes)

    def stop(self) -> None:
        """Stop everything, whatever state it is in."""
        parts = [*self.collectors.values(), *([self.worker] if self.worker else [])]
        parts += [server.server for server in self.servers if server.server is not None]
        for part in parts:
            if part.running:
                os.kill(part.process.pid, signal.SIGCONT)
            part.stop()


@contextmanager
def small_disk(folder: Path, size_bytes: int = DISK_BYTES) -> Iterator[Path]:
    """A disk of its own and of a limited size."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "nv-chaos", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def one_server(folder: Path) -> Iterator[Site]:
    """A server on SQLite on a small disk."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster.up(ClusterSpec(f"chaos{os.getpid()}", nodes=NODES, pods=PODS)))
        disk = stack.enter_context(small_disk(folder / "disk"))
        site = Site(cluster, folder, [Server(_collectors(cluster), disk / "var")])
        site.disk = disk
        stack.callback(site.stop)
        _link(stack, site)
        site.start()
        yield site


@contextmanager
def two_servers(folder: Path) -> Iterator[Site]:
    """Two servers and a worker on PostgreSQL, which has a small disk, and Redis."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster.up(ClusterSpec(f"chaos{os.getpid()}", nodes=NODES, pods=PODS)))
        disk = stack.enter_context(small_disk(folder / "disk"))
        services = {
            "redis": stack.enter_context(redis_service(folder / "redis")),
            # Synced: a crash of the database must not lose what it has said is written.
            "database": stack.enter_context(postgres_service(disk / "postgres", "-c", "fsync=on")),
        }
        links = {
            name: stack.enter_context(FlakyLink(urlsplit(service.url).port or 0))
            for name, service in services.items()
        }
        through = {
            name: service.url.replace(str(urlsplit(service.url).port), str(links[name].port))
            for name, service in services.items()
        }
        env = {
            "NETVIZ_DATABASE_URL": through["database"],
            "NETVIZ_REDIS_URL": through["redis"],
            "NETVIZ_SECRET_KEY": "of all the processes of this run, and of no other one at all",
        }
        servers = [Server(_collectors(cluster), folder / f"var{number}", **env) for number in (1, 2)]
        site = Site(cluster, folder, servers)
        site.disk, site.services, site.service_links = disk, services, links
        stack.callback(site.stop)
        _link(stack, site)
        site.start()
        yield site


def _collectors(cluster: Cluster) -> dict[str, list[str]]:
    return {node.name: node.collector_args() for node in cluster.nodes.values()}


def _link(stack: ExitStack, site: Site) -> None:
    for node in site.nodes:
        site.links[node] = stack.enter_context(FlakyLink(site.servers[0].port))

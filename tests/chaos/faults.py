"""The faults. Each hurts something, waits, and puts it right again; which and for how long is drawn."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import NamedTuple

import psycopg

from lab.stack import ROOT, wait_until
from tests.chaos.site import Server, Site


class Fault(NamedTuple):
    """A fault: its name in reports, and what does it for `seconds`."""

    name: str
    act: Callable[[Site, random.Random, float], None]
    shortest_s: float = 0.5
    longest_s: float = 4.0


def _stop(pids: list[int], seconds: float) -> None:
    """Stop processes for a while. Some may end meanwhile."""
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(seconds)


def kill_server(site: Site, draw: random.Random, seconds: float) -> None:
    """kill -9, and start again later."""
    server = draw.choice(site.servers)
    server.kill()
    time.sleep(seconds)
    server.start_server()


def stop_server(site: Site, draw: random.Random, seconds: float) -> None:
    """SIGSTOP, then SIGCONT."""
    _stop([draw.choice(site.servers).pid], seconds)


def kill_collector(site: Site, draw: random.Random, seconds: float) -> None:
    """kill -9, and start again later."""
    node = draw.choice(site.nodes)
    site.collectors[node].kill()
    time.sleep(seconds)
    site.start_collector(node)


def stop_collector(site: Site, draw: random.Random, seconds: float) -> None:
    """SIGSTOP, then SIGCONT: its netlink sockets may overflow."""
    _stop([site.collectors[draw.choice(site.nodes)].process.pid], seconds)


def cut_link(site: Site, draw: random.Random, seconds: float) -> None:
    """Cut a collector off; where there are two servers it may find the other one behind the link then."""
    link = site.links[draw.choice(site.nodes)]
    link.cut()
    time.sleep(seconds)
    link.target_port = draw.choice(site.servers).port
    link.heal()


def slow_link(site: Site, draw: random.Random, seconds: float) -> None:
    """Delay all that a collector and its server say to each other."""
    link = site.links[draw.choice(site.nodes)]
    link.delay_s = draw.uniform(0.05, 0.5)
    time.sleep(seconds)
    link.delay_s = 0.0


def full_disk(site: Site, draw: random.Random, seconds: float) -> None:
    """Take all the space of the database's disk."""
    assert site.disk is not None
    ballast = site.disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        for block in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(block))
    time.sleep(seconds)
    ballast.unlink()
    _revive_database(site)


def read_only_files(site: Site, draw: random.Random, seconds: float) -> None:
    """Let SQLite's files be opened for reading only."""
    files = [str(path) for path in site.servers[0].data_dir.glob("netviz.sqlite3*")]
    subprocess.run(["chattr", "+i", *files], check=True)
    try:
        time.sleep(seconds)
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


def read_only_start(site: Site, draw: random.Random, seconds: float) -> None:
    """kill -9, and a start on a disk that is mounted for reading only: it is refused with a reason."""
    assert site.disk is not None
    (server,) = site.servers
    server.kill()
    _remount(site, "ro")
    try:
        refused = _try_to_start(server)
    finally:
        _remount(site, "rw")
    server.start_server()
    if "CommandError: cannot use" not in refused:
        raise AssertionError(f"a start on a read-only disk said: {refused}")


def _try_to_start(server: Server) -> str:
    argv = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(server.port)]
    done = subprocess.run(argv, env=server.env, capture_output=True, text=True, timeout=300, check=False)
    return done.stderr if done.returncode == 1 else f"status {done.returncode}: {done.stderr[-500:]}"


def _remount(site: Site, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(site.disk)], check=True)


def locked_sqlite(site: Site, draw: random.Random, seconds: float) -> None:
    """Another program holds the database's lock."""
    path = site.servers[0].data_dir / "netviz.sqlite3"
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
        other.execute("begin immediate")
        time.sleep(seconds)
        other.execute("rollback")


def kill_worker(site: Site, draw: random.Random, seconds: float) -> None:
    """kill -9 the worker and its children, or a child alone."""
    assert site.worker is not None
    children = site.worker_pids()[1:]
    if children and draw.random() < 0.3:
        os.kill(draw.choice(children), signal.SIGKILL)
        time.sleep(seconds)
        return
    site.worker.kill()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(seconds)
    site.start_worker()


def stop_worker(site: Site, draw: random.Random, seconds: float) -> None:
    """SIGSTOP, for longer than a claim lasts, then SIGCONT."""
    _stop(site.worker_pids(), seconds)


def kill_service(name: str) -> Callable[[Site, random.Random, float], None]:
    """kill -9 Redis, which loses all it held, or PostgreSQL."""

    def act(site: Site, draw: random.Random, seconds: float) -> None:
        site.services[name].kill()
        time.sleep(seconds)
        site.services[name].start()

    return act


def stop_service(name: str) -> Callable[[Site, random.Random, float], None]:
    """SIGSTOP, then SIGCONT: it neither answers nor refuses."""

    def act(site: Site, draw: random.Random, seconds: float) -> None:
        _stop(site.services[name].pids(), seconds)

    return act


def cut_service(name: str) -> Callable[[Site, random.Random, float], None]:
    """Cut everybody off from it."""

    def act(site: Site, draw: random.Random, seconds: float) -> None:
        site.service_links[name].cut()
        time.sleep(seconds)
        site.service_links[name].heal()

    return act


def slow_service(name: str) -> Callable[[Site, random.Random, float], None]:
    """Delay all that is said to it and that it says."""

    def act(site: Site, draw: random.Random, seconds: float) -> None:
        site.service_links[name].delay_s = draw.uniform(0.02, 0.2)
        time.sleep(seconds)
        site.service_links[name].delay_s = 0.0

    return act


def read_only_database(site: Site, draw: random.Random, seconds: float) -> None:
    """PostgreSQL takes no writes, as after a failover to a replica."""
    for value in ("on", "off"):
        with psycopg.connect(site.services["database"].url, autocommit=True) as other:
            other.execute("set default_transaction_read_only = off")
            other.execute(f"alter system set default_transaction_read_only = {value}")
            other.execute("select pg_reload_conf()")
        if value == "on":
            time.sleep(seconds)


def locked_tables(site: Site, draw: random.Random, seconds: float) -> None:
    """Another program holds the journal's and the traces' tables."""
    with psycopg.connect(site.services["database"].url) as other:
        other.execute("lock table ingest_journalentry, tracing_tracerun in access exclusive mode")
        time.sleep(seconds)


def _revive_database(site: Site) -> None:
    """PostgreSQL may have ended for want of space; whoever looks after it starts it again."""
    if (database := site.services.get("database")) is not None:
        time.sleep(0.5)
        wait_until(lambda: database.start() is None, 300, "PostgreSQL is back")


ONE = (
    Fault("kill -9 the server", kill_server, 0.0, 3.0),
    Fault("stop the server", stop_server),
    Fault("kill -9 a collector", kill_collector, 0.0, 3.0),
    Fault("stop a collector", stop_collector),
    Fault("cut a collector's link", cut_link),
    Fault("slow a collector's link", slow_link, 2.0, 5.0),
    Fault("full disk", full_disk, 1.0, 5.0),
    Fault("read-only files", read_only_files, 1.0, 4.0),
    Fault("read-only disk at a start", read_only_start),
    Fault("locked database", locked_sqlite, 1.0, 5.0),
)
MANY = (
    Fault("kill -9 a server", kill_server, 0.0, 3.0),
    Fault("stop a server", stop_server, 1.0, 12.0),
    Fault("kill -9 a collector", kill_collector, 0.0, 3.0),
    Fault("cut a collector's link", cut_link),
    Fault("kill -9 the worker", kill_worker, 0.0, 3.0),
    Fault("stop the worker", stop_worker, 2.0, 14.0),
    Fault("kill -9 Redis", kill_service("redis"), 0.0, 4.0),
    Fault("stop Redis", stop_service("redis"), 1.0, 8.0),
    Fault("cut Redis off", cut_service("redis")),
    Fault("slow Redis", slow_service("redis"), 2.0, 5.0),
    Fault("kill -9 PostgreSQL", kill_service("database"), 0.0, 4.0),
    Fault("stop PostgreSQL", stop_service("database"), 1.0, 8.0),
    Fault("cut PostgreSQL off", cut_service("database")),
    Fault("slow PostgreSQL", slow_service("database"), 2.0, 5.0),
    Fault("full disk of PostgreSQL", full_disk, 1.0, 5.0),
    Fault("read-only PostgreSQL", read_only_database, 1.0, 5.0),
    Fault("locked tables", locked_tables, 1.0, 5.0),
)


def deck(faults: tuple[Fault, ...], count: int, draw: random.Random) -> list[Fault]:
    """`count` faults in a drawn order, each kind as often as the others (or once more)."""
    cards: list[Fault] = []
    while len(cards) < count:
        cards += draw.sample(faults, len(faults))
    return cards[:count]

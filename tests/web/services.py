"""Redis and PostgreSQL of a test's own: on a free port or socket, in a temporary folder, ended afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

from lab.stack import free_port, wait_until


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis; gives its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    try:
        client = redis.Redis.from_url(url)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_until(answers, 20, "Redis starts")
        client.close()
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _postgres_bin() -> Path:
    versions = sorted(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
    return versions[-1] / "bin"


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL with an empty database; gives its URL. It won't run as root, so root lends it a user."""
    binaries, port, data = _postgres_bin(), free_port(), folder / "pg"
    folder.mkdir(parents=True, exist_ok=True)
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    user = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in [folder, *folder.parents]:
            if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        [binaries / "initdb", "-D", data, "-A", "trust", "-U", "netviz", "--no-sync", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    process = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    try:

        def answers() -> bool:
            try:
                psycopg.connect(f"postgresql://netviz@127.0.0.1:{port}/postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers, 30, "PostgreSQL starts")
        yield f"postgresql://netviz@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(data, ignore_errors=True)

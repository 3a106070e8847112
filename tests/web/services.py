"""Redis and PostgreSQL of a test's own: on a free port, in a temporary folder, ended afterwards.

They can be killed, stopped, and started again where they were: what a server must live through.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import redis

from lab.stack import free_port, wait_until


class Service:
    """A service and its child processes, with its log in `folder`."""

    def __init__(
        self,
        name: str,
        url: str,
        folder: Path,
        argv: Sequence[str | Path],
        answers: Callable[[], bool],
        **popen: Any,
    ) -> None:
        self.name, self.url, self.log = name, url, folder / "service.log"
        self._argv, self._answers, self._popen = argv, answers, popen
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""

        def up() -> bool:
            # After a kill its processes may hold on to what the next ones need for a moment.
            if self._process is None or self._process.poll() is not None:
                with self.log.open("ab") as log:
                    self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, **self._popen)
            return self._answers()

        wait_until(up, 300, f"{self.name} starts", every_s=0.1)

    def pids(self) -> list[int]:
        """Its process and all of that one's children: PostgreSQL's are in sessions of their own."""
        assert self._process is not None
        found = [self._process.pid]
        for pid in found:
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes, the first one first: it makes no new ones then."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End all of its processes at once."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(300)

    def stop(self) -> None:
        """End it in order, also when it is stopped."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self.signal(signal.SIGCONT)
            self._process.wait(300)


@contextmanager
def redis_service(folder: Path) -> Iterator[Service]:
    """Run a Redis. It keeps nothing on disk: a restart loses all."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"

    def answers() -> bool:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    service = Service("Redis", url, folder, argv, answers)
    try:
        service.start()
        yield service
    finally:
        service.stop()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis; gives its URL."""
    with redis_service(folder) as service:
        yield service.url


def _postgres_bin() -> Path:
    versions = sorted(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
    return versions[-1] / "bin"


@contextmanager
def postgres_service(home: Path | None = None, *settings: str) -> Iterator[Service]:
    """Run a PostgreSQL with an empty database. It won't run as root, so root lends it a user.

    `home` is a folder that doesn't exist yet, on the way to which everybody may pass; a temporary one of its own
    without. (pytest's folders are closed to others, again and again, by each pytest that starts.)
    It doesn't sync to the disk unless `settings` say so ("-c", "fsync=on"): tests kill processes, not machines.
    """
    if home is None:
        folder = Path(tempfile.mkdtemp(prefix="nv-postgres-"))
    else:
        folder = home
        folder.mkdir()
    binaries, port, data = _postgres_bin(), free_port(), folder / "pg"
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    user: dict[str, Any] = (
        {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    )
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    subprocess.run(
        [binaries / "initdb", "-D", data, "-A", "trust", "-U", "netviz", "--no-sync", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    url = f"postgresql://netviz@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    argv = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
    service = Service("PostgreSQL", url, folder, [*argv, *settings], answers, cwd=folder, **user)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a PostgreSQL; gives its URL."""
    with postgres_service() as service:
        yield service.url

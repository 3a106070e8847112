"""What the collectors' live tests share: a real namespace, and a host that writes down what it is told."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from agents.collectors.base import NetnsHandle
from agents.enter import NetnsThread
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Pod
from netviz.core.state.delta import NetnsDelta

_numbers = count(1)


def run(*argv: str, input_text: str | None = None) -> str:
    """Run a program and return what it printed; a failure shows what it complained of."""
    done = subprocess.run(argv, input=input_text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


class Namespace:
    """A namespace of our own, with loopback up."""

    def __init__(self, thread: NetnsThread) -> None:
        self.name = f"nv-col{os.getpid()}-{next(_numbers)}"
        run("ip", "netns", "add", self.name)
        self.path = f"/run/netns/{self.name}"
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        stat = os.fstat(fd)
        self.handle = NetnsHandle(
            NetnsKey("n1", stat.st_dev, stat.st_ino), fd, thread, root=False, name=self.name
        )
        self.exec("ip", "link", "set", "lo", "up")

    def exec(self, *argv: str, input_text: str | None = None) -> str:
        """Run a program inside."""
        return run("ip", "netns", "exec", self.name, *argv, input_text=input_text)

    def socket(self, family: int, kind: int) -> socket.socket:
        """Open a socket inside."""
        return self.handle.run(lambda: socket.socket(family, kind))

    def close(self) -> None:
        """Remove it."""
        os.close(self.handle.fd)
        run("ip", "netns", "del", self.name)


@contextmanager
def namespaces(number: int = 1) -> Iterator[list[Namespace]]:
    """Make namespaces, and remove them whatever happens."""
    thread = NetnsThread()
    made: list[Namespace] = []
    try:
        for _ in range(number):
            made.append(Namespace(thread))
        yield made
    finally:
        for one in made:
            one.close()
        thread.close()


class RecordingHost:
    """A Host that keeps what collectors tell it."""

    node = "n1"
    proc: str | None = "/proc"

    def __init__(self, *handles: NetnsHandle) -> None:
        self.handles = list(handles)
        self.root = handles[0] if handles else None
        self.sections: dict[tuple[NetnsKey, str], Mapping[Any, Any]] = {}
        self.deltas: list[NetnsDelta] = []
        self.dirtied: list[tuple[NetnsKey, str]] = []
        self.lost_counts: dict[str, int] = {}
        self.shed_counts: dict[str, int] = {}
        self.troubles: dict[str, str] = {}
        self.pods: dict[NetnsKey, Pod | None] = {}
        self._readers: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []

    def namespaces(self) -> list[NetnsHandle]:
        return list(self.handles)

    def section(self, key: NetnsKey, section: str) -> Mapping[Any, Any]:
        return self.sections.get((key, section), {})

    def lookup(self, key: NetnsKey, section: str, record_key: Any) -> Any:
        return self.section(key, section).get(record_key)

    def changed(self, delta: NetnsDelta) -> None:
        self.deltas.append(delta)

    def dirty(self, ns: NetnsHandle, section: str) -> None:
        self.dirtied.append((ns.key, section))

    def lost(self, ns: NetnsHandle, section: str, count: int = 1) -> None:
        self.lost_counts[section] = self.lost_counts.get(section, 0) + count
        self.dirty(ns, section)

    def shed(self, section: str, count: int) -> None:
        self.shed_counts[section] = self.shed_counts.get(section, 0) + count

    def made_good(self, section: str, count: int) -> None:
        self.shed_counts[section] -= count

    def set_pod(self, key: NetnsKey, pod: Pod | None) -> None:
        self.pods[key] = pod

    def set_trouble(self, source: str, reason: str) -> None:
        self.troubles[source] = reason

    def add_reader(self, ns: NetnsHandle, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        self._readers.append(sock)
        asyncio.get_running_loop().add_reader(sock, on_readable)

    def remove_reader(self, ns: NetnsHandle, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock)
        self._readers.remove(sock)
        sock.close()

    def call_soon(self, fn: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(fn)

    def call_at_tick(self, period_s: float, fn: Callable[[], None]) -> None:
        self.call_later(period_s, fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, fn))

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for sock in self._readers:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()


async def until(condition: Callable[[], Any], timeout_s: float = 300) -> Any:
    """Wait until the condition holds and return its value."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not come about in time"
        await asyncio.sleep(0.02)
    return value

"""A real server with a crowd of simulated collectors (crowd.py): for the page's benchmark, pictures and browser tests."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.stack import Part, Stack, StackError
from tests.bench.racks import node_name

JOIN_S, CHECKED_S = 1_800.0, 1_200.0
SAY_EVERY_S, LOOK_EVERY_S = 10.0, 0.2


def wait(done: Callable[[], bool], timeout_s: float, what: str, saying: Callable[[], str] = str) -> float:
    """Wait until something is so, and say how it goes; returns the seconds that it took. Raises: StackError."""
    began = said = time.monotonic()
    while not done():
        now = time.monotonic()
        if now - began > timeout_s:
            raise StackError(f"waited {timeout_s:.0f} s for {what}: {saying()}")
        if now - said > SAY_EVERY_S:
            said = now
            print(f"... {now - began:.0f} s, waiting for {what}: {saying()}", flush=True)
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - began


class Crowded:
    """Both of them. `options` are the crowd's, beside the cluster's size."""

    def __init__(self, folder: Path, nodes: int, pods: int, *options: str) -> None:
        self.nodes, self.pods = nodes, pods
        api = "--api" in options
        names: dict[str, list[str]] = {node_name(node): [] for node in range(nodes)}
        self.stack = Stack(names, folder / "var", objects=folder if api else None)
        self.stack.provision()
        self.server = self.stack.start_server()
        argv = [sys.executable, "-m", "tests.bench.crowd", self.stack.access.url, str(self.stack.data_dir)]
        argv += [str(nodes), str(pods), *options]
        self.crowd = Part("simulated collectors", argv, folder / "crowd.log", self.stack.env)
        self._members = nodes + api

    def stop(self) -> None:
        """End both: the server last, so that it hears the crowd leave."""
        self.crowd.stop()
        self.stack.stop()

    def wait_joined(self) -> float:
        """Wait until the states of all are durable; returns the seconds. Raises: StackError."""

        def said() -> list[str]:
            self.crowd.check()
            return self.crowd.log.read_text(errors="replace").splitlines()

        wanted = f"joined: {self._members} of {self._members}"
        return wait(lambda: wanted in said(), JOIN_S, "the collectors", lambda: (said() or [""])[-1])

    def begin_changes(self) -> None:
        """Let the crowd begin to change."""
        self.crowd.process.send_signal(signal.SIGUSR1)

    def wait_judged(self) -> float:
        """Wait until the checks have judged all pods once; returns the seconds. Raises: StackError."""

        def judged() -> bool:
            said = self.checking()
            return said.get("state") in ("current", "behind") and said["pods"] == self.nodes * self.pods

        return wait(judged, CHECKED_S, "the checks", lambda: str(self.checking().get("state")))

    def checking(self) -> dict[str, Any]:
        """How the checking is; {} while that isn't known."""
        status, body = self.stack.get(f"/api/topology?node={node_name(0)}")
        said = json.loads(body)["checking"] if status == 200 else []
        return said[0] if said else {}


@contextmanager
def crowded(folder: Path, nodes: int, pods: int, *options: str) -> Iterator[Crowded]:
    """A crowd that has joined and been judged, and begins to change."""
    both = Crowded(folder, nodes, pods, *options)
    try:
        both.wait_joined()
        both.wait_judged()
        both.begin_changes()
        yield both
    finally:
        both.stop()

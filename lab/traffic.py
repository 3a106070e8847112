"""Some traffic between a lab's pods, so that counters, connections and rates live.

One thread goes round the pods: each in turn asks a service, another pod, or the DNS service for a name. A
connection is kept for some seconds, and answered or not, it is closed; nobody waits for it. The order
follows from the numbers of the turns.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from lab import netns
from lab.cluster import Cluster
from lab.echo import PORT
from lab.spec import LabError

EVERY_S = 0.15
KEPT_S = 6.0
_TEXT = b"x" * 512
_QUESTION = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\3web\7default\3svc\7cluster\5local\0\0\1\0\1"


class Traffic:
    """The thread that makes traffic in a cluster; a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._halt = threading.Event()
        self._open: deque[tuple[float, socket.socket]] = deque()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._halt.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for turn in itertools.count():
                if self._halt.wait(EVERY_S):
                    return
                # A pod or node may have just gone.
                with suppress(OSError, LabError, LookupError):
                    self._cluster.refresh()
                    self._send(turn)
                self._close(time.monotonic() - KEPT_S)
        finally:
            self._close(time.monotonic())

    def _send(self, turn: int) -> None:
        pods = sorted(self._cluster.pods)
        if len(pods) < 2:
            return
        src = pods[turn % len(pods)]
        targets = list(self._targets(src))
        address, port, proto = targets[(turn // len(pods) + turn) % len(targets)]
        kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
        sock = netns.open_socket(self._cluster.netns_of(src), socket.AF_INET, kind)
        self._open.append((time.monotonic(), sock))
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.connect((address, port))
        if proto == "udp":
            sock.send(_QUESTION)

    def _targets(self, src: str) -> Iterator[tuple[str, int, str]]:
        """Say where a pod may send: the services' addresses, the other pods."""
        for service in self._cluster.state.services:
            spec = service["spec"]
            if spec["clusterIP"] != "None":
                port = spec["ports"][0]
                yield spec["clusterIP"], port["port"], port["protocol"].lower()
        for pod in self._cluster.pods.values():
            if pod.name != src:
                yield pod.ipv4, PORT, "tcp"

    def _close(self, before: float) -> None:
        """Close what is older than that; half way there, send something over it."""
        for opened, sock in self._open:
            if opened < before + KEPT_S / 2 and sock.type == socket.SOCK_STREAM:
                with suppress(OSError):
                    sock.recv(4096)
                    sock.send(_TEXT)
        while self._open and self._open[0][0] <= before:
            self._open.popleft()[1].close()

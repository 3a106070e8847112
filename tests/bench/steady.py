"""A server's resident memory over 10,000 traces of a cluster whose connections change all the time.

A lab of 3 nodes with 5 pods is collected once and told by simulated collectors, each of which has 2,000 translated
connections besides and changes 50 of them a second. Pairs of pods are traced over the API by two clients, and each
result is fetched. Memory that grows with the number of traces or of states would show: it is read after each tenth
of them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.cluster import Cluster, ClusterSpec
from lab.stack import Access, Stack, wait_until
from netviz.core.model.conntrack import IPS_CONFIRMED, IPS_SRC_NAT, CtEntry
from netviz.core.model.netfilter import Body
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.state.node import NodeState
from tests.bench.fleet import Simulated
from tests.bench.machine import Figure, rss_bytes
from tests.bench.traces import collect

TRACES, PARTS, CLIENTS = 10_000, 10, 2
CONNECTIONS, CHANGES, EVERY_S = 2_000, 5, 0.1


def connection(number: int) -> CtEntry:
    """One of many connections to the outside, translated."""
    inside = (10 << 24 | 200 << 16 | number % 65000).to_bytes(4, "big")
    outside, node, port = b"\xc6\x33\x64\x07", b"\xcb\x00\x71\x01", 1024 + number % 60000
    status = IPS_CONFIRMED | IPS_SRC_NAT
    return CtEntry(6, inside, outside, port, 443, outside, node, 443, port, status=status)


class Busy(Simulated):
    """A collector without a kernel, whose node's connections come and go."""

    def __init__(self, state: NodeState, bodies: Mapping[bytes, Body], server: str, token_file: Path) -> None:
        root = state.root
        assert root is not None
        self._key = root.key
        first = Change(tuple(connection(number) for number in range(CONNECTIONS)))
        state = apply(state, NodeDelta((NetnsDelta(self._key, conntrack=first),)))
        super().__init__(state, bodies, server, token_file)

    async def change(self) -> None:
        """Let the oldest connections end and as many begin, again and again."""
        for number in itertools.count(CONNECTIONS, CHANGES):
            await asyncio.sleep(EVERY_S)
            put = tuple(connection(number + i) for i in range(CHANGES))
            drop = tuple(connection(number + i - CONNECTIONS).key for i in range(CHANGES))
            delta = NodeDelta((NetnsDelta(self._key, conntrack=Change(put, drop)),))
            self._state = apply(self._state, delta)
            self.transport.state_changed(delta, time.time_ns())


class Collectors(threading.Thread):
    """All simulated collectors, in a thread with a loop of their own."""

    def __init__(self, make: Callable[[], list[Busy]]) -> None:
        super().__init__(daemon=True)
        self._make = make

    def run(self) -> None:
        asyncio.run(self._drive())

    async def _drive(self) -> None:
        async with asyncio.TaskGroup() as group:
            for one in self._make():
                group.create_task(one.transport.run())
                group.create_task(one.change())


def _ask(access: Access, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
    request = urllib.request.Request(access.url + path)
    request.add_header("Authorization", f"Bearer {access.token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict[str, object] = json.loads(response.read())
    return found


def _trace(access: Access, source: str, target: str) -> None:
    made = _ask(access, "/api/traces", {"from": source, "to": target, "proto": "tcp", "dport": 8080})
    wait_until(
        lambda: _ask(access, f"/api/traces/{made['id']}").get("status") in ("done", "failed"), 60, "a trace"
    )


def run() -> Iterable[Figure]:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Cluster.up(ClusterSpec(f"bench-steady-{os.getpid()}", nodes=3, pods=5)) as cluster:
            state, pods = collect(cluster, folder), list(cluster.pods)
        with Stack({node: [] for node in state.nodes}, folder / "var") as stack:
            access = stack.provision()
            server = stack.start_server()
            Collectors(
                lambda: [
                    Busy(node, state.bodies, access.url, stack.token_file(node.node))
                    for node in state.nodes.values()
                ]
            ).start()
            stack.wait_connected()
            pick = random.Random(5)
            for part in range(1, PARTS + 1):
                pairs = [pick.sample(pods, 2) for _ in range(TRACES // PARTS)]
                with ThreadPoolExecutor(CLIENTS) as clients:
                    list(clients.map(lambda pair: _trace(access, *pair), pairs))
                rss = rss_bytes(server.process.pid) / 2**20
                yield Figure(f"resident memory after {part * TRACES // PARTS} traces", f"{rss:.0f} MiB")

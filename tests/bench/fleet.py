"""500 collectors of 30 pods each on one server process.

The collectors are simulated in one other process, each with the real transport, token and state: a
lab node with 30 pods is collected once, and every simulated collector tells that state under its own
node's name. In the steady phase each of them changes one record every five seconds, and beats.
The restart is a kill -9; the time runs until all 500 are connected and whole again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from agents.transport import Transport, TransportOptions
from lab.cluster import Cluster, ClusterSpec
from lab.stack import ROOT, Part, Stack, wait_until
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body
from netviz.core.model.netns import Netns
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.wire.messages import AgentStatus
from netviz.core.wire.nvz import join_captures, load_nvz
from tests.bench.machine import Figure, cpu_s, rss_bytes

COLLECTORS, PODS, STEADY_S, CHANGE_EVERY_S = 500, 30, 30, 5.0


def renamed(state: NodeState, node: str) -> NodeState:
    """The same state as another node's."""

    def key(old: NetnsKey) -> NetnsKey:
        return msgspec.structs.replace(old, node=node)

    def record(netns: Netns) -> Netns:
        nsids = tuple((nsid, key(target)) for nsid, target in netns.nsids)
        return msgspec.structs.replace(netns, key=key(netns.key), nsids=nsids)

    def namespace(ns: NetnsState) -> NetnsState:
        return msgspec.structs.replace(ns, netns=record(ns.netns))

    return msgspec.structs.replace(
        state, node=node, netns={key(old): namespace(ns) for old, ns in state.netns.items()}
    )


class Simulated:
    """A collector without a kernel: a `StateSource`, and now and then a change."""

    def __init__(self, state: NodeState, bodies: Mapping[bytes, Body], server: str, token_file: Path) -> None:
        self._state = state
        self._bodies = bodies
        self.transport = Transport(TransportOptions(server, token_file, state.node, "bench"), self)

    def state(self) -> NodeState:
        return self._state

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        return [self._bodies[digest] for digest in digests if digest in self._bodies]

    def status(self) -> AgentStatus:
        return AgentStatus(netns=len(self._state.netns))

    def watch(self, watched: Iterable[object]) -> None:
        """Nothing is read."""

    async def change(self) -> None:
        """Change the alias of one link, again and again."""
        ns = next(iter(self._state.netns.values()))
        link = next(iter(ns.links.values()))
        for number in itertools.count():
            await asyncio.sleep(CHANGE_EVERY_S)
            changed = msgspec.structs.replace(link, alias=f"change {number}")
            delta = NodeDelta((NetnsDelta(ns.key, links=Change((changed,))),))
            self._state = apply(self._state, delta)
            self.transport.state_changed(delta, time.time_ns())


async def drive(server: str, state_file: Path, token_dir: Path) -> None:
    """Run the simulated collectors until the process is ended."""
    cluster = join_captures([load_nvz(state_file.read_bytes())])
    (state,) = cluster.nodes.values()
    bodies = cluster.bodies
    async with asyncio.TaskGroup() as group:
        for token_file in sorted(token_dir.glob("*.token")):
            one = Simulated(renamed(state, token_file.stem), bodies, server, token_file)
            group.create_task(one.transport.run())
            group.create_task(one.change())
            await asyncio.sleep(0)


def _collect_one_node(folder: Path) -> Path:
    out = folder / "node.nvz"
    with Cluster.up(ClusterSpec(f"bench-fleet-{os.getpid()}", nodes=1, pods=PODS)) as cluster:
        arguments = next(iter(cluster.nodes.values())).collector_args()
        argv = [sys.executable, "-m", "agents", "snapshot", "--node", "node1", *arguments, "--out", str(out)]
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    return out


def connected(stack: Stack) -> int:
    """How many collectors the server's metrics say are connected."""
    status, body = stack.get("/metrics")
    found = re.search(rb"^netviz_collectors_connected (\d+)", body, re.MULTILINE) if status == 200 else None
    return int(found[1]) if found else 0


def run() -> Iterable[Figure]:
    """Measure."""
    nodes = [f"sim-{number:03}" for number in range(COLLECTORS)]
    with (
        tempfile.TemporaryDirectory() as name,
        Stack({node: [] for node in nodes}, Path(name) / "var") as stack,
    ):
        folder = Path(name)
        state_file = _collect_one_node(folder)
        stack.provision()
        server = stack.start_server()
        argv = [
            sys.executable,
            "-m",
            "tests.bench.fleet",
            stack.access.url,
            str(state_file),
            str(stack.data_dir),
        ]
        started = time.monotonic()
        fleet = Part("simulated collectors", argv, folder / "fleet.log", stack.env)
        try:
            wait_until(
                lambda: fleet.check() or connected(stack) == COLLECTORS,
                300,
                "all simulated collectors connect",
            )
            yield Figure(
                f"connect {COLLECTORS} collectors of {PODS} pods", f"{time.monotonic() - started:.1f} s"
            )
            used, since = cpu_s(server.process.pid), time.monotonic()
            time.sleep(STEADY_S)
            share = (cpu_s(server.process.pid) - used) / (time.monotonic() - since)
            yield Figure("server's CPU, steady, 100 changes a second", f"{share * 100:.0f} % of a core")
            yield Figure("server's resident memory", f"{rss_bytes(server.process.pid) / 2**20:.0f} MiB")
            server.kill()
            started = time.monotonic()
            server = stack.start_server()
            wait_until(lambda: connected(stack) == COLLECTORS, 300, "all come back")
            yield Figure("all back after kill -9 and restart", f"{time.monotonic() - started:.1f} s")
        finally:
            fleet.stop()


if __name__ == "__main__":
    asyncio.run(drive(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))

"""Predicted traces a second, forward and reply, on one core.

A lab of 3 nodes with 5 pods and one of 20 nodes with 30 pods are collected; then random pairs of pods
are traced over TCP, each from the resolved end points to the finished JSON object.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from lab.cluster import Cluster, ClusterSpec
from lab.stack import ROOT
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.reads import Reads, Recording
from netviz.core.sim.render import trace_json
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz
from tests.bench.machine import Figure, percentiles_ms

SECONDS = 5.0


def collect(cluster: Cluster, folder: Path) -> ClusterState:
    """The whole cluster's state, by one snapshot a node."""
    files = []
    for node in cluster.nodes.values():
        out = folder / f"{node.name}.nvz"
        argv = [sys.executable, "-m", "agents", "snapshot", "--node", node.name, *node.collector_args()]
        subprocess.run([*argv, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
        files.append(load_nvz(out.read_bytes()))
    return join_captures(files)


def run() -> Iterable[Figure]:
    """Measure."""
    for nodes, pods, aim in ((3, 5, "554"), (20, 30, "283")):
        spec = ClusterSpec(f"bench-trace-{os.getpid()}-{nodes}", nodes=nodes, pods=pods)
        with tempfile.TemporaryDirectory() as folder, Cluster.up(spec) as cluster:
            state = collect(cluster, Path(folder))
            names = list(cluster.pods)
        durations, recorded = timed(names, partial(trace, state), partial(record, state))
        total = sum(durations)
        yield Figure(f"{nodes} x {pods} pods", f"{len(durations) / total:.0f} traces a second", aim)
        yield Figure(f"{nodes} x {pods} pods, one trace p50/p95/p99", percentiles_ms(durations))
        longer = statistics.median(recorded) / statistics.median(durations) - 1
        yield Figure(f"{nodes} x {pods} pods, with what was asked recorded", f"{longer:.0%} longer")


def timed(names: Sequence[str], *works: Callable[[str, str], object]) -> list[list[float]]:
    """Do several things for one random pair of pods after the other, in turn; how long each took, in seconds."""
    pick = random.Random(5)
    durations: list[list[float]] = [[] for _ in works]
    started = time.perf_counter()
    while time.perf_counter() - started < SECONDS * len(works):
        source, target = pick.sample(names, 2)
        for work, took in zip(works, durations, strict=True):
            before = time.perf_counter()
            work(source, target)
            took.append(time.perf_counter() - before)
    return durations


def trace(state: ClusterState, source: str, target: str) -> None:
    """Trace from names to the JSON object."""
    flow = resolve_flow(state, source, target, "tcp", None, 8080, None, False)
    assert trace_json(simulate_in_context(state, flow))["disposition"] == "DELIVERED"


def record(state: ClusterState, source: str, target: str) -> Reads:
    """Do the same, and keep what was asked of the state."""
    recording = Recording(state)
    trace(recording.cluster, source, target)
    return recording.reads()

"""Predicted traces a second, forward and reply, on one core.

A lab of 3 nodes with 5 pods and one of 20 nodes with 30 pods are collected; then random pairs of pods
are traced over TCP, each from the resolved end points to the finished JSON object.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from lab.cluster import Cluster, ClusterSpec
from lab.stack import ROOT
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.render import trace_json
from netviz.core.sim.walk import simulate
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
    for nodes, pods in ((3, 5), (20, 30)):
        spec = ClusterSpec(f"bench-trace-{os.getpid()}-{nodes}", nodes=nodes, pods=pods)
        with tempfile.TemporaryDirectory() as folder, Cluster.up(spec) as cluster:
            state = collect(cluster, Path(folder))
            names = list(cluster.pods)
        pick = random.Random(5)
        durations: list[float] = []
        started = time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            source, target = pick.sample(names, 2)
            before = time.perf_counter()
            flow = resolve_flow(state, source, target, "tcp", None, 8080, None, False)
            assert trace_json(simulate(state, flow))["disposition"] == "DELIVERED"
            durations.append(time.perf_counter() - before)
        total = sum(durations)
        yield Figure(f"{nodes} x {pods} pods", f"{len(durations) / total:.0f} traces a second", "200")
        yield Figure(f"{nodes} x {pods} pods, one trace p50/p95/p99", percentiles_ms(durations))

"""A node's whole state, read from the kernel: 300 pod namespaces and 10,000 routes.

One `python -m agents snapshot` as a whole process, against what a script would do: `ip -j` run in
each namespace for links, addresses, routes and neighbours. Both over the same namespaces, in turn;
the ratio is that of the medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from lab.cluster import Cluster, ClusterSpec
from tests.bench.machine import Figure

NAMESPACES, ROUTES, ROUNDS = 300, 10_000, 3
QUERIES = (("-d", "link"), ("addr",), ("route", "show", "table", "all"), ("neigh",))


def _add_routes(cluster: Cluster, node: str) -> None:
    lines = "".join(
        f"route add 10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}/32 dev cni0 metric 77\n"
        for i in range(ROUTES)
    )
    with tempfile.NamedTemporaryFile("w", suffix=".batch") as batch:
        batch.write(lines)
        batch.flush()
        cluster.exec(node, ["ip", "-batch", batch.name])


def _timed(run: object) -> float:
    started = time.perf_counter()
    assert callable(run)
    run()
    return time.perf_counter() - started


def run() -> Iterable[Figure]:
    """Measure."""
    with Cluster.up(
        ClusterSpec(f"bench-snap-{time.monotonic_ns() % 10**6}", nodes=1, pods=NAMESPACES)
    ) as cluster:
        node = next(iter(cluster.nodes.values()))
        _add_routes(cluster, node.name)
        arguments = node.collector_args()
        root = arguments[arguments.index("--root-netns") + 1]
        netns_dir = Path(arguments[arguments.index("--netns-dir") + 1])
        paths = [root, *(str(p) for p in sorted(netns_dir.iterdir()))]

        def ours() -> None:
            with tempfile.TemporaryDirectory() as folder:
                argv = [sys.executable, "-m", "agents", "snapshot", "--node", node.name, *arguments]
                subprocess.run([*argv, "--out", f"{folder}/node.nvz"], check=True, capture_output=True)

        def ip_json() -> None:
            for path in paths:
                for query in QUERIES:
                    subprocess.run(
                        ["nsenter", f"--net={path}", "ip", "-j", *query],
                        check=True,
                        stdout=subprocess.DEVNULL,
                    )

        mine, theirs = [], []
        for _ in range(ROUNDS):
            mine.append(_timed(ours))
            theirs.append(_timed(ip_json))
    a, b = statistics.median(mine), statistics.median(theirs)
    yield Figure("snapshot, whole process", f"{a:.2f} s")
    yield Figure(f"`ip -j` in each of {len(paths)} namespaces", f"{b:.2f} s")
    yield Figure("ratio", f"{a / b:.3f}", "0.1, at most 0.3")

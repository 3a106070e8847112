"""A node with 100,000 conntrack entries and 10,000 new connections a second.

A pod sends UDP datagrams, each of a new (source port, destination port) pair, to the internet's host;
the node's masquerading makes each a conntrack entry. The figures are taken after the first 100,000,
while the flood goes on. Meanwhile every half second an address is added to the node's loopback, and
the time until the page's socket shows it is taken. CPU is that of one collector.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from lab.cluster import Cluster
from lab.stack import wait_until
from tests.bench.latency import probe_feed
from tests.bench.machine import Figure, cpu_s, percentiles_ms, rss_bytes
from tests.stack import whole_netviz

ENTRIES, RATE, PROBES = 100_000, 10_000, 20

FLOOD = """
import itertools, socket, sys, time
target, rate = sys.argv[1], int(sys.argv[2])
step = rate // 100
pairs = ((s, port) for s in itertools.count(20000) for port in range(10000, 60000))
sock, number = None, 0
due = time.monotonic()
while True:
    for _ in range(step):
        source, port = next(pairs)
        if source != number:
            sock, number = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), source
            sock.bind(("", source))
        try:
            sock.sendto(b"x", (target, port))
        except OSError:
            pass
    due += 0.01
    time.sleep(max(0.0, due - time.monotonic()))
"""


def _entries(cluster: Cluster, node: str) -> int:
    return int(cluster.exec(node, ["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]).stdout or 0)


def run() -> Iterable[Figure]:
    """Measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        whole_netviz(Path(folder), nodes=1, pods=1) as (cluster, stack),
    ):
        (node,) = cluster.nodes
        (pod,) = cluster.pods
        (part,) = stack.collectors.values()
        pid = part.process.pid
        command = cluster.command(
            pod, [sys.executable, "-c", FLOOD, cluster.address_of("internet"), str(RATE)]
        )
        flood = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _entries(cluster, node) >= ENTRIES, 60, f"{ENTRIES} conntrack entries")
            used, since, before = cpu_s(pid), time.monotonic(), _entries(cluster, node)
            delays = asyncio.run(probe_feed(cluster, stack, PROBES, pause_s=0.5))
            share = (cpu_s(pid) - used) / (time.monotonic() - since)
            rate = (_entries(cluster, node) - before) / (time.monotonic() - since)
            yield Figure("entries at the end", f"{_entries(cluster, node)}")
            yield Figure("new entries a second, less those that ended", f"{rate:.0f}")
            yield Figure("collector's CPU", f"{share * 100:.0f} % of a core")
            yield Figure("collector's resident memory", f"{rss_bytes(pid) / 2**20:.0f} MiB")
            yield Figure("link change to page's socket meanwhile, p50/p95/p99", percentiles_ms(delays))
            status = next(n for n in stack.topology()["nodes"] if n["name"] == node)["collector"]
            yield Figure(
                "events lost / changes left out", f"{status['lost_events']} / {status['shed_events']}"
            )
        finally:
            flood.kill()
            flood.wait()

"""What a collector costs its node: memory and CPU at 100 pod namespaces.

Idle means that nothing changes in the kernel; busy means 100 changes a second (pods made and removed,
routes, addresses, neighbours). CPU is user and system time of all threads, as a share of one core.
Skydive published 95 MB and 3.9 % for its agent.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from lab.churn import run_churn
from tests.bench.machine import Figure, cpu_s, rss_bytes
from tests.stack import whole_netviz

PODS, SETTLE_S, IDLE_S, BUSY_S, RATE = 100, 15, 60, 30, 100


def _share(pid: int, used_s: float, since: float) -> str:
    return f"{(cpu_s(pid) - used_s) / (time.monotonic() - since) * 100:.2f} % of a core"


def run() -> Iterable[Figure]:
    """Measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        whole_netviz(Path(folder), nodes=1, pods=PODS) as (cluster, stack),
    ):
        (part,) = stack.collectors.values()
        pid = part.process.pid
        time.sleep(SETTLE_S)
        used, since = cpu_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        yield Figure(f"CPU, idle, {PODS} pod namespaces", _share(pid, used, since), "0.5 %")
        yield Figure("resident memory, idle", f"{rss_bytes(pid) / 2**20:.0f} MiB", "64 MiB")
        used, since = cpu_s(pid), time.monotonic()
        report = run_churn(cluster, rate_per_s=RATE, seconds=BUSY_S, seed=3)
        yield Figure(f"CPU at {report.changes / BUSY_S:.0f} changes a second", _share(pid, used, since))
        yield Figure("resident memory after that", f"{rss_bytes(pid) / 2**20:.0f} MiB", "64 MiB")

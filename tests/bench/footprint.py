"""What a collector costs its node: memory and CPU at 100 pod namespaces.

Idle means that nothing changes in the kernel; busy means 100 changes a second (pods made and removed,
routes, addresses, neighbours). CPU is user and system time of all threads, as a share of one core. A wake-up
is a thread that went to sleep; on an idle node they are the cost, and the same on every machine, where a share of a
core isn't.
Skydive published 95 MB and 3.9 % for its agent.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from lab.churn import run_churn
from tests.bench.calls import SystemCalls, wake_ups
from tests.bench.machine import Figure, cpu_s, rss_bytes
from tests.stack import whole_netviz

PODS, SETTLE_S, IDLE_S, BUSY_S, RATE = 100, 15, 60, 30, 100


def _share(pid: int, used_s: float, since: float) -> str:
    return f"{(cpu_s(pid) - used_s) / (time.monotonic() - since) * 100:.2f} % of a core"


def _system_calls(pid: int) -> Figure:
    """Count apart from the rest: the counting itself costs CPU."""
    calls, since = SystemCalls(pid), time.monotonic()
    try:
        before = calls.count()
        time.sleep(IDLE_S)
        after, lasted_s = calls.count(), time.monotonic() - since
    finally:
        calls.close()
    counted = before is not None and after is not None
    value = f"{((after or 0) - (before or 0)) / lasted_s:.0f}" if counted else "not counted: no tracefs"
    return Figure("system calls a second, idle", value)


def run() -> Iterable[Figure]:
    """Measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        whole_netviz(Path(folder), nodes=1, pods=PODS) as (cluster, stack),
    ):
        (part,) = stack.collectors.values()
        pid = part.process.pid
        time.sleep(SETTLE_S)
        used, woken, since = cpu_s(pid), wake_ups(pid), time.monotonic()
        time.sleep(IDLE_S)
        woken, lasted_s = wake_ups(pid) - woken, time.monotonic() - since
        yield Figure(f"CPU, idle, {PODS} pod namespaces", _share(pid, used, since), "0.5 %")
        yield Figure("wake-ups a second, idle", f"{woken / lasted_s:.1f}", "5")
        yield _system_calls(pid)
        yield Figure("resident memory, idle", f"{rss_bytes(pid) / 2**20:.0f} MiB", "64 MiB")
        used, since = cpu_s(pid), time.monotonic()
        report = run_churn(cluster, rate_per_s=RATE, seconds=BUSY_S, seed=3)
        yield Figure(f"CPU at {report.changes / BUSY_S:.0f} changes a second", _share(pid, used, since))
        yield Figure("resident memory after that", f"{rss_bytes(pid) / 2**20:.0f} MiB", "64 MiB")

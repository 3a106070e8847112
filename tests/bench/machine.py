"""What the figures were measured on, and how figures are printed."""

from __future__ import annotations

import os
import platform
import select
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One measured value: what it is, the value with its unit, and what was aimed at. `failed`: there is none, and `value` says why."""

    name: str
    value: str
    aim: str = ""
    failed: bool = False


def machine() -> str:
    """The machine in one line."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} x {cpu}, {memory_gib:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def percentiles_ms(values_s: Sequence[float]) -> str:
    """p50/p95/p99 of durations in seconds, as milliseconds."""
    if len(values_s) < 2:
        return "too few values"
    cuts = statistics.quantiles(values_s, n=100, method="inclusive")
    return "/".join(f"{cuts[p - 1] * 1000:.1f}" for p in (50, 95, 99)) + " ms"


LOOPS, WAKE_UPS = 3_000_000, 1_000


def calibration() -> str:
    """CPU time of a fixed loop in Python and of fixed wake-ups by a timer: divide by them to compare machines."""
    started = time.process_time()
    total = 0
    for number in range(LOOPS):
        total += number & 7
    loop_s = time.process_time() - started
    with select.epoll() as nothing:
        started = time.process_time()
        for _ in range(WAKE_UPS):
            nothing.poll(0.001)
        wake_up_s = (time.process_time() - started) / WAKE_UPS
    return f"loop {loop_s * 1000:.0f} ms, wake-up {wake_up_s * 1e6:.0f} us"


def lines(figures: Iterable[Figure]) -> Iterator[str]:
    """Render figures as lines of a table in Markdown, each with the machine's calibration at that moment."""
    yield from ("| figure | measured | aim | calibration |", "| --- | --- | --- | --- |")
    for figure in figures:
        yield f"| {figure.name} | {figure.value} | {figure.aim} | {calibration()} |"


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system) that a process has used, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes_below(ancestor: int) -> dict[int, str]:
    """The processes that descend from one (0: from this one), each with its command line."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found: dict[int, str] = {}
    below = {ancestor or os.getpid()}
    while below:
        below = {pid for pid, parent in parents.items() if parent in below}
        for pid in below:
            try:
                words = (
                    Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            found[pid] = words
    return found

"""What a fuzzer found: figures, and each kind of failure with the first input that showed it."""

from __future__ import annotations

import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

PROGRESS_S = 5.0
MAX_CPU_S = 10.0
MAX_GROWTH_BYTES = 512 << 20


def peak_bytes() -> int:
    """The most memory that this process had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class TooSlow(Exception):
    """An input took more than MAX_CPU_S of CPU."""


def _too_slow(*_: object) -> NoReturn:
    raise TooSlow


@contextmanager
def bounded_cpu() -> Iterator[None]:
    """Let an input take MAX_CPU_S of CPU. Raises: TooSlow."""
    before = signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class Report:
    """One fuzzer's run of `total` inputs."""

    def __init__(self, name: str, total: int, seed: int) -> None:
        self.name, self.total, self.seed = name, total, seed
        self.done = 0
        self.outcomes: Counter[str] = Counter()
        self.failures: dict[str, tuple[int, str]] = {}
        self._times: Counter[str] = Counter()
        self._slowest = (0.0, 0)
        self._cpu_s = time.process_time()
        self._began = self._told = time.monotonic()
        self._peak = peak_bytes()

    def step(self, outcome: str) -> None:
        """Count an input and what became of it."""
        self.outcomes[outcome] += 1
        cpu_s = time.process_time()
        self._slowest = max(self._slowest, (cpu_s - self._cpu_s, self.done))
        self._cpu_s = cpu_s
        self.done += 1
        now = time.monotonic()
        if now - self._told >= PROGRESS_S:
            self._told = now
            print(
                f"  {self.name}: {self.done} of {self.total}, {len(self.failures)} kinds of failure",
                flush=True,
            )

    def fail(self, number: int, err: BaseException) -> None:
        """Note an exception that nobody may see."""
        last = traceback.extract_tb(err.__traceback__)[-1]
        kind = f"{type(err).__name__} at {last.filename.rpartition('/netviz/')[2]}:{last.name}"
        self._times[kind] += 1
        if kind not in self.failures:
            self.failures[kind] = (number, "".join(traceback.format_exception(err)))

    def wrong(self, number: int, what: str, detail: str = "") -> None:
        """Note something that isn't as it must be."""
        self._times[what] += 1
        self.failures.setdefault(what, (number, detail or what))

    def close(self) -> bool:
        """Print the summary; True when there was no failure."""
        took = time.monotonic() - self._began
        grown = peak_bytes() - self._peak
        if grown > MAX_GROWTH_BYTES:
            self.wrong(self.done, f"memory grew by {grown >> 20} MiB")
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common(12))
        print(
            f"{self.name}: {self.done} inputs (seed {self.seed}) in {took:.0f} s; {outcomes}; "
            f"memory +{grown >> 20} MiB; slowest {self._slowest[0]:.1f} s of CPU (input {self._slowest[1]}); "
            f"{len(self.failures)} kinds of failure",
            flush=True,
        )
        for kind, (number, text) in self.failures.items():
            print(f"FAILURE {self._times[kind]}x, first at input {number}: {kind}\n{text}", file=sys.stderr)
        return not self.failures

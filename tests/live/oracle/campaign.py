"""Many networks on several processes, with progress."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.live.oracle.run import Summary, run_seed

PACKETS_A_NETWORK = 20
JOBS = min(2, os.cpu_count() or 1)
Progress = Callable[[Summary, float], None]


def run_campaign(
    seed: int, packets: int, networks: int, progress: Progress | None = None, jobs: int = JOBS
) -> Summary:
    """Send at least `packets` packets through at least `networks` networks of consecutive seeds."""
    total = Summary()
    each = max(1, -(-packets // max(networks, 1)) + 1)
    started = time.monotonic()
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        waiting: set[Future[Summary]] = set()
        next_seed = seed
        while total.packets < packets or total.networks < networks:
            while len(waiting) < 2 * jobs:
                waiting.add(pool.submit(run_seed, next_seed, each))
                next_seed += 1
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            if progress is not None:
                progress(total, time.monotonic() - started)
    finally:
        pool.shutdown(cancel_futures=True)
    return total

"""Whether the kernel still has packets in hand.

A packet goes from namespace to namespace in soft interrupts, usually within the call that sends it. On a
busy machine the kernel leaves them to a thread of each processor (ksoftirqd), which waits for its turn as
any program does. Nothing is left to do when no such thread wants to run and no processor's queue holds a
packet. In a PID namespace of one's own the threads can't be seen; then only the queues tell.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path

_BACKLOG_COLUMN = 11  # softnet_seq_show: the packets in input_pkt_queue and process_queue
_SLEEPING = "S"


@functools.cache
def _threads() -> tuple[Path, ...]:
    """Find the processors' threads; they live as long as the machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "comm").read_text().startswith("ksoftirqd/"):
                    found.append(entry / "stat")
    return tuple(found)


def idle() -> bool:
    """Tell whether no packet waits for a processor at this moment.

    Source: net/core/net-procfs.c softnet_seq_show, kernel/softirq.c run_ksoftirqd (v6.18).
    """
    queues = Path("/proc/net/softnet_stat").read_text().splitlines()
    if any(int(line.split()[_BACKLOG_COLUMN], 16) for line in queues):
        return False
    return all(stat.read_text().rpartition(")")[2].split()[0] == _SLEEPING for stat in _threads())

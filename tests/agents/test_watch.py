"""Watching processes where the kernel gives no pidfd."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from agents.collectors.base import NetnsHandle
from agents.watch import ProcessWatch
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Holder


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Have the kernel refuse every new descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def held_by_this_process() -> NetnsHandle:
    handle = NetnsHandle(NetnsKey("n1", 4, 1), -1, None, root=False)  # type: ignore[arg-type]
    handle.infra_pid = os.getpid()
    handle.holders = (Holder("process", "python", os.getpid()),)
    return handle


async def test_a_process_that_cannot_be_watched_is_left_to_polling_until_it_can() -> None:
    watch = ProcessWatch(asyncio.get_running_loop(), "/proc", lambda: None)
    handle = held_by_this_process()
    try:
        with no_descriptor_left():
            watch.follow([handle])
        assert watch.unwatched
        watch.follow([handle])
        assert not watch.unwatched
    finally:
        watch.close()

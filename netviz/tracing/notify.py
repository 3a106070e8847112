"""Tell the sockets that watch a trace that it changed, whichever process or thread changed it.

With Redis, through its channel layer. In one process, the channel layer's queues belong to the
server's event loop, and the worker is a thread beside it: so the message is put there by that loop.
A message that is lost delays the watchers, who look by themselves now and then.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakSet

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings

from netviz.parts import REDIS_AWAY

log = logging.getLogger("netviz.tracing")
_loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def group_of(trace_id: int) -> str:
    """Name the group in which a trace's watchers are."""
    return f"trace.{trace_id}"


def watch_from_this_loop() -> None:
    """Note that the running event loop has watchers."""
    _loops.add(asyncio.get_running_loop())


def announce(trace_id: int) -> None:
    """Say that a trace changed. Called from threads without an event loop."""
    message = {"type": "trace.changed"}
    if settings.REDIS_URL:
        try:
            async_to_sync(get_channel_layer().group_send)(group_of(trace_id), message)
        except REDIS_AWAY as err:
            log.warning("the watchers of trace %d are not told that it changed: %s", trace_id, err)
        return
    for loop in list(_loops):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(
                get_channel_layer().group_send(group_of(trace_id), message), loop
            )

"""Tell the sockets of a channel layer's group something, whichever process or thread has it to tell.

With Redis, through its channel layer. In one process, the channel layer's queues belong to the
server's event loop, and who has something to tell is a thread beside it: so the message is put there by
that loop. A message that is lost is made good by whoever it was for: this is a hint, not a promise.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import WeakSet

from asgiref.sync import async_to_sync
from channels.layers import BaseChannelLayer, get_channel_layer
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from netviz.parts import REDIS_AWAY

log = logging.getLogger("netviz.groups")
_loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def listen_from_this_loop() -> None:
    """Note that the running event loop has sockets in groups."""
    _loops.add(asyncio.get_running_loop())


def channel_layer() -> BaseChannelLayer:
    """The layer that carries messages to groups; the settings always name one."""
    layer = get_channel_layer()
    if layer is None:
        raise ImproperlyConfigured("CHANNEL_LAYERS has no default")
    return layer


def publish(group: str, message: dict[str, Any]) -> None:
    """Send a message to a group. Called from threads without an event loop."""
    if settings.REDIS_URL:
        try:
            async_to_sync(channel_layer().group_send)(group, message)
        except REDIS_AWAY as err:
            log.warning("the sockets of %s are not told of %s: %s", group, message["type"], err)
        return
    for loop in list(_loops):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(channel_layer().group_send(group, message), loop)

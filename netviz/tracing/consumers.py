"""The socket that follows one trace: it sends the whole object whenever that changes.

A word from whoever changed the trace makes it look at once; without one it looks every LOOK_EVERY_S:
the process that changed the trace may be another one, and Redis, which carries the word, away.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async
from redis.exceptions import RedisError

from netviz.groups import listen_from_this_loop
from netviz.inventory.consumers import PersonConsumer
from netviz.parts import DATABASE_AWAY
from netviz.tracing.claims import UNFINISHED
from netviz.tracing.notify import group_of
from netviz.tracing.views import find

log = logging.getLogger("netviz.tracing")

NO_SUCH_TRACE = 4404
LOOK_EVERY_S = 2.0


def _news(trace_id: str, known: str) -> dict[str, Any] | None:
    """Read a trace if its status isn't the one that is known."""
    run = find(trace_id)
    return None if run is None or run.status == known else run.as_json()


class TraceConsumer(PersonConsumer):
    """One page that waits for one trace."""

    group = ""

    async def connect(self) -> None:
        """Send the trace as it is now, and then each time that it changes."""
        await self.accept()
        trace_id = self.scope["url_route"]["kwargs"]["trace_id"]
        listen_from_this_loop()
        if await database_sync_to_async(find)(trace_id) is None:
            await self.close(code=NO_SUCH_TRACE, reason="there is no such trace")
            return
        self.group = group_of(int(trace_id))
        await self.channel_layer.group_add(self.group, self.channel_name)
        self.changed = asyncio.Event()
        self.start(self._follow(trace_id))

    async def trace_changed(self, event: dict[str, Any]) -> None:
        """Look now."""
        self.changed.set()

    async def left(self) -> None:
        """Leave the group; Redis, which holds it, forgets it by itself too."""
        if self.group:
            with suppress(OSError, RedisError):
                await self.channel_layer.group_discard(self.group, self.channel_name)

    async def _follow(self, trace_id: str) -> None:
        """Send what is new until the trace has ended: nothing changes after that."""
        status = ""
        while not status or status in UNFINISHED:
            self.changed.clear()
            try:
                news = await database_sync_to_async(_news)(trace_id, status)
            except DATABASE_AWAY as err:
                log.warning("cannot look at trace %s, trying again: %s", trace_id, err)
                news = None
            if news is not None:
                status = news["status"]
                await self.send(text_data=json.dumps(news))
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), LOOK_EVERY_S)

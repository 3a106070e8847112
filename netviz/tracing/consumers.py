"""The socket that follows one trace: it sends the whole object whenever that changes."""

from __future__ import annotations

import json
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from netviz.tracing.notify import group_of, watch_from_this_loop
from netviz.tracing.views import find

NO_SUCH_TRACE = 4404


def _current(trace_id: str) -> dict[str, Any] | None:
    run = find(trace_id)
    return None if run is None else run.as_json()


class TraceConsumer(AsyncWebsocketConsumer):
    """One page that waits for one trace."""

    group = ""
    sent: str = ""

    async def connect(self) -> None:
        """Send the trace as it is now; what changes from here on is announced."""
        await self.accept()
        trace_id = self.scope["url_route"]["kwargs"]["trace_id"]
        watch_from_this_loop()
        if await database_sync_to_async(find)(trace_id) is None:
            await self.close(code=NO_SUCH_TRACE, reason="there is no such trace")
            return
        self.group = group_of(int(trace_id))
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.trace_changed({})

    async def trace_changed(self, event: dict[str, Any]) -> None:
        """Send the trace if it isn't what was sent last."""
        current = await database_sync_to_async(_current)(self.scope["url_route"]["kwargs"]["trace_id"])
        if current is not None and current["status"] != self.sent:
            self.sent = current["status"]
            await self.send(text_data=json.dumps(current))

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)
